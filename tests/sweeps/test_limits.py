"""What would fill the memory, or exceed a limit, is refused before it does."""

import resource
import subprocess
import sys
import threading

import pytest
from small_sweep import CONFIG, ENVIRONMENT, command

import ntk_eoc as ne
from ntk_eoc.commands import start
from ntk_eoc.sweeps import runner
from ntk_eoc.sweeps.errors import UserError
from ntk_eoc.sweeps.runner import Options, run

LONG = "[" + ", ".join(map(str, range(1, 1001))) + "]"
TOO_MUCH = [
    (f"grid.size={LONG}", "at most 1,000,000 cells, got 1,000,000,000"),
    ("seeds=1000000000000000000", "`seeds` must be <= 4,294,967,296, got 1,000,000,000,"),
    ("seeds=4000000000", "cells, got "),
    ("seeds_per_cell=4000000000", "`seeds_per_cell` must be <= 10,000,000, got 4,000,000,000"),
    ("batch=1000000000", "`batch` must be <= 10,000,000, got 1,000,000,000"),
    ("also=[{batch = 20000000}]", "`batch` must be <= 10,000,000, got 20,000,000"),
]  # fmt: skip


@pytest.mark.parametrize(("override", "message"), TOO_MUCH, ids=[t[1][:30] for t in TOO_MUCH])
def test_exact_too_many_cells_or_seeds_are_refused_by_their_number(tmp_path, override, message):
    more = {
        "grid": (f"grid.batch={LONG}", f"grid.root_seed={LONG}", "seeds=1"),
        "seeds_": ("seeds=4000000000",),
    }
    extra = next((v for k, v in more.items() if override.startswith(k)), ())
    with pytest.raises(UserError, match=message):
        run(Options(CONFIG, tmp_path / "out", overrides=(override, *extra)))
    assert not (tmp_path / "out").exists()


def test_exact_too_deep_or_too_large_is_refused_by_its_number():
    with pytest.raises(ValueError, match="`depth` must be <= 1,000,000 for a network, got 10"):
        ne.widths("quadratic", 8, 10**9)
    for n, d in ((1000, 10**8), (10**9, 100), (1, 10**10)):
        with pytest.raises(ValueError, match=r"`data` must fit into half of .* with n = .* GiB"):
            ne.data.load(f"sphere:{d}", n)


def test_exact_no_more_processes_than_cells_or_memory(tmp_path, monkeypatch):
    asked = []

    class Fake(runner.InProcess):
        def __init__(self, setup, slots):
            asked.append(slots)
            super().__init__(setup)

    monkeypatch.setattr(runner, "Processes", Fake)
    monkeypatch.setattr(runner, "host_memory", lambda: 2.0**40)
    run(Options(CONFIG, tmp_path / "out", overrides=("seeds=4",), workers=1000))
    assert asked == [3]
    monkeypatch.setattr(runner, "host_memory", lambda: 2.0**33)
    with pytest.raises(UserError, match=r"`--workers` must be <= 26 .* 0.3 GiB, got 1,000"):
        run(Options(CONFIG, tmp_path / "out", workers=1000))


def test_exact_control_characters_are_escaped(tmp_path, capsys):
    from ntk_eoc import cli

    title = 'title="\\u001b[2J\\u0007over\\u202ewritten"'
    run(Options(CONFIG, tmp_path, overrides=(title,)))
    cli.status(tmp_path)
    out = capsys.readouterr().out
    assert out.startswith("\\x1b[2J\\x07over\\u202ewritten: ")
    assert all(c.isprintable() or c == "\n" for c in out)


@pytest.mark.parametrize("left", [0, 3, 15])
def test_exact_too_few_threads_are_told_before_native_code_aborts(monkeypatch, left):
    begin, begun = threading.Thread.start, []

    def only_so_many(thread):
        if len(begun) == left:
            raise RuntimeError("can't start new thread")
        begun.append(thread)
        begin(thread)

    monkeypatch.setattr(threading.Thread, "start", only_so_many)
    with pytest.raises(UserError, match=rf"must leave about \d+, got {left}\."):
        start.check_threads(1000)
    assert not any(thread.is_alive() for thread in begun)


@pytest.mark.parametrize(
    ("limit", "value", "workers"),
    [
        (resource.RLIMIT_NOFILE, 12, "2"),
        (resource.RLIMIT_AS, 400 * 2**20, "1"),
    ],
)
def test_exact_a_small_limit_is_a_line(tmp_path, limit, value, workers):
    words = command("run", CONFIG, "--out", tmp_path / "out", "--workers", workers)
    # Set by a process of its own: JAX's threads forbid forking this one with code of ours.
    limited = (
        "import os, resource, sys;"
        f" resource.setrlimit({limit}, ({value}, {value}));"
        " os.execv(sys.argv[1], sys.argv[1:])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", limited, *map(str, words)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode in (1, 2), ran.stderr
    assert len(ran.stderr.splitlines()) == 1, ran.stderr
