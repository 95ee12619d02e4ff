"""What commands say of a sweep: `--help`, `status`, `list`, figures, an experiment as a script."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_sweep import CONFIG, ENVIRONMENT, HERE, NOISE

from ntk_eoc.sweeps.runner import Options, run
from ntk_eoc.sweeps.store import Store


def test_exact_help_does_not_import_the_heavy_libraries():
    code = (
        "import sys; import ntk_eoc.cli\n"
        "try: ntk_eoc.cli.app(['--help'])\n"
        "finally: print({'jax', 'numpy', 'matplotlib', 'pydantic'} & set(sys.modules))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert "Usage: ntk-eoc" in shown.stdout
    assert shown.stdout.strip().endswith("set()")


def test_exact_figures_say_what_they_do_not_show(tmp_path, monkeypatch, capsys):
    from matplotlib.figure import Figure

    from ntk_eoc import cli

    values = 'grid.behaviour=["good", "nan"]'
    run(Options(CONFIG, tmp_path, overrides=(values, "seeds=4")))
    sorted((tmp_path / "cells").glob("*.ok.npz"))[0].unlink()
    notes = []
    monkeypatch.setattr(Figure, "text", lambda self, x, y, text, **style: notes.append(text))
    cli.draw(tmp_path)
    assert notes == ["of 6 cells: 3 non-finite, 1 missing"]
    names = [Path(line).name for line in capsys.readouterr().out.splitlines()]
    assert names == ["noise.png", "noise.pdf"]
    assert all((tmp_path / "figures" / name).stat().st_size > 1000 for name in names)


def test_exact_status_tells_done_failed_and_missing(tmp_path):
    from ntk_eoc.sweeps.status import describe, finished

    values = ('grid.behaviour=["good", "raise"]', "seeds=4", "grid.size=[2, 3]")
    run(Options(CONFIG, tmp_path, overrides=values, shard="1/2"))
    run(Options(CONFIG, tmp_path, overrides=values, shard="2/2"))
    assert finished(tmp_path)
    sorted((tmp_path / "cells").glob("*.ok.npz"))[0].unlink()
    assert not finished(tmp_path)
    lines = describe(tmp_path).splitlines()
    assert lines[1:3] == ["       1 ok", "       2 failed"]
    assert lines[3].startswith("       1 missing of 4")
    assert lines[4] == "  2 × failed: ArithmeticError: no such number"
    assert lines[5].startswith(f"to go on: ntk-eoc run {CONFIG} --out {tmp_path} --set")


def test_exact_time_left_is_in_proportion_to_cost(tmp_path):
    from ntk_eoc.sweeps.status import describe

    run(Options(CONFIG, tmp_path, overrides=("seeds_per_cell=6",)))  # costs 12, 18, 30
    entries = sorted(Store(tmp_path).entries().values(), key=lambda e: e.path.stat().st_mtime_ns)
    longest, middle, shortest = (entry.path for entry in entries)
    os.utime(longest, (1000, 1000))
    os.utime(middle, (1090, 1090))  # 18 of cost in 90 s
    shortest.unlink()
    assert "1 missing of 3, 60 s left" in describe(tmp_path, now=1100.0)
    assert "s left" not in describe(tmp_path, now=5000.0)


def test_exact_list_tells_questions_and_configs(tmp_path):
    from ntk_eoc.sweeps import listing

    (tmp_path / "experiments").mkdir()
    (tmp_path / "configs").mkdir()
    (tmp_path / "experiments" / "noise.py").write_text(NOISE.read_text())
    (tmp_path / "experiments" / "_shared.py").write_text("")
    (tmp_path / "experiments" / "odd.py").symlink_to("nowhere")
    (tmp_path / "experiments" / ".nfs.py").write_bytes(b"\0")
    (tmp_path / "configs" / "folder.toml").mkdir()
    (tmp_path / "configs" / "loop.toml").symlink_to("loop.toml")
    (tmp_path / "configs" / "deep.toml").write_text("a = " + "[" * 9999)
    os.mkfifo(tmp_path / "configs" / "pipe.toml")
    (tmp_path / "configs" / "a.toml").write_text('experiment = "../experiments/noise.py"')
    (tmp_path / "configs" / "b.toml").write_text('experiment = "experiments.noise"')
    (tmp_path / "configs" / "c.toml").write_text('experiment = "../experiments/other.py"')
    *lines, odd = listing.describe(tmp_path / "experiments").splitlines()
    assert odd.startswith("odd  (cannot be read: [Errno 2] No such file")
    assert lines == [
        "noise  What do Gaussian draws look like? A tiny experiment for the tests of the sweeps.",
        f"    {tmp_path / 'configs' / 'a.toml'}",
        f"    {tmp_path / 'configs' / 'b.toml'}",
    ]


def test_exact_an_experiment_is_a_script(tmp_path, monkeypatch):
    from ntk_eoc.sweeps import script

    calls = []

    def run_it(words, check):
        calls.append(words[1:])
        return subprocess.CompletedProcess(words, 3)

    monkeypatch.setattr(subprocess, "run", run_it)
    monkeypatch.setattr(sys, "argv", ["noise.py"])
    with pytest.raises(SystemExit, match="3"):
        script.main(str(tmp_path / "experiments" / "noise.py"))
    monkeypatch.setattr(sys, "argv", ["noise.py", "mine.toml", "--workers", "2"])
    with pytest.raises(SystemExit, match="3"):
        script.main(str(tmp_path / "experiments" / "noise.py"))
    default = str(tmp_path.resolve() / "configs" / "noise.toml")
    assert calls == [
        ["-m", "ntk_eoc", "run", default, "--figures"],
        ["-m", "ntk_eoc", "run", "mine.toml", "--figures", "--workers", "2"],
    ]


@pytest.mark.parametrize("fails", [False, True])
def test_exact_make_figures_skips_folders_without_a_run(tmp_path, fails):
    """And stops where a run's figures cannot be drawn."""
    if shutil.which("make") is None:
        pytest.skip("no make here")
    shutil.copy(HERE.parent.parent / "Makefile", tmp_path)
    for name in ("a", "b", "c"):
        (tmp_path / "out" / name).mkdir(parents=True)
    for name in ("b", "c"):
        (tmp_path / "out" / name / "run.json").touch()
    drawn = tmp_path / "drawn"
    (tmp_path / "ntk-eoc").write_text(f'#!/bin/sh\necho "$2" >> {drawn}\nexit {int(fails)}\n')
    (tmp_path / "ntk-eoc").chmod(0o755)
    words = ["make", "figures", "RUN=", f"BIN={tmp_path}"]
    ended = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode != 0) == fails, ended.stderr
    assert drawn.read_text().split() == ["out/b/", "out/c/"][: 1 if fails else 2]
