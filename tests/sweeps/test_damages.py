"""Random damages of stores and configs: one line and an exit code, and nothing sound is lost."""

import hashlib
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import bad_input
import pytest
from small_sweep import CONFIG, NOISE

from ntk_eoc.sweeps.runner import Options, run

SEEDS = range(300)  # about ten minutes
WORDS = ["-1", "1e400", "[]", "{}", '"x"', "true", "1979-05-27", "nan", "[[1]]", "9" * 40, "'"]


def flip(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes() or b"\0")
    for _ in range(rng.choice([1, 8])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def truncate(path: Path, rng: random.Random) -> None:
    os.truncate(path, rng.randrange(path.stat().st_size + 1))


def empty(path: Path, rng: random.Random) -> None:
    path.write_bytes(b"")


def delete(path: Path, rng: random.Random) -> None:
    path.unlink()


def folder(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.mkdir()


def dangling(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def loop(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.symlink_to(path.name)


def forbid(path: Path, rng: random.Random) -> None:
    path.chmod(0)


def rename(path: Path, rng: random.Random) -> None:
    path.rename(path.with_name(rng.choice([f"{path.name}~", f"{'0' * 20}.ok.npz", "é\n.npz"])))


def swap(path: Path, rng: random.Random) -> None:
    other = rng.choice([p for p in sorted(path.parent.iterdir()) if p.is_file()])
    data = path.read_bytes(), other.read_bytes()
    other.write_bytes(data[0])
    path.write_bytes(data[1])


def retype(path: Path, rng: random.Random) -> None:
    """Put another value at a random place of a text."""
    text = path.read_text(encoding="utf-8", errors="surrogateescape")
    at = [i for i, c in enumerate(text) if c in "=:,["] or [0]
    begin = rng.choice(at) + 1
    ends = [i for i in range(begin, len(text)) if text[i] in ",\n]}"] or [len(text)]
    path.write_text(
        text[:begin] + rng.choice(WORDS) + text[ends[0] :], encoding="utf-8", errors="replace"
    )


def drop_line(path: Path, rng: random.Random) -> None:
    lines = path.read_bytes().splitlines(keepends=True) or [b""]
    del lines[rng.randrange(len(lines))]
    path.write_bytes(b"".join(lines))


FILES: list[Callable[[Path, random.Random], None]] = [
    flip, truncate, empty, delete, folder, dangling, loop, forbid, rename, swap,
]  # fmt: skip
TEXTS = [*FILES, retype, retype, retype, drop_line]
TARGETS = ("cells", "cells", "run.json", "noise.toml", "noise.py", "folder")


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    home = tmp_path_factory.mktemp("sound")
    for file in (CONFIG, NOISE):
        shutil.copy(file, home)
    run(Options(home / "noise.toml", home / "out"))
    return home


def damage(home: Path, rng: random.Random) -> str:
    target, out = rng.choice(TARGETS), home / "out"
    if target == "folder":
        victim = rng.choice([out / "cells", out / "tmp", out / "log", out])
        kept = home / "kept"
        victim.rename(kept)
        how = rng.choice(["gone", "file", "link"])
        if how == "file":
            victim.write_text("")
        elif how == "link":
            victim.symlink_to(kept)
        return f"{how} for {victim.name}"
    if target == "cells":
        victim = rng.choice(sorted(p for p in (out / "cells").iterdir() if p.is_file()))
    else:
        victim = home / target if target.startswith("noise") else out / target
    do = rng.choice(FILES if target == "cells" else TEXTS)
    if os.path.lexists(victim):
        do(victim, rng)
    return f"{do.__name__} of {victim.name}"


def records_under(home: Path) -> set[bytes]:
    """The bytes of every sound record, wherever in the folder it is and whatever it is called."""
    found = set()
    for path in home.rglob("*"):
        if path.is_file() and not path.is_symlink() and ".npz" in path.name:
            data = path.read_bytes()
            if data[:2] == b"PK" and is_sealed(data):
                found.add(data)
    return found


def is_sealed(data: bytes) -> bool:
    return hashlib.sha256(data[:-64]).hexdigest().encode() == data[-64:]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", SEEDS)
def test_exact_a_random_damage_is_one_line_and_loses_nothing(sound, tmp_path, monkeypatch, seed):
    rng = random.Random(seed)
    home = tmp_path / "home"
    shutil.copytree(sound, home)
    monkeypatch.chdir(home)
    done = [damage(home, rng) for _ in range(rng.choice([1, 1, 2]))]
    before = records_under(home)
    calls = [("status", "out"), ("verify", "out"), ("figures", "out", "--trust"),
             ("collect", "out", "--to", "a.nc", "--trust"), ("run", "noise.toml", "--out", "out"),
             ("status", "out")]  # fmt: skip
    for words in calls:
        code, errors = bad_input.call(*words)  # an exception would come through
        told = f"{done}: {words}: {code}: {errors}"
        assert code in (0, 1, 2), told
        assert "Traceback" not in errors, told
        if code:
            last = errors.splitlines()
            assert last, told
            assert code != 2 or all(line.startswith("error: ") for line in last[-1:]), told
            assert len(last) <= 8, told
    assert before <= records_under(home), done
