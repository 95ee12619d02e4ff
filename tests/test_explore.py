"""The panels of `ntk-eoc explore`: what they show, and how soon."""

import ast
import time
from pathlib import Path

import numpy as np
import pytest

import ntk_eoc as ne
from ntk_eoc.explore import views


def every(act, m=64):
    """All panels of an activation."""
    init = views.point(act)
    network = ("sphere:8", 3, m, "quadratic")
    return {
        "activation": views.activation_figure(init),
        "angle": views.angle_figure(init, 3),
        "condition": views.condition_figure(init, "sphere:8"),
        "width": views.width_figure(init, *network),
        "network": views.network_figure(init, *network, 0),
        "law": views.law_figure(act, 0.5, 1.0),
    }


def test_exact_panels_show_what_the_library_says():
    act = views.chosen("", 0.5, 0.5)
    relu, init = ne.edge_of_chaos("relu"), views.point(act)
    np.testing.assert_allclose((init.sigma_w, init.q), (relu.sigma_w, relu.q), rtol=1e-15)
    figures = every(act)
    x = views.points(init, "sphere:8")
    condition = figures["condition"].axes[0].lines[0].get_ydata()
    spectrum = np.linalg.eigvalsh(ne.ntk_infinite(relu, x, x, views.DEPTHS[3]))
    np.testing.assert_allclose(condition[3], spectrum[-1] / spectrum[0], rtol=1e-9)
    kernel = figures["network"].axes[0].lines[0].get_xdata()
    np.testing.assert_allclose(kernel, np.ravel(ne.ntk_infinite(relu, x, x, 3)), rtol=1e-12)
    density = figures["law"].axes[0].lines[0]
    law = ne.quadratic_scaling_law(act, gamma1=0.5, gamma2=1.0)
    np.testing.assert_allclose(density.get_ydata(), law.density(density.get_xdata()))
    assert "5 % needs m =" in figures["width"].axes[0].get_legend().get_texts()[1].get_text()


def test_exact_marimo_knows_the_page():
    tree = ast.parse((Path(views.__file__).parent / "app.py").read_text(encoding="utf-8"))
    first = next(one for one in tree.body if not isinstance(one, (ast.Expr, ast.Import)))
    assert isinstance(first, ast.Assign)  # an annotated one is none to marimo
    assert ast.unparse(first).startswith("app = marimo.App(")


def test_exact_a_slider_moved_answers_at_once():
    act = views.chosen("relu", 0.5, 0.5)
    every(act)
    begin = time.process_time()
    again = every(act)
    assert time.process_time() - begin < 0.1  # nothing is computed twice
    assert again["law"] is views.law_figure(act, 0.5, 1.0)
    begin = time.process_time()
    views.width_figure(views.point(act), "sphere:8", 3, 128, "quadratic")
    assert time.process_time() - begin < 1.0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tanh", "gelu", "erf"])
def test_exact_every_panel_of_other_activations(name):
    figures = every(views.chosen(name, 0.5, 0.5))
    assert all(figure.axes[0].lines for figure in figures.values())


def test_exact_a_panel_says_why_it_shows_nothing():
    def none():
        raise ValueError("no edge of <chaos>")

    assert "<p>no edge of &lt;chaos&gt;</p>" in views.html("title", none)
    assert 'aria-label="' in views.html("φ", views.activation_figure, ne.edge_of_chaos("relu"))


def test_exact_the_app_is_sound():
    marimo = pytest.importorskip("marimo")
    from ntk_eoc.explore import app

    assert isinstance(app.app, marimo.App)
