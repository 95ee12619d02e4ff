"""`ntk-eoc widths` prints its card and checks the promise."""

import subprocess
import sys

import pytest

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


def test_exact_bad_input_is_one_line():
    command = [sys.executable, "-m", "ntk_eoc", "widths", "relu", "--depth", "3"]
    command += ["--data", "sphere:8", "--n", "4", "--error", "1e-17"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: `error` must be >= ")
    assert ran.stderr.count("\n") == 1
