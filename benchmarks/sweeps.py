"""What a sweep costs over its computation: 10,000 cells of no work, then status and collect.

Prints one table. `PYTHONPATH=. python benchmarks/sweeps.py [CELLS]`
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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


def timed(*arguments: str | Path) -> tuple[float, float]:
    """Seconds and peak memory (GiB) of one command line."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "ntk_eoc", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return time.perf_counter() - start, usage.ru_maxrss / 2**20


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


def main() -> None:
    cells = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tiny.py").write_text(EXPERIMENT)
        for config, count in (("one", 1), ("all", cells)):
            values = ", ".join(map(str, range(count)))
            text = f'experiment = "tiny.py"\n[grid]\ni = [{values}]\n'
            (folder / f"{config}.toml").write_text(text)
        start_up, _ = timed("run", folder / "one.toml", "--out", folder / "one")
        rows: list[tuple[str, float, float | None]] = []
        for workers in (1, 2):
            out = folder / f"out{workers}"
            run = ("run", folder / "all.toml", "--out", out, "--workers", str(workers))
            seconds, _ = timed(*run)
            rows.append((f"run, {workers} worker(s): a cell", (seconds - start_up) / cells, 0.003))
            seconds, _ = timed(*run)
            rows.append(
                (f"run again, {workers} worker(s): a cell", (seconds - start_up) / cells, None)
            )
        rows.append(("  of that, a synced file on this disk", fsync_time(folder), None))
        rows.append(("status", timed("status", out)[0], 1.0))
        seconds, memory = timed("collect", out, "--to", folder / "all.nc")
        rows.append(("collect", seconds, 15.0))
        print(f"{cells} cells of no work; start-up {start_up:.2f} s is taken off the first rows")
        print(f"{'':40s} {'seconds':>10s} {'at most':>10s}")
        for label, seconds, bound in rows:
            print(f"{label:40s} {seconds:10.4f} {bound if bound is not None else '':>10}")
        print(f"{'collect, peak memory (GiB)':40s} {memory:10.2f} {1.0:>10}")
        print(f"{'this process, peak memory (GiB)':40s} {own_memory():10.2f}")


def own_memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
