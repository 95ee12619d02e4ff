"""`ntk-eoc widths` prints its card and checks the promise."""

import sys

import pytest

from ntk_eoc import cli
from ntk_eoc.report import widths_card


def test_exact_card_and_check(capsys):
    question = widths_card.Question("relu", 3, "sphere:8", 4, 0.3, 0.8, "parameters")
    found = widths_card.main(question, networks=60)
    told = capsys.readouterr().out
    for line in ("activation", "promise", "widths", "k² m", "k m", "m  ", "check", "time"):
        assert any(row.startswith(line) for row in told.splitlines())
    assert f"{found.best.cost:,} parameters" in told
    kept = int(told.split("check")[1].split()[0])
    assert kept >= 60 * 0.8 - 4 * (60 * 0.8 * 0.2) ** 0.5


def test_exact_depth_one_says_so(capsys):
    widths_card.main(widths_card.Question("abs", 1, "sphere:8", 4, 0.3, 0.8))
    assert "without a hidden layer K(θ) = K∞" in capsys.readouterr().out


@pytest.mark.parametrize(("kept", "low", "high"), [(0, 0.0, 0.0370), (50, 0.4038, 0.5962)])
def test_exact_interval_of_a_proportion(kept, low, high):
    assert widths_card.wilson(kept, 100) == pytest.approx((low, high), abs=2e-4)


WRONG = {
    ("--error", "1e-17"): "`error` must be >= ",
    ("--error", "1e-9"): "`error` must be >= ",
    ("--probability", "1"): "`probability` must be between 0 and 1, got 1.0.",
    ("--probability", "0.99999"): "`probability` must be <= ",
    ("--norm", "spectral"): 'Invalid value "spectral" for --norm. Choose from: ',
    ("--budget", "cost"): 'Invalid value "cost" for --budget. Choose from: ',
    ("--outputs", "0"): "`outputs` must be >= 1, got 0.",
    ("--depth", "0"): "`depth` must be >= 1, got 0.",
    ("--depth", "2.5"): "Invalid value for --depth: it must be an integer, got '2.5'.",
    ("--n", "0"): "`n` must be >= 1, got 0.",
    ("--check", "--networks", "0"): "`networks` must be >= 1, got 0.",
}


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_exact_bad_input_is_one_line(words, monkeypatch, capsys):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")  # which the command line sets, for good
    asked = {"--depth": "3", "--data": "sphere:8", "--n": "4"}
    asked = {flag: value for flag, value in asked.items() if flag not in words}
    given = [word for pair in asked.items() for word in pair]
    monkeypatch.setattr(sys, "argv", ["ntk-eoc", "widths", "relu", *given, *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    told = capsys.readouterr()
    assert ended.value.code == 2
    assert told.err.startswith(f"error: {WRONG[words]}")
    assert told.err.count("\n") == 1
    assert not told.out
