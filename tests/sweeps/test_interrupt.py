"""Ctrl-C is never lost, and no `sys.exit` of the user's ends a sweep in silence."""

import contextlib
import os
import signal
import subprocess
import time

import pytest
from small_sweep import CONFIG, ENVIRONMENT, NOISE, command

from ntk_eoc.sweeps import interrupt
from ntk_eoc.sweeps.errors import UserError
from ntk_eoc.sweeps.records import load
from ntk_eoc.sweeps.runner import Options, run
from ntk_eoc.sweeps.store import Store

SWALLOWS = {  # where a Ctrl-C is taken for something else; each is the body of `measure`
    "a callback of JAX": """
    def hear(x):
        os.kill(os.getpid(), signal.SIGINT)
        return x
    x = jax.pure_callback(hear, jax.ShapeDtypeStruct((), "float32"), jnp.float32(1))
    return {"mean": x}""",
    "a bare except": """
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        pass
    return {"mean": jnp.ones(())}""",
    "a failure of its own": """
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException as error:
        raise ValueError("taken for mine") from error""",
    "SIGTERM in a debug callback": """
    def hear(x):
        os.kill(os.getpid(), signal.SIGTERM)
    jax.debug.callback(hear, jnp.ones(()))
    jax.effects_barrier()
    return {"mean": jnp.ones(())}""",
}
LEAVES = {
    "sys.exit(0)": "sys.exit(0)",
    "sys.exit(3)": "sys.exit(3)",
    "exit()": "raise SystemExit",
    "an exception of no kind": "raise BaseException('odd')",
    "GeneratorExit": "raise GeneratorExit",
}


def with_measure(folder, body: str):
    text = NOISE.read_text().replace(
        "def measure(cell: Cell):", f"def measure(cell: Cell):{body}\n\n\ndef unused(cell: Cell):"
    )
    (folder / "noise.py").write_text(text.replace("import os\n", "import os\nimport sys\n"))
    (folder / "noise.toml").write_text(CONFIG.read_text())
    return folder / "noise.toml"


@pytest.mark.parametrize("what", SWALLOWS)
@pytest.mark.filterwarnings("ignore")
def test_exact_a_swallowed_ctrl_c_stops_the_run(tmp_path, what):
    config = with_measure(tmp_path, SWALLOWS[what])
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(Options(config, tmp_path / "out", overrides=("seeds=0",)))
    assert signal.getsignal(signal.SIGINT) is before
    assert not Store(tmp_path / "out").entries()  # the cell that was under way is no result


def test_exact_a_ctrl_c_in_the_last_moment_counts():
    with pytest.raises(KeyboardInterrupt), interrupt.interruptible():  # noqa: SIM117
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGXCPU])
def test_exact_what_else_ends_a_run_ends_it_like_ctrl_c(number):
    with pytest.raises(KeyboardInterrupt), interrupt.interruptible():
        os.kill(os.getpid(), number)


def test_exact_nohup_is_kept():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupt.interruptible():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_exact_the_next_run_begins_anew(tmp_path):
    with pytest.raises(KeyboardInterrupt), interrupt.interruptible():
        os.kill(os.getpid(), signal.SIGTERM)
    assert run(Options(CONFIG, tmp_path)).counts == {"ok": 6}


@pytest.mark.parametrize("what", LEAVES)
def test_exact_leaving_is_a_failure_of_the_cell(tmp_path, what):
    config = with_measure(tmp_path, f"\n    {LEAVES[what]}")
    summary = run(Options(config, tmp_path / "out"))
    assert summary.counts == {"failed": 6}
    told = {record.meta["message"].partition(":")[0] for record in load(tmp_path / "out")[0]}
    assert told <= {"SystemExit", "BaseException", "GeneratorExit"}


@pytest.mark.filterwarnings("ignore:unclosed")
def test_exact_leaving_is_a_failure_in_a_worker_too(tmp_path):
    config = with_measure(tmp_path, "\n    sys.exit(0)")
    assert run(Options(config, tmp_path / "out", workers=2)).counts == {"failed": 6}


@pytest.mark.parametrize("where", ["cost", "memory"])
def test_exact_leaving_while_planning_is_refused(tmp_path, where):
    config = with_measure(tmp_path, "\n    pass")
    with (tmp_path / "noise.py").open("a") as file:
        file.write(f"\n\ndef {where}(cell):\n    sys.exit(0)\n")
    with pytest.raises(UserError, match=f"`{where}` of .* raised SystemExit: 0"):
        run(Options(config, tmp_path / "out"))


CODES = [  # what the cells do, exit code, words of the last line
    ('["good"]', 0, "now 3 ok"),
    ('["memory"]', 1, "3 out-of-memory: ntk-eoc status"),
    ('["nan"]', 1, "3 non-finite: ntk-eoc status"),
    ('["good", "nan"]', 0, "now 3 non-finite, 3 ok"),
    ('["good", "raise"]', 1, "3 failed: ntk-eoc status"),
    ('["good", "memory"]', 1, "with --retry"),
]


@pytest.mark.parametrize(("cells", "code", "words"), CODES, ids=[c[0] for c in CODES])
def test_exact_the_exit_code_tells_bad_cells_each_time(tmp_path, cells, code, words, monkeypatch):
    import bad_input

    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")
    line = ("run", str(CONFIG), "--out", str(tmp_path), "--set", f"grid.behaviour={cells}")
    line = (*line, "--set", "seeds=4")
    for _ in range(2):
        got, errors = bad_input.call(*line)
        assert got == code
        assert words in (errors.splitlines()[-1] if code else words)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_exact_signals_for_eighty_eight_rounds(tmp_path):
    """SIGINT and SIGTERM at any moment, to the run or to its whole group, one or two processes."""
    import numpy as np
    from small_sweep import arrays_of

    out, draw = tmp_path / "out", np.random.default_rng(20261125)
    values = ("--set", "fixed.sleep=0.05", "--set", "seeds_per_cell=1", "--set", "seeds=150")
    done: dict[str, float] = {}
    codes = []
    for i in range(88):
        workers = ("--workers", str(1 + i % 2))
        with subprocess.Popen(
            command("run", CONFIG, "--out", out, *values, *workers),
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            goal = len(Store(out).entries()) + int(draw.integers(1, 6))
            while i % 8 and len(Store(out).entries()) < goal and process.poll() is None:
                time.sleep(0.01)
            time.sleep(draw.uniform(0.0, 0.3 if i % 8 else 4.0))
            number = [signal.SIGINT, signal.SIGTERM, signal.SIGKILL][i % 3]
            if process.poll() is None:
                (os.killpg if i % 4 else os.kill)(process.pid, number)
            errors = process.communicate(timeout=120)[1]
        codes.append(process.returncode)
        if number != signal.SIGKILL and process.returncode >= 0:
            assert process.returncode in (0, 130), errors
            assert "Traceback" not in errors
        records = {id_: entry.seconds for id_, entry in Store(out).entries().items()}
        assert {id_: records[id_] for id_ in done} == done  # none lost, none computed again
        done = records
    assert codes.count(130) > 30
    options = ("fixed.sleep=0.05", "seeds_per_cell=1", "seeds=150")
    summary = run(Options(CONFIG, out, options))
    assert summary.before == len(done)
    run(Options(CONFIG, tmp_path / "whole", options))
    assert arrays_of(out) == arrays_of(tmp_path / "whole")
