"""Files are written whole or not at all; nobody removes what another is writing."""

import errno
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from small_sweep import CONFIG, ENVIRONMENT, arrays_of, command

from ntk_eoc.sweeps import files
from ntk_eoc.sweeps.errors import UserError
from ntk_eoc.sweeps.records import load
from ntk_eoc.sweeps.runner import Options, run
from ntk_eoc.sweeps.store import Store

LOCKLESS = """
import errno, fcntl
def lockf(*arguments):
    raise OSError(errno.ENOLCK, "No locks available")
fcntl.lockf = lockf
"""


def lockless(folder) -> dict[str, str]:
    """An environment in which processes find no file system with locks."""
    (folder / "sitecustomize.py").write_text(LOCKLESS)
    return ENVIRONMENT | {"PYTHONPATH": f"{folder}{os.pathsep}{ENVIRONMENT['PYTHONPATH']}"}


@pytest.fixture
def other():
    """A process of this machine that lives as long as the test."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        yield process
        process.kill()


def temporary(folder, owner: str):
    path = folder / f"{'a' * 20}.ok.npz.{owner}.0123"
    path.write_bytes(b"half")
    return path


def test_exact_only_the_dead_leave_leftovers(tmp_path, other):
    alive = temporary(tmp_path, f"{files._machine()}.{other.pid}")
    elsewhere = temporary(tmp_path, f"{'0' * 12}.{other.pid}")
    unsigned = tmp_path / f"{'a' * 20}.0123456789abcdef"  # as the version before named them
    unsigned.write_bytes(b"half")
    old = temporary(tmp_path, f"{'1' * 12}.1")
    os.utime(old, (1, 1))
    foreign = tmp_path / ".DS_Store"
    foreign.touch()
    files.clear_leftovers(tmp_path)
    assert set(tmp_path.iterdir()) == {alive, elsewhere, unsigned, foreign}
    other.kill()
    other.wait()
    files.clear_leftovers(tmp_path)
    assert set(tmp_path.iterdir()) == {elsewhere, unsigned, foreign}


@pytest.mark.parametrize("how", ["no locks", "locks of this machine only"])
def test_exact_a_new_run_leaves_the_writers_alone(tmp_path, monkeypatch, other, how):
    """Where there are no locks every claim is granted; on some disks to each machine its own."""
    import fcntl

    def lockf(*arguments):
        if how == "no locks":
            raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", lockf)
    Store(tmp_path).create()
    mine = temporary(tmp_path / "tmp", f"{files._machine()}.{other.pid}")
    theirs = temporary(tmp_path / "tmp", f"{'0' * 12}.77")
    assert run(Options(CONFIG, tmp_path)).counts == {"ok": 6}
    assert set((tmp_path / "tmp").iterdir()) == {mine, theirs}


def test_exact_a_removed_temporary_file_is_written_again(tmp_path, monkeypatch):
    real, lost = os.fsync, []

    def fsync(handle):
        real(handle)
        if len(lost) < 2:
            lost.append(next(path for path in tmp_path.iterdir() if path.name != "new"))
            lost[-1].unlink()

    monkeypatch.setattr(os, "fsync", fsync)
    files.write_whole(tmp_path / "new", b"all of it")
    assert len(lost) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    assert (tmp_path / "new").read_bytes() == b"all of it"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_exact_what_cannot_be_written_leaves_the_old_file(tmp_path, monkeypatch, code):
    (tmp_path / "page").write_bytes(b"old")

    def fsync(handle):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match=os.strerror(code)):
        files.write_whole(tmp_path / "page", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["page"]
    assert (tmp_path / "page").read_bytes() == b"old"


def test_exact_three_shards_without_locks(tmp_path):
    out = tmp_path / "out"
    values = ("--set", "seeds_per_cell=1", "--set", "fixed.sleep=0.02")
    environment = lockless(tmp_path)
    shards = [
        subprocess.Popen(
            command("run", CONFIG, "--out", out, *values, "--shard", f"{k}/3"),
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for k in (1, 2, 3)
    ]
    for shard in shards:
        assert shard.communicate(timeout=200)[1] == ""
        assert shard.returncode == 0
    assert len(load(out)[0].ok) == 18
    assert not list((out / "tmp").iterdir())


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A small run to collect and to draw."""
    out = tmp_path_factory.mktemp("done") / "out"
    run(Options(CONFIG, out))
    return out


def wholes(done, folder):
    """Each command that writes files of its own, with those files."""
    return {
        "collect": (("collect", done, "--to", folder / "a.nc"), ["a.nc", "a.csv"]),
        "figures": (("figures", done, "--out", folder), ["noise.png", "noise.pdf"]),
        "eoc": (("eoc", "relu", "--out", folder), ["eoc_relu.png", "eoc_relu.pdf"]),
        "page": (("page", done, "--to", folder / "a.html"), ["a.html"]),
    }


@pytest.mark.parametrize("what", ["collect", "figures", "eoc", "page"])
def test_exact_a_full_disk_keeps_the_old_files(done, tmp_path, monkeypatch, what):
    import bad_input

    if what == "collect":
        pytest.importorskip("xarray")
    words, names = wholes(done, tmp_path)[what]
    for name in names:
        (tmp_path / name).write_text("old")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")
    monkeypatch.setattr(os, "fsync", lambda handle: os.write(os.open("/dev/full", 1), b"x"))
    code, errors = bad_input.call(*map(str, words))
    assert code in (1, 2)
    assert len(errors.splitlines()) == 1
    assert "No space left" in errors or "the disk is full" in errors
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(
        names, "old"
    )


NUMBERS = """
import numpy as np

from ntk_eoc.sweeps import config

VALUES = np.array({values!r}, {dtype!r})


class Cell(config.Cell):
    i: int


def measure(cell):
    return {{"x": VALUES[cell.i]}}


def draw(records):
    raise NotImplementedError
"""
DIGITS = [
    ("beyond 2^53", [2**53 + 1, -(2**62) - 1, 3], "int64"),
    ("unsigned", [2**64 - 3, 1, 2], "uint64"),
    ("small", [1, 2, 3], "int64"),
    ("short", [1, -2, 3], "int16"),
    ("true or false", [True, False, True], "bool"),
]


@pytest.mark.parametrize(("what", "values", "dtype"), DIGITS, ids=[d[0] for d in DIGITS])
def test_exact_collect_keeps_every_digit(tmp_path, what, values, dtype):
    xr = pytest.importorskip("xarray")
    from ntk_eoc.sweeps.collect import collect

    (tmp_path / "n.py").write_text(NUMBERS.format(values=values, dtype=dtype))
    (tmp_path / "n.toml").write_text('experiment = "n.py"\n[grid]\ni = [0, 1, 2]\n')
    out = tmp_path / "out"
    run(Options(tmp_path / "n.toml", out))
    with xr.open_dataset(collect(out, tmp_path / "a.nc")[0]) as data:
        assert data["x"].dtype == dtype
        assert data["x"].values.tolist() == values
    gone = load(out)[0].where(i=2)[0]
    (out / "cells" / f"{gone.meta['id']}.ok.npz").unlink()
    run(Options(tmp_path / "n.toml", out, shard="1/9"))  # of which only one is computed
    netcdf, table = collect(out, tmp_path / "a.nc")
    records = {r.cell.i: values[r.cell.i] for r in load(out)[0]}
    with xr.open_dataset(netcdf, mask_and_scale=False) as data:
        found = dict(zip(data["i"].values.tolist(), data["x"].values.tolist(), strict=True))
        assert {i: found[i] for i in records} == records
    lines = [line.split(",")[-1] for line in table.read_text().splitlines()[1:]]
    assert lines == [str(value) for value in records.values()]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("what", ["collect", "figures"])
def test_exact_thirty_kills_leave_whole_files(done, tmp_path, what):
    words, names = wholes(done, tmp_path)[what]
    start = time.monotonic()
    subprocess.run(command(*words), env=ENVIRONMENT, check=True, capture_output=True)
    took = time.monotonic() - start
    old = {name: (tmp_path / name).read_bytes() for name in names}
    draw = np.random.default_rng(20261125)
    for _ in range(30):
        with subprocess.Popen(
            command(*words), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            time.sleep(took * draw.uniform(0.5, 1.05))
            process.kill()
        assert {name: (tmp_path / name).read_bytes() for name in names} == old
    assert len(arrays_of(done)) == 6


def test_exact_collect_to_a_folder_in_the_way(done, tmp_path):
    pytest.importorskip("xarray")
    from ntk_eoc.sweeps.collect import collect

    (tmp_path / "a.nc").mkdir()
    with pytest.raises(UserError, match="must be a file that can be written, got '.*a.nc'"):
        collect(done, tmp_path / "a.nc")
