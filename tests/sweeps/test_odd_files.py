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


def test_exact_a_npy_is_no_npz(tmp_path):
    np.save(tmp_path / "x.npy", np.eye(3))
    (tmp_path / "x.npy").rename(tmp_path / "x.npz")
    with pytest.raises(ValueError, match="must be an .npz file, got .* no archive of arrays"):
        ne.data.load(f"npz:{tmp_path / 'x.npz'}")


WORLDS = {
    "an ASCII terminal": ({"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}, []),
    "a notebook's backend": ({"MPLBACKEND": "module://no_such_backend"}, []),
    "without assertions": ({}, ["-O"]),
    "without docstrings": ({}, ["-OO"]),
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
