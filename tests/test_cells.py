"""Cells of experiments: any activation, at any point of its edge, without touching older draws."""

from pathlib import Path

import numpy as np
import pytest

from ntk_eoc.sweeps import experiment, records

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
BENT = """
import jax.numpy as jnp

def bent(s):
    return jnp.where(s < 2.0, jnp.maximum(s, 0.0), 2.0 + (s - 2.0) / 4)

bent.kinks = (0.0, 2.0)
"""
SMALL = {"n": 3, "m": 4, "depth": 2, "data": "sphere:8", "seeds": 5, "batch": 5}


def concentration():
    return experiment.load(str(EXPERIMENTS / "concentration.py"))


def test_exact_fields_that_nobody_set_leave_the_draws_alone():
    cell = concentration().cell(activation="relu", **SMALL)
    drawn = cell.model_dump(mode="json", exclude=set(cell.outside_draw))
    assert set(drawn) == {
        "dtype", "root_seed", "activation", "data", "n", "data_seed",
        "schedule", "m", "depth", "outputs", "sampled_above",
    }  # fmt: skip
    assert "q" in cell.model_copy(update={"q": 2.0}).model_dump()


@pytest.mark.parametrize("edge", [{"sigma_b": 0.3}, {"q": 2.0}, {}])
def test_exact_inputs_stand_at_the_point_of_the_edge(edge):
    found = concentration()
    cell = found.cell(activation="erf", **SMALL, **edge)
    cells = found.measure.__globals__["init_of"], found.measure.__globals__["inputs"]
    init, x = cells[0](cell), cells[1](cell)
    for name, value in edge.items():
        assert getattr(init, name) == pytest.approx(value, rel=1e-10)
    np.testing.assert_allclose((x**2).mean(axis=1), init.q, rtol=1e-12)
    assert np.isfinite(found.measure(cell)["operator"]).all()


@pytest.mark.parametrize("sampled_above", [None, 0])
def test_exact_an_activation_of_ones_own_is_measured_drawn_and_tabled(tmp_path, sampled_above):
    (tmp_path / "my.py").write_text(BENT)
    found, name = concentration(), f"{tmp_path / 'my.py'}:bent"
    cells = [
        found.cell(activation=name, sampled_above=sampled_above, **{**SMALL, "m": m})
        for m in (4, 8)
    ]
    made = records.Records([records.Record(c, found.measure(c), "ok", {}) for c in cells])
    assert found.draw(made).axes
    assert found.tables(made)["exponents"].rows[0][0] == "bent"


def test_exact_both_coordinates_of_the_edge_are_refused():
    with pytest.raises(ValueError, match="`sigma_b, q` must be one of the two, not both"):
        concentration().cell(activation="erf", sigma_b=0.1, q=1.0, **SMALL)


def test_within_error_the_intercept_of_a_line_in_one_over_d_is_covered():
    """a + b/d with normal draws: a within its interval in about 95 of 100 repetitions."""
    load = experiment.load(str(EXPERIMENTS / "quadratic_generic.py"))
    intercept = load.measure.__globals__["intercept"]
    rng, d, held = np.random.default_rng(3), np.array([16, 24, 32, 48, 64]), 0
    for _ in range(100):
        draws = [0.3 + 2.0 / x + 0.1 / x * rng.standard_normal(6) for x in d]
        fit = intercept(d, draws)
        held += fit.low <= 0.3 <= fit.high
    assert 88 <= held <= 100
    exact = intercept(d, [0.3 + 2.0 / x + 1e-9 * np.arange(3) for x in d])
    np.testing.assert_allclose([exact.slope, exact.prefactor], [0.3, 2.0], rtol=1e-6)
