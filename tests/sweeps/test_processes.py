"""Several processes compute one sweep: deaths, Ctrl-C, two sweeps at once; the same bits."""

import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from small_sweep import CONFIG, ENVIRONMENT, arrays_of, command

from ntk_eoc.sweeps import pool
from ntk_eoc.sweeps.records import load
from ntk_eoc.sweeps.runner import Options, run
from ntk_eoc.sweeps.store import Store


def overrides(*values: str) -> list[str]:
    return [word for value in values for word in ("--set", value)]


def measured(traces: Path) -> Counter[str]:
    """How often each cell was measured: the test experiment leaves a file each time."""
    return Counter(
        "-".join(path.name.split("-")[:2])
        for path in traces.iterdir()
        if not path.name.startswith("died")
    )


def start(*arguments: str | Path, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        command(*arguments),
        env=ENVIRONMENT | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a process group, as a terminal's Ctrl-C reaches it
    )


def wait_for_records(process: subprocess.Popen, folder: Path, count: int) -> None:
    while len(Store(folder).entries()) < count:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)


@pytest.mark.filterwarnings("ignore:unclosed")
def test_exact_dead_workers_are_replaced_and_deadly_cells_recorded(tmp_path):
    values = 'grid.behaviour=["good", "die", "die_once"]'
    one_size = ("grid.size=[2]", "seeds=4", f'fixed.traces="{tmp_path}"')
    summary = run(Options(CONFIG, tmp_path / "out", (values, *one_size), workers=2))
    assert summary.counts == {"ok": 2, "failed": 1}
    records = load(tmp_path / "out")[0]
    assert {r.cell.behaviour for r in records.ok} == {"good", "die_once"}
    assert {r.meta["message"] for r in records.bad} == {
        "ended its worker 2 times (out of memory, or a crash in native code)"
    }
    alone = ('grid.behaviour=["good"]', *one_size)
    run(Options(CONFIG, tmp_path / "alone", alone))
    together = arrays_of(tmp_path / "out")
    for id_, arrays in arrays_of(tmp_path / "alone").items():
        assert together[id_] == arrays


def test_exact_ctrl_c_stops_and_says_how_to_go_on(tmp_path, monkeypatch):
    # A Dask cluster of an earlier test in this process has set them.
    for threads in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(threads, raising=False)
        if threads in ENVIRONMENT:
            monkeypatch.setenv(threads, ENVIRONMENT[threads])
    values = ("seeds_per_cell=1", "grid.size=[2]", "seeds=24")
    out = tmp_path / "out"
    arguments = ("run", CONFIG, "--out", out, *overrides(*values), "--workers", "2")
    # Long enough that a starved machine still interrupts it before its end.
    process = start(*arguments, NOISE_SLEEP="2")
    wait_for_records(process, out, 3)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    last = errors.strip().splitlines()[-1]
    again = f"ntk-eoc run {CONFIG} --out {out} --set"
    assert last.startswith(f"stopped; every finished cell is kept. To go on: {again}")
    assert 3 <= len(Store(out).entries()) < 24
    assert run(Options(CONFIG, out, values)).counts["ok"] < 24
    assert not list((out / "tmp").iterdir())
    run(Options(CONFIG, tmp_path / "whole", values))
    assert arrays_of(out) == arrays_of(tmp_path / "whole")


def test_exact_ctrl_c_ends_workers_that_do_not_hear_it(tmp_path):
    process = start(
        "run", CONFIG, "--out", tmp_path / "out", "--workers", "2", NOISE_DEAF=str(tmp_path)
    )
    deadline = time.monotonic() + 60
    while len(deaf := [path.name for path in tmp_path.iterdir() if path.name.isdigit()]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.startswith("stopped; every finished cell is kept.")
    for worker in deaf:
        with pytest.raises(ProcessLookupError):
            os.kill(int(worker), 0)


def test_exact_two_sweeps_share_a_folder_and_compute_each_cell_once(tmp_path):
    traces, out = tmp_path / "traces", tmp_path / "out"
    traces.mkdir()
    values = overrides("fixed.sleep=0.1", "seeds_per_cell=1", f'fixed.traces="{traces}"')
    both = [start("run", CONFIG, "--out", out, *values) for _ in range(2)]
    for process in both:
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors
    assert set(measured(traces).values()) == {1}
    assert len(measured(traces)) == 18
    assert {entry.status for entry in Store(out).entries().values()} == {"ok"}


def test_exact_claims_end_with_their_process(tmp_path):
    Store(tmp_path).create()
    claim = (
        "import sys, time; from pathlib import Path; from ntk_eoc.sweeps.store import Store\n"
        f"store = Store(Path({str(tmp_path)!r}))\n"
        "print(store.claim('a' * 20), flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [*command()[:1], "-c", claim], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        mine = Store(tmp_path)
        assert not mine.claim("a" * 20)
        assert mine.claim("b" * 20)
        other.kill()
        other.wait()
        assert mine.claim("a" * 20)


def test_exact_the_memory_budget_limits_what_runs_at_once(tmp_path):
    from concurrent.futures import Future

    from ntk_eoc.sweeps import dispatch, grid
    from ntk_eoc.sweeps.config import Cell
    from ntk_eoc.sweeps.worker import Outcome

    class Fake:
        """Four slots; each cell ends when the next result is asked for."""

        slots = 4

        def __init__(self) -> None:
            self.running: set[str] = set()
            self.most = 0

        def engine(self):
            return {}

        def submit(self, id_, fields):
            self.running.add(id_)
            self.most = max(self.most, len(self.running))
            future: Future[Outcome] = Future()
            threading.Timer(0.02, future.set_result, [Outcome(id_, "ok", 0.0)]).start()
            return future

        def result(self, future):
            self.running.discard(future.result().id)
            return future.result()

        def check(self):
            pass

        def close(self, now):
            pass

    todo = [grid.Planned(str(i), Cell(), 1.0, memory=3.0) for i in range(6)]
    todo.append(grid.Planned("huge", Cell(), 1.0, memory=100.0))
    fake = Fake()
    outcomes = list(dispatch.compute(fake, todo, lambda one: None, memory=7.0))
    assert len(outcomes) == 7
    assert fake.most == 2


def test_exact_gpus_are_those_the_process_may_see(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-17")
    assert pool.gpus() == ["3", "GPU-17"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert pool.gpus() == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_exact_fifty_kills_leave_the_same_records(tmp_path):
    traces, out = tmp_path / "traces", tmp_path / "out"
    traces.mkdir()
    trace = f'fixed.traces="{traces}"'
    values = ("seeds=100", "seeds_per_cell=1", "fixed.sleep=0.1", trace)
    draw = random.Random(20261122)
    done: dict[str, float] = {}
    for kill in range(50):
        process = start("run", CONFIG, "--out", out, *overrides(*values), "--workers", "2")
        if kill % 5:  # most die soon after the first new record, some while they start
            wait_for_records(process, out, len(done) + 1)
        time.sleep(draw.uniform(0.0, 0.4))
        if kill % 2:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()  # its workers have to end by themselves
        process.communicate(timeout=60)  # ends when the last of them has closed its output
        records = {id_: entry.seconds for id_, entry in Store(out).entries().items()}
        assert {id_: records[id_] for id_ in done} == done  # none computed twice
        done = records
    assert 50 < len(done) < 300
    summary = run(Options(CONFIG, out, values))
    assert (summary.before, summary.counts) == (len(done), {"ok": 300 - len(done)})
    assert not list((out / "tmp").iterdir())
    whole = tmp_path / "whole"
    run(Options(CONFIG, whole, values))
    assert arrays_of(out) == arrays_of(whole)


@pytest.mark.slow
def test_exact_a_worker_killed_five_times_in_one_run(tmp_path):
    marks = (f'fixed.traces="{tmp_path}"', 'fixed.behaviour="die_once"', "seeds_per_cell=4")
    values = ("seeds=20", "grid.size=[2]", *marks)
    summary = run(Options(CONFIG, tmp_path / "out", values, workers=2))
    assert summary.counts == {"ok": 5}
    assert len(list(tmp_path.glob("died-*"))) == 5
