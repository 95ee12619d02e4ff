"""Closed forms of one input, and the widths that follow."""

import numpy as np
import pytest

import ntk_eoc as ne
from ntk_eoc.finite_width import closed_forms

ACTS = ["relu", "abs", "leaky_relu", "identity"]


@pytest.mark.parametrize("name", ACTS)
def test_scales_to_the_constant_of_deep_networks(name):
    act = ne.activation(name)
    depth = 20_000
    shares = closed_forms.one_input_shares(act, depth)
    constant = shares.sum() / depth**3
    np.testing.assert_allclose(constant, closed_forms.constant_width_constant(act), rtol=2e-4)


def test_exact_named_constants():
    assert closed_forms.constant_width_constant(ne.activation("relu")) == pytest.approx(11 / 3)
    assert closed_forms.constant_width_constant(ne.activation("abs")) == pytest.approx(4 / 3)


@pytest.mark.parametrize("power", [1.25, 2.0, 3.0])
@pytest.mark.parametrize("name", ACTS)
def test_exact_first_layers_carry_a_growing_schedule(name, power):
    act = ne.activation(name)
    found = closed_forms.deep_schedule(act, power, layers=5)
    depth = 10**6
    j = np.arange(1, depth)
    parts = closed_forms.one_input_shares(act, depth) / j**power / depth**2
    # What the finite depth leaves out is of order l^(1 − p).
    assert abs(parts.sum() / found.constant - 1) < 8 * depth ** (1 - power) + 1e-4
    np.testing.assert_allclose(parts[:5] / found.constant, found.carried, rtol=1e-4)
    assert abs(found.carried[0] - (6 / np.pi**2 if power == 2 else found.carried[0])) < 1e-12


def test_exact_optimal_widths_are_best():
    shares = closed_forms.one_input_shares(ne.activation("relu"), 12)
    best = closed_forms.optimal_widths(shares, 5000.0)
    assert best.widths.sum() == pytest.approx(5000)
    assert (shares / best.widths).sum() == pytest.approx(best.square)
    k = np.arange(1, 12)
    saved = {p: closed_forms.neurons_saved(shares, k**p) for p in (0.0, 1.0, 2.0)}
    assert 1 <= saved[0.0] < 1.05 < saved[1.0] < saved[2.0]


def test_exact_a_schedule_that_has_no_limit_is_refused():
    with pytest.raises(ValueError, match="`power` must be > 1"):
        closed_forms.deep_schedule(ne.activation("relu"), 1.0)
