"""What a sweep says of its progress where nobody looks at a terminal."""

import pytest

from ntk_eoc.sweeps import progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_exact_plain_lines_in_place_of_a_bar(clock, capsys):
    with progress.Progress(cells=10, done=2, cost=8.0) as told:
        for second in (20.0, 40.0, 60.0, 80.0):
            clock[0] = second
            told.advance(1.0)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "4 of 10 cells, 0.05/s, 2 min left",
        "6 of 10 cells, 0.05/s, 80 s left",
    ]


def test_exact_a_short_sweep_is_silent(clock, capsys):
    with progress.Progress(cells=3, done=0, cost=3.0) as told:
        for second in (1.0, 2.0, 3.0):
            clock[0] = second
            told.advance(1.0)
    assert capsys.readouterr().err == ""
