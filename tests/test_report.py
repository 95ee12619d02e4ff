"""Tables and looks: what is printed is what was measured, and looks are the names' own."""

import csv
import hashlib
import io
import math

import numpy as np
import pytest

from ntk_eoc.estimates import Estimate, Exponent, Quantile, interval
from ntk_eoc.report import curves, style, tables
from ntk_eoc.report.tables import Table
from ntk_eoc.sweeps import config
from ntk_eoc.sweeps.records import Record, Records


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (3, "3"),
        ("ReLU", "ReLU"),
        (0.0123456, "0.0123"),
        (-1234.5, "−1234"),
        (123456.0, "123,456"),
        (1.5e-7, "1.50e−07"),
        (np.float64(0.5), "0.500"),
        (math.inf, "∞"),
        (Estimate(0.16342, 0.0058, 64), "0.163 ± 0.006"),
        (Estimate(0.16342, 0.0012, 64), "0.1634 ± 0.0012"),
        (Estimate(-12.3456, 0.0961, 9), "−12.35 ± 0.10"),
        (Estimate(123.4, 25.0, 9), "123 ± 25"),
        (Estimate(0.5, math.nan, 1), "0.500"),
        (Exponent(-0.512, -0.561, -0.462, 1.0, 9), "−0.51 [−0.56, −0.46]"),
        (Exponent(-0.512, -0.522, -0.502, 1.0, 9), "−0.512 [−0.522, −0.502]"),
        (Exponent(-0.512, math.nan, math.nan, 1.0, 9), "−0.51"),
        (Quantile(0.357, 0.340, math.inf, 9), "0.357 [0.340, ∞]"),
    ],
)
def test_exact_a_cell_shows_its_error(value, text):
    assert tables.shown(value).replace("-", "−") == text


def test_exact_markdown_and_csv_hold_the_same(tmp_path):
    made = Table(("φ", "error"), [("ReLU", Estimate(0.5, 0.01, 7)), ("abs", None)])
    paths = tables.write({"errors": made}, tmp_path, "noise", "noise.toml", "2 records abc")
    assert [path.name for path in paths] == ["noise_errors.md", "noise_errors.csv"]
    head, *lines = paths[0].read_text().splitlines(keepends=True)
    found = tables.HEAD.match(head)
    assert found
    assert found.group(1) == "noise.toml"
    assert found.group(2) == hashlib.sha256("".join(lines).encode()).hexdigest()[:12]
    assert lines[2:] == ["| ReLU | 0.500 ± 0.010 |\n", "| abs |  |\n"]
    rows = list(csv.reader(io.StringIO(paths[1].read_text())))
    assert rows[0] == ["φ", "error", "error standard error", "error draws"]
    assert [float(cell) for cell in rows[1][1:]] == [0.5, 0.01, 7.0]
    assert rows[2] == ["abs", "", "", ""]


def test_exact_a_row_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match="`rows` must be 2 cells each, got"):
        Table(("a", "b"), [(1,)])


def test_exact_an_activation_looks_the_same_everywhere():
    named = {name: tuple(style.activation_look(name).values()) for name in style.NAMED}
    assert len(set(named.values())) == len(style.NAMED)
    own = tuple(style.activation_look("my.py:bent").values())
    assert own == tuple(style.activation_look("my.py:bent").values())
    assert own not in named.values()
    assert style.word("my.py:bent") == "bent"
    assert style.word("relu") == "ReLU"


@pytest.mark.parametrize(
    ("low", "high"), [(0.21, 0.9), (0.1, 20.0), (3e-7, 4e3), (1e-12, 1.0), (90.0, 110.0)]
)
def test_exact_log_ticks_are_few_and_inside(low, high):
    import matplotlib.pyplot as plt

    with style.context():
        figure, ax = plt.subplots()
        style.log(ax.yaxis)
        ax.set_ylim(low, high)
        figure.canvas.draw()
        ticks = ax.yaxis.get_majorticklocs()
        labels = [label.get_text() for label in ax.yaxis.get_ticklabels()]
        plt.close(figure)
    assert 1 <= len(ticks) <= 7
    assert all(low * 0.99 <= tick <= high * 1.01 for tick in ticks)
    assert len(set(labels)) == len(labels)
    if low > 1e-3 and high < 1e4:
        assert [float(label) for label in labels] == pytest.approx(list(ticks))


def test_exact_ends_are_those_of_the_estimators():
    draws = np.random.default_rng(0).lognormal(size=12)
    assert curves.ends(draws) == pytest.approx(interval(draws)[:3])
    found = Quantile(1.0, 0.5, math.inf, 9)
    assert curves.ends(found) == (1.0, 0.5, math.inf)
    middle, low, high = curves.ends(Estimate(2.0, 0.1, 11))
    assert (middle, high - middle) == (2.0, pytest.approx(0.1 * 2.228139, rel=1e-6))
    assert middle - low == pytest.approx(high - middle)


def test_exact_a_curve_needs_two_positive_means_to_have_an_exponent():
    rng = np.random.default_rng(0)
    draws = [rng.lognormal(size=20), rng.lognormal(size=20) / 2]
    assert curves.fitted("relu", [1, 2], draws).startswith("relu: −")
    assert curves.fitted("relu", [1], draws[:1]) == "relu"
    assert curves.fitted("relu", [1, 2], [draws[0], -draws[1]]) == "relu"


def test_exact_groups_are_the_draws_at_each_value():
    class Cell(config.Cell):
        m: int

    made = [
        Record(Cell(m=m, seeds=2, first_seed=first), {"y": np.array([m, first])}, "ok", {})
        for m, first in ((4, 2), (2, 0), (4, 0))
    ]
    xs, draws = curves.groups(Records(made), "m", "y")
    assert xs == [2, 4]
    assert [list(one) for one in draws] == [[2, 0], [4, 0, 4, 2]]
    assert curves.fewest(Records(made), "y", "m") == 2
