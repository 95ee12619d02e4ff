"""The small sweep that the tests of `ntk_eoc.sweeps` run, and how they call and compare it."""

import os
import sys
import textwrap
from pathlib import Path

from ntk_eoc.sweeps import record_file
from ntk_eoc.sweeps.store import Store

HERE = Path(__file__).parent / "experiments_for_tests"
CONFIG = HERE / "noise.toml"
NOISE = HERE / "noise.py"


def arrays_of(folder: Path) -> dict[str, dict[str, bytes]]:
    """Every array of every record, by cell id, as bytes."""
    entries = Store(folder).entries()
    read = {id_: record_file.read(entry.path)[1] for id_, entry in entries.items()}
    return {
        id_: {name: array.dtype.str.encode() + array.tobytes() for name, array in arrays.items()}
        for id_, arrays in read.items()
    }


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "ntk_eoc", *map(str, arguments)]


ENVIRONMENT = os.environ | {"PYTHONPATH": str(HERE.parent.parent), "JAX_PLATFORMS": "cpu"}


def written(
    folder: Path,
    measure: str,
    fields: str = "i: int = 0",
    more: str = "",
    config: str = "[grid]\ni = [0, 1]",
) -> Path:
    """Write an experiment whose `measure` has this body, and return its config's path."""
    body, inside = (textwrap.indent(text, "    ") for text in (measure, fields))
    (folder / "own.py").write_text(
        "import os, sys, threading, time\n"
        "import jax, jax.numpy as jnp, numpy as np\n"
        "from ntk_eoc.sweeps import config\n\n\n"
        f"class Cell(config.Cell):\n{inside}\n\n\n"
        f"def measure(cell):\n{body}\n\n\n"
        "def draw(records):\n    from matplotlib.figure import Figure\n\n    return Figure()\n\n\n"
        f"{more}\n"
    )
    (folder / "own.toml").write_text(f'experiment = "own.py"\n{config}\n')
    return folder / "own.toml"
