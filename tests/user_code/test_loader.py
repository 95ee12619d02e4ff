"""A user's own code is found by one door, as it is on disk now; what is wrong is one line."""

import re
import sys

import jax.numpy as jnp
import numpy as np
import pytest

import ntk_eoc as ne
from ntk_eoc import user_code

BENT = """
import jax.numpy as jnp


def bent(s):
    return jnp.where(s < 2.0, jnp.maximum(s, 0.0), 2.0 + (s - 2.0) / 4)


bent.kinks = (0.0, 2.0)
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.py").write_text(BENT)
    return tmp_path


def test_exact_a_function_becomes_an_activation(here):
    act = ne.activation("my.py:bent")
    assert (act.name, act.kinks) == ("bent", (0.0, 2.0))
    assert act(jnp.array(6.0)) == 3.0
    assert ne.activation("my.py:bent") == act  # so that what is compiled for it is shared


@pytest.mark.parametrize(
    "name", ["my.py:bent", "sub/../my.py:bent", "{here}/my.py:bent", "my:bent"]
)
def test_exact_every_way_to_name_it(here, name):
    (here / "sub").mkdir()
    assert ne.activation(name.format(here=here)).kinks == (0.0, 2.0)


def test_exact_paths_are_relative_to_the_base(here, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    with pytest.raises(ValueError, match="must be in an existing file, got 'my.py'"):
        ne.activation("my.py:bent")
    with user_code.relative_to(here):
        assert ne.activation("my.py:bent").name == "bent"
        with user_code.relative_to(here / "none"), pytest.raises(ValueError, match="existing file"):
            ne.activation("my.py:bent")


def test_exact_a_changed_file_is_loaded_anew(here):
    (here / "my.py").write_text("from shape import bent\n")
    for slope in ("1", "2", "3"):  # of one length, within one tick of a coarse clock
        (here / "shape.py").write_text(f"def bent(s):\n    return s * s * {slope}.0\n")
        for name in ("my.py:bent", "my:bent", "shape.py:bent", "shape:bent"):
            assert ne.activation(name)(jnp.array(1.0)) == float(slope), name


def test_exact_files_of_one_name_in_two_folders_are_two(here):
    for folder, value in (("one", 1.0), ("two", 2.0)):
        (here / folder).mkdir()
        (here / folder / "acts.py").write_text("from factor import X\ndef f(s): return X * s * s\n")
        (here / folder / "factor.py").write_text(f"X = {value}\n")
    for _ in range(2):
        for folder, value in (("one", 1.0), ("two", 2.0)):
            assert ne.activation(f"{folder}/acts.py:f")(jnp.array(1.0)) == value


def test_exact_modules_imported_by_others_are_left_alone(here):
    assert user_code.module("json", "data") is sys.modules["json"]
    assert ne.activation("jax.nn:soft_sign").name == "soft_sign"


NEAR_FILE = r"must be in an existing file, got 'mine.py' .* Did you mean 'my.py'\?"
NEAR_NAME = r"my.py: `activation` must be one of .*, got 'bend'\. Did you mean 'bent'\?"
ABSENT = "raised ModuleNotFoundError: .*nowhere_at_all.*: give the path"
WRONG = {
    "no file": ("mine.py:bent", NEAR_FILE),
    "no name": ("my.py:bend", NEAR_NAME),
    "a number": ("my.py:NUMBER", "must be a function or an Activation, got 'my.py:NUMBER': 3"),
    "a class": ("my.py:Thing", "must be a function or an Activation"),
    "a module": ("my.py:jnp", "must be a function or an Activation"),
    "no module": ("nowhere_at_all:f", ABSENT),
    "it raises": ("raises.py:f", "'raises.py' raised RuntimeError: no luck\\."),
    "it leaves": ("leaves.py:f", "'leaves.py' raised SystemExit: 3\\."),
    "it leaves silently": ("leaves0.py:f", "'leaves0.py' raised SystemExit"),
    "it cannot be parsed": ("syntax.py:f", "'syntax.py' raised SyntaxError: "),
    "it imports what is not there": ("imports.py:f", "ModuleNotFoundError: No module named 'no"),
    "a folder": ("sub.py:f", "must be in an existing file"),
    "not UTF-8": ("bytes.py:f", "'bytes.py' raised SyntaxError"),
    "no such activation": ("rellu", "Did you mean 'relu'"),
}


@pytest.mark.parametrize("what", WRONG)
def test_exact_what_is_wrong_is_one_line(here, what):
    name, message = WRONG[what]
    with (here / "my.py").open("a") as file:
        file.write("NUMBER = 3\nclass Thing: pass\n")
    (here / "raises.py").write_text("raise RuntimeError('no\\nluck')\n")
    (here / "leaves.py").write_text("import sys\nsys.exit(3)\n")
    (here / "leaves0.py").write_text("import sys\nsys.exit()\n")
    (here / "syntax.py").write_text("def f(s:\n")
    (here / "imports.py").write_text("import nowhere\n")
    (here / "bytes.py").write_bytes(b"x = '\xff'\n")
    (here / "sub.py").mkdir()
    with pytest.raises(ValueError, match=message) as caught:
        ne.activation(name)
    assert "\n" not in str(caught.value)
    assert re.search("`activation` must be", str(caught.value))


def test_exact_data_is_what_the_file_holds_now(here, tmp_path_factory, monkeypatch):
    x = np.eye(3) + 1.0
    np.savez(here / "d.npz", x=x)
    (here / "rows.py").write_text("import numpy as np\ndef f(seed): return np.eye(3) + 1.0\n")
    names = ("npz:d.npz", "rows.py:f", "rows:f")
    before = {name: ne.data.load(name).x for name in names}
    ne.data.load("npz:d.npz").x[:] = 7.0  # the caller's own
    np.testing.assert_array_equal(ne.data.load("npz:d.npz").x, before["npz:d.npz"])
    np.savez(here / "d.npz", x=x + np.diag([1.0, 0, 0]))
    (here / "rows.py").write_text("import numpy as np\ndef f(seed): return np.eye(3) + 2.0\n")
    for name in names:
        assert not np.array_equal(ne.data.load(name).x, before[name]), name
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    for name in names[:2]:
        with pytest.raises(ValueError, match="must be"):
            ne.data.load(name)
