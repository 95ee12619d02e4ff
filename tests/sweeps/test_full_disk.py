"""A disk that is full stops a command in one line; what is there stays whole."""

import errno
import os
import subprocess

import pytest
from small_sweep import CONFIG, ENVIRONMENT, command

from ntk_eoc.sweeps import files, starting
from ntk_eoc.sweeps.errors import StoppedError, UserError
from ntk_eoc.sweeps.records import load
from ntk_eoc.sweeps.runner import Options, run


@pytest.mark.parametrize("code", ["ENOSPC", "EDQUOT"])
def test_exact_a_full_disk_stops_the_run_and_keeps_what_is_done(tmp_path, monkeypatch, code):
    written = []
    real = os.fsync

    def fsync(handle):
        written.append(handle)
        if len(written) > 4:  # run.json and three records fit
            raise OSError(getattr(errno, code), "no space")
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(StoppedError, match="is full; every record already there is kept"):
            run(Options(CONFIG, tmp_path))
    assert len(load(tmp_path)[0].ok) == 3
    assert not list((tmp_path / "tmp").iterdir())
    assert run(Options(CONFIG, tmp_path)).counts == {"ok": 3}


def test_exact_a_small_full_disk_for_real(tmp_path):
    """On a tmpfs of 200 kB, where the user may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", disk]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no tmpfs can be mounted here")
    try:
        big = ("--set", "grid.size=[24]", "--set", "seeds_per_cell=10", "--set", "seeds=200")
        end = subprocess.run(
            command("run", CONFIG, "--out", disk / "out", *big),
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert end.returncode == 1
        last = end.stderr.strip().splitlines()[-1]
        assert last.startswith("stopped: the disk of ")
        assert last.endswith("is full; every record already there is kept.")
        assert "Traceback" not in end.stderr
        records = load(disk / "out")[0]
        assert 0 < len(records.ok) < 20
        assert len(records.bad) == 0
        assert not list((disk / "out" / "tmp").iterdir())
    finally:
        subprocess.run(["umount", disk], check=True)


def test_exact_new_files_are_all_there_or_none(tmp_path, monkeypatch):
    real, written = os.fsync, []

    def fsync(handle):
        written.append(handle)
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "no space")
        real(handle)

    monkeypatch.setattr(files.os, "fsync", fsync)
    with pytest.raises(UserError, match=r"a folder that can be written to, .* \(no space\)"):
        starting.write("experiment", "not_yet_there", tmp_path)
    assert not list(tmp_path.iterdir())


def test_exact_a_limit_on_the_size_of_files_is_a_limit(tmp_path, monkeypatch):
    def fsync(handle):
        raise OSError(errno.EFBIG, "File too large")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StoppedError, match="a limit of this machine is reached"):
        run(Options(CONFIG, tmp_path))
