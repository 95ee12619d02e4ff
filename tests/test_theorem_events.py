"""The conditional mean behind the explicit bound of [C], against Monte Carlo over a layer."""

from pathlib import Path

import numpy as np

from ntk_eoc.sweeps import experiment

FOUND = experiment.load(str(Path(__file__).parent.parent / "experiments" / "theorem_events.py"))


def test_within_error_dependence_is_the_conditional_mean():
    """E ⟨B, B'⟩ − ϱ'(ρ) ⟨B, B'⟩_prev over fresh weights of the layer, for ReLU at three angles."""
    own = FOUND.measure.__globals__
    cell = FOUND.cell(activation="relu", m=2, depth=4, n=4, data="arc", seeds=1)
    rng = np.random.default_rng(0)
    angles = np.array([0.0, 0.4, 1.3, 2.9])
    u = np.zeros((4, 5))
    u[:, 0], u[:, 3] = np.cos(angles), np.sin(angles)
    b = [rng.standard_normal((5, 3)) for _ in angles]
    norms = [float(np.linalg.norm(one, 2)) for one in b]
    ratios = own["_dependence"](cell, u, b, norms)
    w = rng.standard_normal((400_000, 5))
    slopes = np.sqrt(2) * (w @ u.T > 0)
    for ratio, (i, j) in zip(ratios, [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)], strict=True):
        theta = angles[j] - angles[i]
        bound = 4 / np.pi * np.tan(theta / 2) * norms[i] * norms[j]
        products = ((w @ b[i]) * (w @ b[j])).sum(axis=1)
        draws = slopes[:, i] * slopes[:, j] * products
        gap = draws.mean() - (1 - theta / np.pi) * np.vdot(b[i], b[j])
        error = draws.std() / len(draws) ** 0.5
        assert abs(abs(gap) - ratio * bound) < 4 * error
        assert ratio <= 1
