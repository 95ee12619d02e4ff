"""A Dask scheduler that is silent, empty or gone is waited for, but not without end."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from small_sweep import CONFIG, ENVIRONMENT

from ntk_eoc.sweeps import cluster, dispatch
from ntk_eoc.sweeps.errors import StoppedError, UserError
from ntk_eoc.sweeps.runner import Options, run
from ntk_eoc.sweeps.store import Store

pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("ignore")  # of Dask's own, on closing


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(cluster, "PATIENCE", 2.0)
    monkeypatch.setattr(dispatch, "LOOK_UP", 0.5)


HOWS = ["accepts and never answers", "refuses", "is no address", "wants certificates", "is empty"]


@pytest.mark.parametrize("how", HOWS)
def test_exact_an_address_without_a_scheduler_is_refused(tmp_path, how):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        if how == "refuses":
            server.close()
        address = "nonsense://here" if how == "is no address" else address
        address = address.replace("tcp", "tls") if how == "wants certificates" else address
        address = " " if how == "is empty" else address
        start = time.monotonic()
        with pytest.raises(UserError, match="`--scheduler` must be (the|an) address"):
            run(Options(CONFIG, tmp_path / "out", scheduler=address))
    assert time.monotonic() - start < 30
    assert not (tmp_path / "out").exists()


def scheduler(workers: int):
    from distributed import LocalCluster

    return LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=False, dashboard_address=None
    )


def test_exact_a_scheduler_without_workers_is_not_waited_for(tmp_path):
    with scheduler(0) as empty, pytest.raises(StoppedError, match="has no worker after 2 s"):
        run(Options(CONFIG, tmp_path / "out", scheduler=empty.scheduler_address))


def test_exact_workers_that_go_away_stop_the_run():
    class Client:
        status = "running"
        there = 1

        class scheduler:
            ncores = None

        def sync(self, ask, callback_timeout):
            assert callback_timeout == 0.2  # no answer may take for ever
            if self.there is None:
                raise TimeoutError("no answer")
            return {"worker": self.there}

    client = Client()
    pool = cluster.DaskPool.__new__(cluster.DaskPool)
    pool._client, pool._patience, pool._lost = client, 0.2, None
    pool.check()
    for lost in ("there", "answer", "status"):
        client.there, client.status = (0 if lost == "there" else 1), "running"
        client.there = None if lost == "answer" else client.there
        client.status = "closed" if lost == "status" else "running"
        pool.check()
        time.sleep(0.3)
        with pytest.raises(StoppedError, match="have been away for 0 s; what is done is kept"):
            pool.check()
        client.there, client.status = 1, "running"
        pool.check()  # they are back


def test_exact_workers_that_cannot_start_are_not_waited_for(tmp_path):
    """As the first of them dies of what it is sent, and no other comes."""
    from concurrent.futures import Future

    pool = cluster.DaskPool.__new__(cluster.DaskPool)
    pool._setup, pool._engine, pool._patience, pool._lost = None, None, 0.2, None
    asked: Future = Future()

    class Client:
        status = "running"

        def wait_for_workers(self, count, timeout):
            pass

    pool._client = Client()
    pool._executor = type("Executor", (), {"submit": lambda self, *_: asked})()
    pool._workers = lambda: 0
    with pytest.raises(StoppedError, match="have been away for 0 s"):
        pool.engine()
    asked.set_exception(ModuleNotFoundError("No module named 'ntk_eoc'"))
    with pytest.raises(StoppedError, match=r"cannot compute here \(ModuleNotFoundError: No module"):
        pool.engine()


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("victim", ["scheduler", "worker", "frozen scheduler"])
def test_exact_a_scheduler_or_worker_that_dies_in_the_run_ends_it_in_a_line(tmp_path, victim):
    out, there = tmp_path / "out", {}
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    words = {
        "scheduler": ["distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port)],
        "worker": ["distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny"],
    }
    environment = ENVIRONMENT | {"NOISE_SLEEP": "1.5"}
    environment["PYTHONPATH"] += os.pathsep + str(CONFIG.parent)

    def kill_at_the_first_record():
        while not Store(out).entries():
            time.sleep(0.1)
        if victim == "frozen scheduler":  # it is there, and answers nothing
            there["scheduler"].send_signal(signal.SIGSTOP)
        else:
            there[victim].kill()

    try:
        for name, one in words.items():
            there[name] = subprocess.Popen(
                [sys.executable, "-m", *one, "--no-dashboard"], env=environment
            )
            time.sleep(2)
        cluster.PATIENCE = 20.0  # while the worker starts
        killer = threading.Thread(target=kill_at_the_first_record, daemon=True)
        killer.start()
        start = time.monotonic()
        with pytest.raises(StoppedError, match="what is done is kept: run it again"):
            run(Options(CONFIG, out, scheduler=address))
        assert time.monotonic() - start < 120
    finally:
        for process in there.values():
            process.kill()
            process.wait()
    assert 1 <= len(Store(out).entries()) < 6
    run(Options(CONFIG, out, mix=True))  # and it goes on without them
    assert len(Store(out).entries()) == 6
