"""A store that changes while it is listed, and files in it that are not the store's."""

import contextlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from small_sweep import CONFIG, arrays_of

from ntk_eoc.sweeps import record_file, status
from ntk_eoc.sweeps.errors import DamagedError
from ntk_eoc.sweeps.records import load
from ntk_eoc.sweeps.runner import Options, run
from ntk_eoc.sweeps.store import Store


@pytest.fixture
def out(tmp_path):
    run(Options(CONFIG, tmp_path / "out"))
    return tmp_path / "out"


def dangling(out: Path) -> None:
    (out / "cells" / f"{'a' * 20}.ok.npz").symlink_to(out / "nowhere")


def folder(out: Path) -> None:
    (out / "cells" / f"{'b' * 20}.ok.npz").mkdir()


def foreign(out: Path) -> None:
    names = (".nfs000000000123", ".DS_Store", "._x.ok.npz", "x.ok.npz", "Thumbs.db", "ü.ok.npz")
    for name in names:
        for where in ("cells", "tmp", "."):
            (out / where / name).write_bytes(b"\0\1")


def hidden_twin(out: Path) -> None:
    for path in list((out / "cells").iterdir()):
        (out / "cells" / f"._{path.name}").write_bytes(b"resource fork")


def loop(out: Path) -> None:
    (out / "cells" / f"{'c' * 20}.ok.npz").symlink_to(f"{'c' * 20}.ok.npz")


ODD = [dangling, folder, foreign, hidden_twin, loop]


@pytest.mark.parametrize("litter", ODD, ids=[one.__name__ for one in ODD])
def test_exact_what_is_not_the_stores_is_left_alone(out, litter):
    before = arrays_of(out)
    litter(out)
    assert arrays_of(out) == before
    assert len(load(out)[0]) == 6
    assert status.damaged(out)[0] == 6
    assert "6 ok" in status.describe(out)
    assert run(Options(CONFIG, out)).before == 6


def test_exact_a_record_replaced_while_it_is_listed_is_found(out, monkeypatch):
    """As by a retry in another process: the listing still has the old status."""
    path = sorted((out / "cells").iterdir())[0]
    meta, arrays = record_file.read(path)
    failed = path.with_name(path.name.replace(".ok.", ".failed."))
    real = os.scandir

    def scandir(where):
        listed = list(real(where))
        if Path(where) == out / "cells":
            path.write_bytes(record_file.pack(meta, arrays))
            failed.unlink(missing_ok=True)
        return contextlib.nullcontext(listed)

    path.unlink()
    failed.write_bytes(record_file.pack(meta | {"status": "failed"}, {}))
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        entries = Store(out).entries()
    assert len(entries) == 6
    assert entries[meta["id"]].status == "ok"


def test_exact_a_record_replaced_before_it_is_read_is_found(out):
    entry = next(iter(Store(out).entries().values()))
    meta, arrays = record_file.read(entry.path)
    entry.path.rename(entry.path.with_name(f"{entry.id}.non-finite.npz"))
    renamed = entry.path.with_name(f"{entry.id}.non-finite.npz")
    renamed.write_bytes(record_file.pack(meta | {"status": "non-finite"}, arrays))
    assert Store(out).read(entry)[0]["status"] == "non-finite"
    renamed.unlink()
    with pytest.raises(FileNotFoundError, match="is gone"):
        Store(out).read(entry)


def resealed(path: Path, **changed) -> None:
    """Write a record whose checksum is right and whose content is not."""
    meta, arrays = record_file.read(path)
    path.write_bytes(record_file.pack(meta | changed, arrays))


RESEALED = {
    "another cell": lambda path: resealed(
        path, cell=record_file.read_meta(path)["cell"] | {"size": 9}
    ),
    "another experiment": lambda path: resealed(path, experiment="silence"),
    "a cell that is no table": lambda path: resealed(path, cell=[1, 2]),
    "no engine": lambda path: resealed(path, engine=None),
    "a word for seconds": lambda path: resealed(path, seconds="long"),
    "pickled arrays": lambda path: path.write_bytes(with_member(path, pickled())),
    "a text for an array": lambda path: path.write_bytes(with_member(path, b"no array")),
    "an array cut short": lambda path: path.write_bytes(with_member(path, npy()[:-3])),
}


def npy() -> bytes:
    import io

    member = io.BytesIO()
    np.lib.format.write_array(member, np.arange(5.0))
    return member.getvalue()


def pickled() -> bytes:
    import io

    member = io.BytesIO()
    np.lib.format.write_array(member, np.array([print], dtype=object), allow_pickle=True)
    return member.getvalue()


def with_member(path: Path, content: bytes) -> bytes:
    """A sealed record with a member of this content."""
    import hashlib
    import io
    import zipfile

    meta = record_file.read_meta(path)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(record_file.META, json.dumps(meta))
        archive.writestr("mean.npy", content)
        archive.comment = b"sha256=" + b"0" * 64
    body = buffer.getvalue()[:-64]
    return body + hashlib.sha256(body).hexdigest().encode()


@pytest.mark.parametrize("what", RESEALED)
def test_exact_a_resealed_record_is_damaged(out, what, caplog):
    path = sorted((out / "cells").iterdir())[0]
    RESEALED[what](path)
    with pytest.raises(DamagedError):
        record_file.read(path)
    assert [found for found, _ in status.damaged(out)[1]] == [path]
    assert (len(load(out)[0]), load(out)[0].missing) == (5, 1)
    assert "left out" in caplog.text


def test_exact_arrays_without_a_seed_axis_are_not_concatenated(tmp_path):
    (tmp_path / "n.py").write_text(
        "import numpy as np\nfrom ntk_eoc.sweeps import config\n"
        "class Cell(config.Cell): pass\n"
        "def measure(cell):\n"
        "    return {'limit': np.arange(3.0), 'one': 1.0, 'each': np.ones(cell.seeds)}\n"
        "def draw(records): pass\n"
    )
    (tmp_path / "n.toml").write_text('experiment = "n.py"\nseeds = 8\nseeds_per_cell = 4\n')
    run(Options(tmp_path / "n.toml", tmp_path / "out"))
    records = load(tmp_path / "out")[0]
    assert records.stack("each").shape == (8,)
    for name, shape in (("limit", r"\(3,\)"), ("one", r"\(\)")):
        with pytest.raises(ValueError, match=f"`{name}` must have an axis of .* got shape {shape}"):
            records.stack(name)


def test_exact_a_mended_cell_is_tried_again(tmp_path):
    experiment = (
        "from ntk_eoc.sweeps import config\n"
        "class Cell(config.Cell):\n    i: int = 1\n"
        "def measure(cell):\n    return {'x': 1.0 / (cell.i - 1)}\n"
        "def draw(records): pass\n"
    )
    (tmp_path / "n.py").write_text(experiment)
    (tmp_path / "n.toml").write_text('experiment = "n.py"\n[grid]\ni = [1, 2]\n')
    options = Options(tmp_path / "n.toml", tmp_path / "out")
    assert run(options).counts == {"ok": 1, "failed": 1}
    again = run(options)
    assert (again.before, again.counts_before) == (2, {"ok": 1, "failed": 1})
    (tmp_path / "n.py").write_text(experiment.replace("(cell.i - 1)", "cell.i"))
    assert run(options).all_counts == {"ok": 2}
