"""Whatever `measure` returns, raises or leaves behind, a run says so and its other cells stand."""

import bad_input
import numpy as np
import pytest
from small_sweep import command, written

from ntk_eoc.sweeps import pool
from ntk_eoc.sweeps.errors import UserError
from ntk_eoc.sweeps.records import load
from ntk_eoc.sweeps.runner import Options, run

REFUSED = {  # body of `measure`, and words of the failure
    "a masked array": ("return {'x': np.ma.masked_array([1.0, 2.0], [0, 1])}", "got a mask"),
    "an object": ("return {'x': object()}", "got dtype object"),
    "an integer beyond 64 bits": ("return {'x': 10**30}", "got dtype object"),
    "a list": ("return [1.0]", "must return a dict of arrays"),
    "nothing": ("pass", "must return a dict of arrays, got None"),
    "rows of several lengths": ("return {'x': [[1.0], [1.0, 2.0]]}", "inhomogeneous shape"),
    "a key of JAX": ("return {'x': jax.random.key(0)}", "PRNGKey dtype"),
    "bfloat16": ("return {'x': jnp.ones(2, 'bfloat16')}", "got dtype bfloat16"),
    "a date": ("return {'x': np.datetime64('2026-01-01')}", "got dtype datetime64"),
    "a name that is none": ("return {'a b': 1.0}", "name its arrays with identifiers, got 'a b'"),
    "an error that cannot be printed": (
        "class Odd(Exception):\n    def __str__(self): raise RuntimeError\nraise Odd",
        "Odd: <it cannot be printed>",
    ),
    "a KeyboardInterrupt of its own": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "an error of a million letters": ("raise ValueError('x' * 10**6)", "x…"),
    "letters of no encoding": ("raise ValueError('\\udcff\\x1b[2J')", "\udcff\x1b[2J"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_exact_what_cannot_be_kept_is_a_failed_cell(tmp_path, what, capsys):
    body, words = REFUSED[what]
    config = written(tmp_path, f"if cell.i:\n    return {{'x': 1.0}}\n{body}")
    assert run(Options(config, tmp_path / "out")).counts == {"failed": 1, "ok": 1}
    message = load(tmp_path / "out")[0].bad[0].meta["message"]
    assert words in message
    assert len(message) < 600
    assert "Logging error" not in capsys.readouterr().err


KEPT = {
    "complex": "np.complex128(1 + 2j)",
    "half": "np.float16(0.5)",
    "words": "np.array(['é', 'b'])",
    "no numbers": "np.zeros((0, 3))",
    "the other byte order": "np.arange(3, dtype='>f8')",
    "columns first": "np.asfortranarray(np.arange(6.0).reshape(2, 3))",
    "true": "True",
}


def test_exact_every_array_comes_back_as_it_was(tmp_path):
    names = [what.replace(" ", "_") for what in KEPT]
    made = ", ".join(f"'{n}': {value}" for n, value in zip(names, KEPT.values(), strict=True))
    run(Options(written(tmp_path, f"return {{{made}}}"), tmp_path / "out"))
    record = load(tmp_path / "out")[0][0]
    for name, value in zip(names, KEPT.values(), strict=True):
        want = np.asarray(eval(value))
        assert record.arrays[name].dtype == want.dtype
        np.testing.assert_array_equal(record.arrays[name], want)


def test_exact_a_cell_leaves_no_settings_to_the_next(tmp_path, monkeypatch):
    """Neither JAX's, which would change bits with the order of the cells, nor the folder."""
    body = (
        "x = jnp.asarray(0.1)\n"
        "jax.config.update('jax_enable_x64', False)\n"
        "os.chdir('/')\n"
        "return {'x': x}"
    )
    written(tmp_path, body)
    monkeypatch.chdir(tmp_path)
    assert bad_input.call("run", "own.toml", "--out", "out", "--figures") == (0, "")
    assert {str(r.arrays["x"].dtype) for r in load(tmp_path / "out")[0]} == {"float64"}


def test_exact_no_thread_of_a_cell_holds_up_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "LEISURE", 0.5)
    body = "threading.Thread(target=time.sleep, args=(300,)).start()\nreturn {'x': 1.0}"
    config = written(tmp_path, body)
    assert run(Options(config, tmp_path / "out", workers=2)).counts == {"ok": 2}


LEAVES = {  # where `os._exit(0)` stands, the command that meets it, its exit code
    "in measure": (("os._exit(0)", ""), "run", 1),
    "on import": (("return {'x': 1.0}", "os._exit(0)"), "run", 2),
    "in cost": (("return {'x': 1.0}", "def cost(cell): os._exit(0)"), "run", 2),
    "in draw": (("return {'x': 1.0}", "def draw(records): os._exit(0)"), "figures", 2),
}


@pytest.mark.parametrize("where", LEAVES)
def test_exact_no_command_ends_in_silence(tmp_path, where):
    (measure, more), met, code = LEAVES[where]
    config, out = str(written(tmp_path, measure, more=more)), str(tmp_path / "out")
    if met == "figures":
        assert bad_input.call("run", config, "--out", out) == (0, "")
    words = ("run", config, "--out", out) if met == "run" else (met, out)
    got, errors = bad_input.call(*words)
    assert got == code
    assert "SystemExit: 0" in errors


COSTS = {
    "beyond floats": ("10**400", "must be a finite number"),
    "negative": ("-1", "must be a finite number"),
    "a word": ("'5'", "must be a finite number"),
    "NaN": ("float('nan')", "must be a finite number"),
}


@pytest.mark.parametrize("what", COSTS)
def test_exact_a_cost_that_is_no_number_is_refused(tmp_path, what):
    value, words = COSTS[what]
    config = written(tmp_path, "return {'x': 1.0}", more=f"def cost(cell): return {value}")
    with pytest.raises(UserError, match=words):
        run(Options(config, tmp_path / "out"))


def test_exact_costs_of_numpy_and_of_nothing_are_numbers(tmp_path):
    more = "def cost(cell): return np.float32(2.0) * cell.i"
    config = written(tmp_path, "return {'x': 1.0}", more=more)
    assert run(Options(config, tmp_path / "out")).counts == {"ok": 2}


def test_exact_a_closed_output_is_no_traceback(tmp_path):
    import subprocess

    from small_sweep import ENVIRONMENT

    config = written(tmp_path, "sys.stdout.close()\nreturn {'x': 1.0}")
    words = command("run", config, "--out", tmp_path / "out")
    ended = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
