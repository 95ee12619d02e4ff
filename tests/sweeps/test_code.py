"""A record knows the code that made it: what was edited is computed again, and nothing else."""

import contextlib
import json
import logging
import os
import shutil
from pathlib import Path

import bad_input
import numpy as np
import pytest
from small_sweep import CONFIG, NOISE, arrays_of

from ntk_eoc import cli
from ntk_eoc.sweeps import record_file, status, worker
from ntk_eoc.sweeps.errors import StoppedError
from ntk_eoc.sweeps.records import load
from ntk_eoc.sweeps.runner import Options, run
from ntk_eoc.sweeps.store import Store

EXPERIMENT = '''
"""What do the functions of a user's give?"""
import os, signal
from pathlib import Path

import numpy as np
from near import factor

import ntk_eoc as ne
from ntk_eoc import data, user_code
from ntk_eoc.sweeps import config


class Cell(config.Cell):
    i: int
    activation: str = "relu"
    data: str = "sphere:2"
    edits: str = ""
    dies: bool = False


def measure(cell):
    value = ne.activation(cell.activation)(1.0) + data.load(cell.data).x.sum()
    edited = user_code.base() / cell.edits
    if cell.edits and not Path(f"{edited}.done").exists():
        Path(f"{edited}.done").touch()
        edited.write_text(edited.read_text().replace("2.0", "3.0"))
        if cell.dies:
            os.kill(os.getpid(), signal.SIGKILL)
    return {"x": np.float64(factor() * cell.i + value)}


def draw(records):
    from matplotlib.figure import Figure

    return Figure()
'''
FILES = {
    "mine.py": EXPERIMENT,
    "near.py": "def factor():\n    return 2.0\n",
    "acts.py": "def one(s):\n    return 2.0 * s\n\n\ndef two(s):\n    return 5.0 * s\n",
    "mine.toml": 'experiment = "mine.py"\n[grid]\ni = [1, 2]\n'
    'activation = ["relu", "acts.py:one", "acts.py:two"]\n[fixed]\ndata = "npz:d.npz"\n',
}


@pytest.fixture
def home(tmp_path) -> Path:
    """A user's folder: an experiment, a helper, activations, data, a config; run once."""
    folder = tmp_path / "home"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    np.savez(folder / "d.npz", x=np.eye(2))
    assert run(Options(folder / "mine.toml", folder / "out")).counts == {"ok": 6}
    return folder


def edit(home: Path, name: str, old: str, new: str) -> None:
    text = (home / name).read_text()
    assert old in text
    (home / name).write_text(text.replace(old, new))


def again(home: Path, **options):
    return run(Options(home / "mine.toml", home / "out", **options))


EDITS = [  # what, file, old, new, how many of 6 cells are computed again
    ("measure", "mine.py", "* cell.i + value", "* cell.i - value", 6),
    ("a helper", "near.py", "2.0", "4.0", 6),
    ("one activation", "acts.py", "2.0 * s", "4.0 * s", 2),
    ("draw", "mine.py", "return Figure()", "return Figure(figsize=(1, 1))", 0),
    ("a comment", "near.py", "    return", "    # the factor\n    return", 0),
    ("a docstring", "mine.py", "What do the", "What can the", 0),
]


@pytest.mark.parametrize(("what", "name", "old", "new", "count"), EDITS, ids=[e[0] for e in EDITS])
def test_exact_what_was_edited_is_computed_again(home, caplog, what, name, old, new, count):
    before = arrays_of(home / "out")
    edit(home, name, old, new)
    assert len(load(home / "out")[0]) == 6  # what is there is by the code of the run
    assert ("was edited after the run" in caplog.text) == (what in ("measure", "a helper"))
    caplog.clear()
    summary = again(home)
    assert (summary.before, summary.counts["ok"]) == (6 - count, count)
    after = arrays_of(home / "out")
    assert sum(after[id_] != before[id_] for id_ in after) == count
    assert len(list((home / "out").glob("aside/*"))) == count
    told = [r.message for r in caplog.records if r.levelno == logging.WARNING]
    assert len(told) == (count > 0)
    assert all(f"{count} records are by " in line and "set aside" in line for line in told)
    assert again(home).before == 6


def test_exact_replaced_data_are_another_run(home):
    """Though the file has the size and the time of the one before."""
    before = (home / "d.npz").stat()
    np.savez(home / "d.npz", x=np.diag([1.0, -1.0]))
    os.utime(home / "d.npz", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (home / "d.npz").stat().st_size == before.st_size
    assert again(home).counts == {"ok": 6}


def test_exact_the_package_counts(home, monkeypatch):
    from ntk_eoc.user_code import provenance

    monkeypatch.setattr(provenance, "package_digest", lambda: "0" * 64)
    assert again(home).counts == {"ok": 6}


def test_exact_another_experiment_of_the_same_name_is_other_code(home, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(home, other, ignore=shutil.ignore_patterns("out"))
    options = Options(other / "mine.toml", home / "out")
    assert run(options).before == 6  # the same code in another place
    edit(other, "mine.py", "* cell.i + value", "* cell.i - value")
    assert run(options).counts == {"ok": 6}


def test_exact_other_code_counts_with_mix_and_is_named(home, capsys, monkeypatch):
    from matplotlib.figure import Figure

    edit(home, "near.py", "2.0", "4.0")
    mixed = again(home, overrides=("grid.i=[1, 2, 3]",), mix=True)
    assert (mixed.before, mixed.counts) == (6, {"ok": 3})
    why = "6 of these by other code of the experiment: counted, too"
    assert why in status.describe(home / "out")
    records = load(home / "out")[0]
    assert (len(records), records.mixture) == (9, "6 by other code of the experiment")
    notes = []
    monkeypatch.setattr(Figure, "text", lambda self, x, y, text, **style: notes.append(text))
    cli.draw(home / "out")
    assert notes == ["of 9 cells: 6 by other code of the experiment"]
    assert again(home, overrides=("grid.i=[1, 2, 3]",)).counts == {"ok": 6}
    assert load(home / "out")[0].mixture == ""


def test_exact_records_by_other_code_copied_in_do_not_count(home, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(home, other)
    edit(other, "near.py", "2.0", "4.0")
    again(other)
    for path in (other / "out" / "cells").iterdir():
        path.replace(home / "out" / "cells" / path.name)
    assert (len(load(home / "out")[0]), load(home / "out")[0].missing) == (0, 6)
    assert "6 of these by other code of the experiment: not counted" in status.describe(
        home / "out"
    )
    assert again(home).counts == {"ok": 6}


def forget_code(out: Path) -> None:
    """Make a run one of the version before records knew their code."""
    for entry in Store(out).entries().values():
        meta, arrays = record_file.read(entry.path)
        del meta["code"]
        entry.path.write_bytes(record_file.pack(meta, arrays))
    run_ = json.loads((out / "run.json").read_text())
    run_["experiment"] = run_["provenance"]["source"]
    for name in ("code", "base", "mix"):
        del run_[name]
    (out / "run.json").write_text(json.dumps(run_))


def test_exact_a_store_of_the_version_before_is_read_and_told_apart(home):
    before = arrays_of(home / "out")
    forget_code(home / "out")
    records = load(home / "out")[0]
    assert (len(records), records.mixture) == (6, "6 by unknown code")
    assert "6 of these by unknown code: counted, too" in status.describe(home / "out")
    assert again(home, mix=True).before == 6
    assert load(home / "out")[0].mixture == "6 by unknown code"
    assert again(home).counts == {"ok": 6}
    assert arrays_of(home / "out") == before
    assert len(list((home / "out" / "aside").iterdir())) == 6


def test_exact_a_moved_folder_is_read_and_continued(home, tmp_path):
    moved = home.rename(tmp_path / "moved")
    assert len(load(moved / "out")[0]) == 6
    assert again(moved).before == 6
    alone = (moved / "out").rename(tmp_path / "alone")
    assert len(load(alone)[0]) == 6


@pytest.mark.parametrize("name", ["mine.py", "near.py", "acts.py"])
def test_exact_a_file_edited_as_the_run_begins_stops_it(home, monkeypatch, name):
    """Between the reading of the code and its loading by a worker."""
    real = worker.set_up_jax

    def set_up(device):
        old, new = ("* cell.i + value", "* cell.i - value") if name == "mine.py" else ("2.0", "4.0")
        edit(home, name, old, new)
        real(device)

    monkeypatch.setattr(worker, "set_up_jax", set_up)
    with pytest.raises(StoppedError, match="a file was edited while the run used it"):
        again(home, overrides=("grid.i=[7]",))
    wanted = {"relu"} if name == "acts.py" else set()
    assert {r.cell.activation for r in load(home / "out")[0] if r.cell.i == 7} <= wanted


@pytest.mark.parametrize("name", ["mine.py", "near.py", "acts.py"])
def test_exact_a_file_edited_in_the_run_never_writes_under_the_old_hash(home, name):
    """What was loaded goes on; what would be loaded anew, or was, stops the run."""
    numbers = "grid.i=[7, 8, 9, 10]"
    options = {"overrides": (numbers, 'fixed.edits="' + name + '"'), "workers": 2}
    with contextlib.suppress(StoppedError):
        again(home, **options)
    for record in load(home / "out")[0]:
        slope = {"relu": 1.0, "acts.py:one": 2.0, "acts.py:two": 5.0}[record.cell.activation]
        rows = np.sqrt(2.0) * 2
        np.testing.assert_allclose(record.arrays["x"], 2.0 * record.cell.i + slope + rows)


@pytest.mark.filterwarnings("ignore:unclosed")
def test_exact_a_replaced_worker_refuses_the_edited_file(home):
    overrides = (
        "grid.i=[7]",
        'grid.activation=["relu"]',
        'fixed.edits="near.py"',
        "fixed.dies=true",
    )
    with pytest.raises(StoppedError, match="a worker found other code of the experiment"):
        again(home, overrides=overrides, workers=2)
    assert not load(home / "out")[0]


@pytest.mark.filterwarnings("ignore")  # of Dask's own, on closing
@pytest.mark.parametrize("how", [{"workers": 2}, {"workers": 2, "cluster": "local"}])
def test_exact_own_activations_on_several_workers(home, how):
    if "cluster" in how:
        pytest.importorskip("distributed")
    summary = run(Options(home / "mine.toml", home / "spread", **how))
    assert summary.counts == {"ok": 6}
    assert arrays_of(home / "spread") == arrays_of(home / "out")


def test_exact_the_id_of_a_cell_does_not_hold_its_code(home):
    before = set(Store(home / "out").entries())
    edit(home, "near.py", "2.0", "4.0")
    again(home)
    assert set(Store(home / "out").entries()) == before


def test_exact_noise_knows_its_own_code(tmp_path):
    """`draw` of the tests' experiment shares its name with a function inside `measure`'s helper."""
    for file in (NOISE, CONFIG):
        shutil.copy(file, tmp_path)
    options = Options(tmp_path / "noise.toml", tmp_path / "out")
    run(options)
    edit(tmp_path, "noise.py", "axes.plot([size]", "axes.plot([2 * size]")
    assert run(options).before == 6


CELLS = {
    "a field more, without a default": ("    i: int\n", "    i: int\n    j: int\n"),
    "a field less": ('    edits: str = ""\n', ""),
    "a field of another name": ("    i: int\n", "    index: int\n"),
    "a field of another type": ("    i: int\n", "    i: bool\n"),
}


@pytest.mark.parametrize("what", CELLS)
def test_exact_a_cell_changed_after_the_run_is_one_line(home, what):
    edit(home, "mine.py", *CELLS[what])
    out = str(home / "out")
    code, errors = bad_input.call("status", out)
    assert (code, errors) == (0, "")
    told = status.describe(home / "out")
    assert "`measure` or `Cell` of '" in told
    assert "was edited after the run; the next run computes the records again" in told
    for words in (("figures", out), ("collect", out, "--to", f"{out}/a.nc")):
        code, errors = bad_input.call(*words)
        assert (code, errors.count("\n")) == (2, 1), errors
        assert "must be of cells that `Cell` takes" in errors
        assert "was edited after the run" in errors
