"""The card is of the point that Python gives, in a file of its own, or it is not written."""

import bad_input
import numpy as np
import pytest

import ntk_eoc as ne
from ntk_eoc.eoc import summarise
from ntk_eoc.report import eoc_card

ABSENT = [("tanh", "--sigma-b", "-1"), ("relu", "--sigma-b", "0.3"), ("tanh", "--q", "-2"),
          ("tanh", "--q", "0"), ("gelu", "--sigma-b", "50")]  # fmt: skip


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")


@pytest.mark.parametrize("words", ABSENT, ids=" ".join)
def test_exact_a_point_that_does_not_exist_writes_nothing(tmp_path, words):
    (tmp_path / "eoc_tanh.png").write_text("old")
    code, errors = bad_input.call("eoc", *words)
    assert (code, errors.count("\n")) == (2, 1)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_exact_two_points_are_two_files(tmp_path):
    for words in ((), ("--q", "2"), ("--q", "3")):
        assert bad_input.call("eoc", "relu", *words)[0] == 0
    names = {path.name for path in tmp_path.glob("*.png")}
    assert names == {"eoc_relu.png", "eoc_relu_q2.png", "eoc_relu_q3.png"}


@pytest.mark.parametrize("name", ["relu", "gelu"])
def test_exact_the_card_has_the_point_that_python_gives(name):
    assert summarise(ne.activation(name)).point == ne.edge_of_chaos(name)


@pytest.mark.parametrize("name", ["tanh", "softplus"])
def test_exact_the_card_has_no_point_where_python_gives_none(name):
    with pytest.raises(ValueError, match="has no point with") as caught:
        ne.edge_of_chaos(name)
    summary = summarise(ne.activation(name))
    assert (summary.point, summary.why) == (None, str(caught.value))


@pytest.mark.parametrize("name", ["sigmoid"])
def test_exact_no_panel_of_the_card_is_empty(name):
    """Its edge begins far out."""
    figure = eoc_card.draw(summarise(ne.activation(name)))
    shown = [ax for ax in figure.axes if ax.axison]
    assert shown
    for ax in shown:
        lines = [np.asarray(line.get_ydata(), float) for line in ax.lines]
        assert any(np.isfinite(y).sum() > 2 for y in lines), ax.get_title()
