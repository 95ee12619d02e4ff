"""What a sweep costs over its computation: cells of no work, then every command that reads them.

Prints one table, seconds of wall clock and of CPU (its workers' included), a row a command:

    PYTHONPATH=. python benchmarks/sweeps.py [CELLS] [--against CHECKOUT]

With another checkout of this repository the two take turns, command by command, on the same cells
and the same disk, so that what else the machine does falls on both.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent.parent

EXPERIMENT = '''
"""How much does a sweep cost by itself? Cells that compute nothing."""

import numpy as np

from ntk_eoc.sweeps import config


class Cell(config.Cell):
    """One number."""

    i: int


def measure(cell):
    return {"value": np.float64(cell.i), "row": np.arange(4.0)}


def draw(records):
    raise NotImplementedError
'''


class Cost(NamedTuple):
    """Of one command: seconds of wall clock, of CPU, and peak memory in GiB."""

    wall: float
    cpu: float
    memory: float


def cost(checkout: Path, *arguments: str | Path) -> Cost:
    """Run one command line of a checkout's package."""
    command = [sys.executable, "-m", "ntk_eoc", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    wall = time.perf_counter() - start
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20)


def fsync_time(folder: Path, count: int = 300) -> float:
    """Seconds that writing, syncing and renaming a file of a record's size takes."""
    start = time.perf_counter()
    for i in range(count):
        with (folder / "probe").open("wb") as file:
            file.write(bytes(2000))
            file.flush()
            os.fsync(file.fileno())
        (folder / "probe").rename(folder / f"probe{i}")
    return (time.perf_counter() - start) / count


def commands(folder: Path, out: Path) -> dict[str, tuple[str | Path, ...]]:
    """Name of a row to words; the first starts up, with one cell."""
    run = ("run", folder / "all.toml", "--out")
    return {
        "run, one cell": ("run", folder / "one.toml", "--out", out / "one"),
        "run": (*run, out / "by1"),
        "run, 2 workers": (*run, out / "by2", "--workers", "2"),
        "run again": (*run, out / "by1"),
        "status": ("status", out / "by1"),
        "verify": ("verify", out / "by1"),
        "collect": ("collect", out / "by1", "--to", out / "all.nc"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cells", type=int, nargs="?", default=5_000)
    parser.add_argument("--against", type=Path, help="another checkout of this repository")
    asked = parser.parse_args()
    checkouts = [HERE, *([asked.against.resolve()] if asked.against else [])]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tiny.py").write_text(EXPERIMENT)
        for config, count in (("one", 1), ("all", asked.cells)):
            values = ", ".join(map(str, range(count)))
            text = f'experiment = "tiny.py"\n[grid]\ni = [{values}]\n'
            (folder / f"{config}.toml").write_text(text)
        rows: dict[str, list[Cost]] = {}
        for i, checkout in enumerate(checkouts):
            (folder / str(i)).mkdir()
            cost(checkout, "list")  # bytecode and caches
        for row in commands(folder, folder):
            for i, checkout in enumerate(checkouts):
                words = commands(folder, folder / str(i))[row]
                rows.setdefault(row, []).append(cost(checkout, *words))
        print(f"{asked.cells} cells of no work", *map(str, checkouts), sep="; ")
        print(f"a synced file on this disk: {1000 * fsync_time(folder):.2f} ms")
        heads = [f"{what}{', against' * i}" for i in range(len(checkouts)) for what in Cost._fields]
        print(f"{'':16s}" + "".join(f"{head:>17s}" for head in heads))
        for row, costs in rows.items():
            print(f"{row:16s}" + "".join(f"{value:17.2f}" for one in costs for value in one))
        for row in ("run", "run, 2 workers", "run again"):
            over = [1000 * (r.wall - s.wall) / asked.cells
                    for r, s in zip(rows[row], rows["run, one cell"], strict=True)]  # fmt: skip
            print(f"{row}: {', '.join(f'{ms:.2f}' for ms in over)} ms a cell over start-up")


if __name__ == "__main__":
    main()
