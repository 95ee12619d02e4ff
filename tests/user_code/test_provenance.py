"""A hash of code changes with all that a definition reaches, and with nothing else."""

import pytest

from ntk_eoc.user_code import provenance

FILES = {
    "mine.py": '''
"""A question."""

import math
from typing import TYPE_CHECKING

import near
import pack.inner
import widely
from helpers import doubled as twice
from helpers import *
from pack import deep

if TYPE_CHECKING:
    import never

FACTOR = 2.0
COLOUR = "red"
TABLE = {}


def register(f):
    TABLE[f.__name__] = f
    return f


def silent(f):
    return f


@register
def shift(x):
    return x + 1


@silent
def decorated(x):
    return x


class Base:
    pass


class Found(Base):
    size = 3


class Cell:
    """A cell."""

    kind: "Alias" = "a"


Alias = str


def measure(cell):
    """What one cell gives."""
    # a comment
    import lazily

    draw = twice(FACTOR)  # a local name, not the function below
    rows = np_load("rows.txt")
    return near.used(draw) + TABLE["shift"](1) + widely_used() + decorated(lazily.late())


def widely_used():
    return apply(widely), deep.below(), pack.inner.f(), [sub.size for sub in Base.__subclasses__()]


def draw(records):
    return COLOUR, near.unused()


measure.kinks = (0.0,)
draw.kinks = (1.0,)
near.patched = 5

if __name__ == "__main__":
    draw(None)
''',
    "helpers.py": """
from deeper import base


def doubled(x):
    return base(x) * 2


def tripled(x):
    return 3 * x


print("always")
""",
    "deeper.py": "def base(x):\n    return x\n\n\ndef other(x):\n    return x\n",
    "near.py": "def used(x):\n    return x\n\n\ndef unused():\n    return 9\n",
    "widely.py": "def one():\n    return 1\n\n\ndef two():\n    return 2\n",
    "lazily.py": "def late():\n    return 7\n",
    "pack/__init__.py": "SETTING = 1\nprint('on import')\n",
    "pack/inner.py": "from .deep import below\n\n\ndef f():\n    return below()\n",
    "pack/deep.py": "def below():\n    return 4\n\n\ndef beside():\n    return 5\n",
    "rows.txt": "1 2 3",
    "never.py": "x = 1\n",
}

CHANGES = [
    ("what measure does", "mine.py", "near.used(draw) +", "near.used(draw) -"),
    ("a constant that it reads", "mine.py", "FACTOR = 2.0", "FACTOR = 3.0"),
    ("a field of Cell", "mine.py", '"Alias" = "a"', '"Alias" = "b"'),
    ("what an annotation in quotes names", "mine.py", "Alias = str", "Alias = int"),
    ("an attribute of measure", "mine.py", "measure.kinks = (0.0,)", "measure.kinks = (2.0,)"),
    ("what is registered by a decorator", "mine.py", "return x + 1", "return x + 2"),
    ("a decorator", "mine.py", "TABLE[f.__name__] = f", "TABLE[f.__name__] = 2 * f"),
    ("a decorator of what is reached", "mine.py", "silent(f):\n    return f", "silent(f):\n    f"),
    ("a subclass found by its base", "mine.py", "size = 3", "size = 4"),
    ("which decorator", "mine.py", "@silent", "@register"),
    ("what an import names", "mine.py", "doubled as twice", "tripled as twice"),
    ("a module patched", "mine.py", "near.patched = 5", "near.patched = 6"),
    ("a helper", "helpers.py", "* 2", "* 4"),
    ("what a helper's module does on import", "helpers.py", '"always"', '"sometimes"'),
    ("a helper of the helper", "deeper.py", "base(x):\n    return x", "base(x):\n    return -x"),
    ("a function of a module, by its attribute", "near.py", "return x", "return x * 2"),
    ("any function of a module handed on whole", "widely.py", "return 2", "return 3"),
    ("a module imported inside a function", "lazily.py", "return 7", "return 8"),
    ("a package's __init__", "pack/__init__.py", "'on import'", "'when imported'"),
    ("a module of a package", "pack/deep.py", "return 4", "return 6"),
    ("a data file named in reached code", "rows.txt", "1 2 3", "1 2 4"),
]  # fmt: skip
SAME = [
    ("draw", "mine.py", "return COLOUR, near", "return 2 * COLOUR, near"),
    ("what draw alone reads", "mine.py", 'COLOUR = "red"', 'COLOUR = "blue"'),
    ("an attribute of draw", "mine.py", "draw.kinks = (1.0,)", "draw.kinks = (9.0,)"),
    ("the file's docstring", "mine.py", "A question.", "Another question."),
    ("a function's docstring", "mine.py", "What one cell gives.", "What it gives."),
    ("a comment", "mine.py", "# a comment", "# some words"),
    ("white space", "mine.py", "    # a comment\n", "\n\n"),
    ("quotes", "mine.py", '"rows.txt"', "'rows.txt'"),
    ("what runs as a script only", "mine.py", "    draw(None)", "    draw(records)"),
    ("imports for types only", "mine.py", "import never", "import nothing"),
    ("a new function", "mine.py", "FACTOR = 2.0", "FACTOR = 2.0\n\n\ndef new():\n    return 1\n"),
    ("an installed module that is not used", "mine.py", "import math\n", "import json\n"),
    ("a helper that only draw calls", "near.py", "return 9", "return 10"),
    ("a helper that nothing calls", "deeper.py", "other(x):\n    return x", "other(x):\n    1"),
    ("what of a module nothing uses", "pack/deep.py", "return 5", "return 7"),
]  # fmt: skip
DYNAMIC = [
    ("globals()", "globals()['helper'](1)"),
    ("eval", "eval('helper(1)')"),
    ("exec", "exec('helper(1)')"),
    ("vars()", "vars()['helper']"),
    ("sys.modules", "getattr(sys.modules[__name__], 'hel' + 'per')(1)"),
    ("importlib", "importlib.import_module('mo' + 're').f()"),
    ("__import__", "__import__('more').f()"),
]


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def of(folder):
    return provenance.digest(folder / "mine.py", ("measure", "Cell"))


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, FILES)
    return tmp_path


@pytest.mark.parametrize(("what", "name", "old", "new"), CHANGES, ids=[c[0] for c in CHANGES])
def test_exact_what_is_reached_counts(folder, what, name, old, new):
    before = of(folder)
    assert FILES[name].count(old) == 1
    (folder / name).write_text(FILES[name].replace(old, new))
    assert of(folder) != before


@pytest.mark.parametrize(("what", "name", "old", "new"), SAME, ids=[c[0] for c in SAME])
def test_exact_what_is_not_reached_does_not_count(folder, what, name, old, new):
    before = of(folder)
    assert FILES[name].count(old) == 1
    (folder / name).write_text(FILES[name].replace(old, new))
    assert of(folder) == before


@pytest.mark.parametrize(("what", "call"), DYNAMIC, ids=[c[0] for c in DYNAMIC])
def test_exact_where_code_cannot_be_read_off_all_of_it_counts(tmp_path, what, call):
    text = f"import importlib\nimport sys\n\n\ndef measure(cell):\n    return {call}\n\n\n"
    text += "def helper(x):\n    return x\n"
    write(tmp_path, {"mine.py": text, "more.py": "def f():\n    return 1\n"})
    before = of(tmp_path)
    write(tmp_path, {"mine.py": text.replace("return x", "return -x")})
    assert of(tmp_path) != before
    write(tmp_path, {"mine.py": text})
    assert of(tmp_path) == before
    write(tmp_path, {"more.py": "def f():\n    return 2\n"})
    assert of(tmp_path) != before


def test_exact_the_place_does_not_count(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    write(other, FILES)
    assert of(other) == of(folder)


def test_exact_the_package_is_the_part_that_computes():
    names = {path.relative_to(provenance.PACKAGE).as_posix() for path in provenance.package_files()}
    assert {"data.py", "kernels/infinite.py", "sweeps/batches.py", "network.py"} <= names
    assert not {"cli.py", "report/style.py", "sweeps/store.py", "sweeps/runner.py"} & names
    assert len(provenance.package_digest()) == 64


def test_exact_the_digest_of_the_package_is_kept_by_its_stamp(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    parsed = iter(["a" * 64, "b" * 64, "c" * 64, "d" * 64])
    monkeypatch.setattr(provenance, "_parse_package", lambda: next(parsed))
    monkeypatch.setattr(provenance, "SETTLED", -1e9)

    def asked() -> str:
        provenance._package_digest.cache_clear()
        return provenance.package_digest()

    try:
        assert [asked(), asked()] == ["a" * 64] * 2
        (kept,) = (tmp_path / "ntk_eoc").iterdir()
        kept.write_text("torn")
        assert [asked(), asked()] == ["b" * 64] * 2
        real = provenance.package_files
        monkeypatch.setattr(provenance, "package_files", lambda: real()[1:])  # another stamp
        assert [asked(), asked()] == ["c" * 64] * 2
        monkeypatch.setattr(provenance, "SETTLED", 1e9)  # as if a file had just been written
        kept.unlink()
        assert asked() == "d" * 64
        assert not list((tmp_path / "ntk_eoc").iterdir())
    finally:
        provenance._package_digest.cache_clear()


def test_exact_a_compiled_helper_counts(tmp_path):
    """Its bytes, as they cannot be read off."""
    from importlib.machinery import EXTENSION_SUFFIXES

    (tmp_path / "mine.py").write_text("import fast\n\n\ndef measure(cell):\n    return fast.f()\n")
    compiled = tmp_path / f"fast{EXTENSION_SUFFIXES[0]}"
    compiled.write_bytes(b"one")
    before = provenance.digest(tmp_path / "mine.py", ("measure",))
    compiled.write_bytes(b"two")
    assert provenance.digest(tmp_path / "mine.py", ("measure",)) != before
