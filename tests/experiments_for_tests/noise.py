"""What do Gaussian draws look like? A tiny experiment for the tests of the sweeps.

Expectation: means near 0; the other behaviours are for the runner to survive.
"""

import functools
import os
import signal
import time
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import Field

from ntk_eoc.sweeps import config, script
from ntk_eoc.sweeps.batches import map_batched
from ntk_eoc.sweeps.records import Records

AXES = {"gram": ["row", "column"]}
UNITS = {"gram": "1"}


class Cell(config.Cell):
    """A sample of `size` numbers, and what happens to it."""

    size: int = Field(ge=1)
    scale: float = Field(default=1.0, gt=0)
    shape: tuple[int, ...] = ()
    by: Literal["numpy", "jax"] = "numpy"  # NumPy compiles nothing: most tests are about files
    behaviour: Literal["good", "nan", "memory", "raise", "die", "die_once"] = "good"
    sleep: float = 0.0
    traces: str = ""
    gigabytes: float = 0.0


def measure(cell: Cell):
    if "NOISE_DEAF" in os.environ:  # native code hears no signal
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        Path(os.environ["NOISE_DEAF"], str(os.getpid())).touch()
        time.sleep(600)
    # The variable is no part of the cell: a run that is stopped may be slow, and its like quick.
    time.sleep(cell.sleep + float(os.environ.get("NOISE_SLEEP", "0")))
    if cell.traces:
        Path(cell.traces, f"{cell.size}-{cell.first_seed}-{os.getpid()}-{time.time_ns()}").touch()
    if cell.behaviour == "memory":
        raise MemoryError("16 TB asked for")
    if cell.behaviour == "raise":
        raise ArithmeticError("no such number")
    if cell.behaviour == "die" or (cell.behaviour == "die_once" and _first_time(cell)):
        os.kill(os.getpid(), signal.SIGKILL)
    if cell.seeds == 0:
        return {"mean": jnp.asarray(cell.scale * cell.size, cell.dtype)}

    if cell.by == "jax":
        measured = map_batched(
            _draw(cell.size, cell.dtype), cell.seed_keys(), cell.batch, {"scale": cell.scale}
        )
    else:
        drawn = [
            _draw_by_numpy(cell, seed)
            for seed in range(cell.first_seed, cell.first_seed + cell.seeds)
        ]
        measured = {name: np.stack([one[name] for one in drawn]) for name in drawn[0]}
    if cell.behaviour == "nan":
        measured["mean"][0] = float("nan")
    return measured


@functools.cache  # compiled once for all cells that draw alike
def _draw(size: int, dtype: str):
    def draw(key, data):
        z = data["scale"] * jax.random.normal(key, (size, 8), dtype=dtype)
        gram = jnp.matmul(z, z.T, precision=jax.lax.Precision.HIGHEST)
        return {"mean": z.mean(), "gram": gram}

    return draw


def _draw_by_numpy(cell: Cell, seed: int):
    rng = np.random.default_rng([cell.root_seed, cell.size, seed])
    z = (cell.scale * rng.standard_normal((cell.size, 8))).astype(cell.dtype)
    return {"mean": z.mean(), "gram": z @ z.T}


def _first_time(cell: Cell) -> bool:
    mark = Path(cell.traces, f"died-{cell.size}-{cell.first_seed}")
    if mark.exists():
        return False
    mark.touch()
    return True


def memory(cell: Cell) -> float:
    return cell.gigabytes * 2.0**30


def cost(cell: Cell) -> float:
    return float(cell.size * max(cell.seeds, 1))


def draw(records: Records):
    from matplotlib.figure import Figure  # workers need not load it

    figure = Figure()
    axes = figure.subplots()
    for (size,), group in records.ok.group("size"):
        axes.plot([size], [group.stack("mean").mean()], "o")
    return figure


if __name__ == "__main__":
    script.main(__file__)
