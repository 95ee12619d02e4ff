"""Configs and `run.json` that no text editor writes, and odd environments: one line each."""

import json
import os
import shutil
import subprocess
import sys

import bad_input
import numpy as np
import pytest
from small_sweep import CONFIG, ENVIRONMENT, command

import ntk_eoc as ne
from ntk_eoc.sweeps.errors import UserError
from ntk_eoc.sweeps.runner import Options, run

CONFIGS = {
    "an integer of 5,000 digits": "seeds = " + "9" * 5000,
    "an integer of 100 digits": "seeds = " + "9" * 100,
    "nesting": "seeds = " + "[" * 5000 + "]" * 5000,
    "nested tables": "[" + ".".join("a" * 3000) + "]",
    "a zero byte": "seeds = 1\0",
}
RUNS = {
    "a list": [],
    "a number": 3,
    "ids of numbers": {"ids": [1, 2, 3, 4, 5, 6]},
    "ids as text": {"ids": "abc"},
    "costs of words": {"costs": ["a"] * 6},
    "fewer costs": {"costs": [1.0]},
    "engines that are none": {"engines": [3]},
    "code without parts": {"code": {"experiment": ""}},
    "code of a list": {"code": []},
    "a config that is a number": {"config": 3},
    "a resolved list": {"resolved": []},
    "mix as a word": {"mix": "yes"},
    "a cost beyond floats": {"costs": [10**400] * 6},
    "a cost that is none": {"costs": [float("nan")] * 6},
    "a path that is none": {"base": "a\0b"},
    "an unknown key": {"more": 1},
}


@pytest.mark.parametrize("what", CONFIGS)
def test_exact_an_odd_config_is_one_line(tmp_path, monkeypatch, what):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")
    text = CONFIG.read_text().replace("seeds = 6", "")
    (tmp_path / "c.toml").write_text(CONFIGS[what] + "\n" + text)
    code, errors = bad_input.call("run", str(tmp_path / "c.toml"), "--out", str(tmp_path / "out"))
    assert (code, errors.count("\n")) == (2, 1), errors[:300]


def test_exact_a_mark_of_byte_order_is_no_letter(tmp_path):
    (tmp_path / "noise.py").write_text((CONFIG.parent / "noise.py").read_text())
    (tmp_path / "c.toml").write_bytes(b"\xef\xbb\xbf" + CONFIG.read_bytes())
    assert run(Options(tmp_path / "c.toml", tmp_path / "out")).counts == {"ok": 6}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("odd") / "out"
    run(Options(CONFIG, out))
    return out


@pytest.mark.parametrize("what", RUNS)
@pytest.mark.parametrize("words", [("status",), ("verify",), ("figures",)])
def test_exact_an_odd_run_file_is_one_line(done, tmp_path, what, words):
    good = json.loads((done / "run.json").read_text())
    bad = good | RUNS[what] if isinstance(RUNS[what], dict) else RUNS[what]
    (tmp_path / "run.json").write_text(json.dumps(bad))
    code, errors = bad_input.call(*words, str(tmp_path))
    assert (code, errors.count("\n")) == (2, 1), errors
    assert "must hold a readable run.json" in errors


@pytest.mark.parametrize("command", ["status", "run", "figures"])
def test_exact_nobody_waits_for_a_pipe(done, tmp_path, command):
    """In place of `run.json`, and of a config."""
    os.mkfifo(tmp_path / "run.json")
    os.mkfifo(tmp_path / "c.toml")
    words = [(command, str(CONFIG), "--out", str(tmp_path)), ("run", str(tmp_path / "c.toml"))]
    for line in words if command == "run" else [(command, str(tmp_path))]:
        code, errors = bad_input.call(*line)
        assert (code, errors.count("\n")) == (2, 1), errors
        assert "it is no regular file" in errors


def test_exact_a_page_of_odd_provenance(done, tmp_path):
    shutil.copytree(done, tmp_path / "out")
    odd = json.loads((done / "run.json").read_text())
    odd["provenance"] = {"source": ["a"], "command": {"b": "\udcff"}, "commit": 3}
    odd["resolved"]["title"] = "\udcff\x1b[2J"
    (tmp_path / "out" / "run.json").write_text(json.dumps(odd))
    words = ("page", str(tmp_path / "out"), "--to", str(tmp_path / "a.html"))
    assert bad_input.call(*words) == (0, "")
    assert "\x1b" not in (tmp_path / "a.html").read_text(encoding="utf-8")


def test_exact_a_folder_whose_name_is_no_text(tmp_path, capsys):
    out = os.path.join(tmp_path, os.fsdecode(b"a\xff\nb"))
    for words in (("run", str(CONFIG), "--out", out), ("status", out), ("verify", out)):
        assert bad_input.call(*words) == (0, "")
    assert "Logging error" not in capsys.readouterr().err
    assert len(list((tmp_path / out / "log").iterdir())) == 1


def test_exact_a_command_to_go_on_is_one_line(done, tmp_path, capsys):
    from ntk_eoc.sweeps import status

    run_ = json.loads((done / "run.json").read_text())
    run_["provenance"]["command"] = "ntk-eoc run\nrm -rf here"
    (tmp_path / "run.json").write_text(json.dumps(run_))
    assert status.describe(tmp_path).splitlines()[-1] == "to go on: ntk-eoc run\\nrm -rf here"


def test_exact_a_npy_is_no_npz(tmp_path):
    np.save(tmp_path / "x.npy", np.eye(3))
    (tmp_path / "x.npy").rename(tmp_path / "x.npz")
    with pytest.raises(ValueError, match="must be an .npz file, got .* no archive of arrays"):
        ne.data.load(f"npz:{tmp_path / 'x.npz'}")


WORLDS = {
    "an ASCII terminal": ({"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}, []),
    "a notebook's backend": ({"MPLBACKEND": "module://no_such_backend"}, []),
    "without docstrings": ({}, ["-OO"]),
    "warnings as errors": ({}, ["-W", "error"]),
}


@pytest.mark.parametrize("what", WORLDS)
def test_exact_odd_worlds(done, tmp_path, what):
    variables, flags = WORLDS[what]
    for words in (["status", done], ["figures", done, "--out", tmp_path]):
        line = [sys.executable, *flags, *command(*words)[1:]]
        ended = subprocess.run(
            line, env=ENVIRONMENT | variables, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stderr
        assert ended.stderr == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_exact_a_folder_that_may_not_be_read(done, tmp_path):
    (tmp_path / "out").mkdir(mode=0o500)
    with pytest.raises(UserError, match="is not writable"):
        run(Options(CONFIG, tmp_path / "out"))


@pytest.mark.parametrize("reference", ["loop.py", "~nobody_at_all/mine.py"])
def test_exact_a_path_that_leads_nowhere_is_one_line(tmp_path, reference):
    (tmp_path / "loop.py").symlink_to("loop.py")
    (tmp_path / "c.toml").write_text(f'experiment = "{reference}"\n')
    code, errors = bad_input.call("run", str(tmp_path / "c.toml"), "--out", str(tmp_path / "out"))
    assert (code, errors.count("\n")) == (2, 1), errors
    assert "`experiment` must be in an existing file" in errors


@pytest.mark.parametrize("value", ["a\0b", "\ud800", {}, [1], None, 3])
def test_exact_what_a_run_file_tells_is_a_text_in_the_collected_file(done, tmp_path, value):
    shutil.copytree(done, tmp_path / "out")
    good = json.loads((done / "run.json").read_text())
    good["resolved"]["title"] = value
    good["provenance"] |= {"sha256": value, "command": value, "commit": value}
    (tmp_path / "out" / "run.json").write_text(json.dumps(good))
    to = str(tmp_path / "a.nc")
    assert bad_input.call("collect", str(tmp_path / "out"), "--to", to) == (0, "")


def test_exact_a_variable_that_jax_does_not_take_is_one_line(tmp_path):
    odd = ENVIRONMENT | {"JAX_ENABLE_X64": "banana"}
    for words in (("run", CONFIG, "--out", tmp_path / "out"), ("eoc", "relu", "--out", tmp_path)):
        line = command(*words)
        ended = subprocess.run(line, env=odd, capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stderr.count("\n")) == (2, 1), ended.stderr
        assert "ValueError: invalid truth value 'banana'" in ended.stderr
    assert ended.stderr.startswith("error: jax cannot be imported: ")
    assert not list(tmp_path.iterdir())


def test_exact_a_platform_that_is_not_there_is_named(tmp_path):
    words = command("run", CONFIG, "--out", tmp_path / "out")
    odd = ENVIRONMENT | {"JAX_PLATFORMS": "cuda"}
    ended = subprocess.run(words, env=odd, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.endswith("that JAX finds here, got JAX_PLATFORMS=cuda.\n")
