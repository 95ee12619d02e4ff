"""The small sweep that the tests of `ntk_eoc.sweeps` run, and how they call and compare it."""

import os
import sys
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
