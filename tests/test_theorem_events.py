"""What a layer adds to ⟨B, B'⟩, behind the explicit bound of [C]: the mean, and its sharp bound."""

from pathlib import Path

import mpmath
import numpy as np
import pytest

from ntk_eoc.sweeps import experiment

FOUND = experiment.load(str(Path(__file__).parent.parent / "experiments" / "theorem_events.py"))
dependence = FOUND.measure.__globals__["events"].__globals__["dependence"]


def test_within_error_dependence_is_the_conditional_mean():
    """E ⟨B, B'⟩ − ϱ'(ρ) ⟨B, B'⟩_prev over fresh weights of the layer, for ReLU at three angles."""
    rng = np.random.default_rng(0)
    angles = np.array([0.0, 0.4, 1.3, 2.9])
    u = np.zeros((4, 5))
    u[:, 0], u[:, 3] = np.cos(angles), np.sin(angles)
    b = rng.standard_normal((4, 5, 3))
    norms = np.linalg.norm(b, 2, axis=(1, 2))
    w = rng.standard_normal((400_000, 5))
    slopes = np.sqrt(2) * (w @ u.T > 0)
    pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    for explicit, sharp, (i, j) in zip(*dependence(u, b, norms), pairs, strict=True):
        theta = angles[j] - angles[i]
        bound = 4 / np.pi * np.tan(theta / 2) * norms[i] * norms[j]
        products = ((w @ b[i]) * (w @ b[j])).sum(axis=1)
        draws = slopes[:, i] * slopes[:, j] * products
        gap = draws.mean() - (1 - theta / np.pi) * np.vdot(b[i], b[j])
        error = draws.std() / len(draws) ** 0.5
        assert abs(abs(gap) - explicit * bound) < 4 * error
        assert explicit * bound == pytest.approx(
            sharp * 2 / np.pi * np.sin(theta) * norms[i] * norms[j]
        )
        apart = np.linalg.norm(b[i] - b[j], 2) ** 2 / (8 * norms[i] * norms[j])
        assert explicit <= (1 + np.cos(theta)) / 2 * min(0.5 + apart, 1)


@pytest.mark.parametrize("theta", [0.02, 1.1, 2.0, 3.1])
def test_exact_the_sharp_bound_is_reached(theta):
    """By B = f gᵀ + e hᵀ, B' = f gᵀ − e hᵀ, in the plane of two inputs and by an integral over it.

    A neuron's weights w = r (cos α, sin α), E r² = 2, to f and e; of |s| the slopes are signs.
    """
    u = np.array([[np.cos(theta / 2), s * np.sin(theta / 2)] for s in (1, -1)])  # f, e: the axes
    b = np.array([np.diag([1.0, 1.0]), np.diag([1.0, -1.0])])
    explicit, sharp = dependence(u, b, np.ones(2))
    assert sharp[0] == pytest.approx(1, rel=1e-12)
    assert explicit[0] == pytest.approx((1 + np.cos(theta)) / 2, rel=1e-12)
    # E φ̂_s φ̂_s' (w_f² − w_e²) is ∫ φ̂_s φ̂_s' cos 2α dα/π; slopes are equal on both sides of f.
    edges = [-(mpmath.pi - theta) / 2, (mpmath.pi - theta) / 2]
    gap = 4 / mpmath.pi * mpmath.quad(lambda a: mpmath.cos(2 * a), edges)
    assert float(gap) == pytest.approx(4 / np.pi * np.sin(theta) * sharp[0], rel=1e-12)
