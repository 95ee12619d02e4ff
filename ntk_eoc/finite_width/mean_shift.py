"""E K(θ) − K∞ to order 1/m: the forward pass is a random walk, and the gradient knows its steps.

    Σ_{j=1}^{l−2} (1/m_j) [½ E nᵀ(∇²V_{j+1}) n + K_j E φ̂_s φ̂_s' φ̂ᵀ Ẑ_{j+1} φ̂],
    n = (φ̂² − E, φ̂'² − E, φ̂φ̂' − E, φ̂φ̂' + K_j φ̂_s φ̂_s' − E),
    Ẑ_l = 0,  Ẑ_j = B_{j+1} H_j + N_1 Ẑ_{j+1} N_2ᵀ

for one pair, φ̂ and φ̂' the values of a neuron of layer j at x and x', φ̂_s and φ̂_s' its slopes
(`docs/finite_width.md`).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float

from ntk_eoc.checks import require, require_count, require_widths
from ntk_eoc.eoc import Init
from ntk_eoc.finite_width.fluctuations import ERRORS, NEURONS, checked_inputs
from ntk_eoc.finite_width.influences import neuron_moments
from ntk_eoc.finite_width.limit_path import LimitPath, limit_path
from ntk_eoc.finite_width.pair_moments import PairMoments
from ntk_eoc.finite_width.sensitivities import Sensitivity, sensitivity, variance_slopes


class MeanShift(NamedTuple):
    """The two parts of E K(θ) − K∞ to order 1/m; their sum is the shift.

    Attributes:
        forward: Of the random walk of the forward pass.
        backward: Of the gradient's knowledge of the forward pass.
        error: Numerical error of the sum: four standard errors over the shifts of the lattice.
    """

    forward: Float[np.ndarray, "n1 n2"]
    backward: Float[np.ndarray, "n1 n2"]
    error: Float[np.ndarray, "n1 n2"]


def mean_shift(
    init: Init,
    x1: Float[ArrayLike, "n1 d"],
    x2: Float[ArrayLike, "n2 d"],
    depth: int,
    widths: Sequence[int],
    *,
    neurons: int = NEURONS,
    seed: int = 0,
) -> Float[np.ndarray, "n1 n2"]:
    """Return E K(θ) − K∞ of one output to order 1/m; 0 between different outputs.

    It is 0 on the diagonal for a scale-invariant φ without biases, and everywhere for l <= 2.

    Args:
        init: Activation and scales.
        x1: Inputs.
        x2: Inputs.
        depth: Number l of weight layers.
        widths: (m_1, …, m_l), outputs last.
        neurons: Neurons that stand for the law of a layer where no closed form is known.
        seed: Of the random shifts.

    Raises:
        ValueError: If a count is not positive or the inputs do not fit together.
        RuntimeError: If JAX's float64 is off.

    Source: `docs/finite_width.md`; means of 5·10⁶ networks in arXiv:2508.11522.
    """
    parts = mean_shift_parts(init, x1, x2, depth, widths, neurons=neurons, seed=seed)
    return parts.forward + parts.backward


def mean_shift_parts(
    init: Init,
    x1: Float[ArrayLike, "n1 d"],
    x2: Float[ArrayLike, "n2 d"],
    depth: int,
    widths: Sequence[int],
    *,
    neurons: int = NEURONS,
    seed: int = 0,
) -> MeanShift:
    """Return both parts of `mean_shift`, with its arguments and errors."""
    depth, neurons = require_count("depth", depth), require_count("neurons", neurons, least=64)
    sizes = require_widths(widths)
    require(len(sizes) == depth, "widths", f"(m_1, …, m_l) with l = {depth}", tuple(widths))
    same = x1 is x2
    x1, x2 = checked_inputs("mean_shift", "x1", x1), checked_inputs("mean_shift", "x2", x2)
    require(x1.shape[1] == x2.shape[1], "x2", f"of {x1.shape[1]} columns like `x1`", x2.shape)
    path = limit_path(init, x1 if same else np.concatenate([x1, x2]), depth)
    rows, columns = slice(len(x1)), slice(0 if same else len(x1), None)
    swept = sensitivity(path)
    forward, backward = np.zeros((2, len(x1), len(x2)))
    variance = np.zeros_like(forward)
    z = np.zeros((*path.delta.shape[1:], 2, 2))  # Ẑ_{j+1}
    for j in range(depth - 3, -1, -1):
        z = _correlation(path, swept, j + 1, z)
        moments = neuron_moments(init, path, j, neurons, seed)
        walk = _walk(path, swept, j, moments)[:, rows, columns]
        known = _knowledge(path, j, z, moments)[:, rows, columns]
        forward += walk.mean(axis=0) / sizes[j]
        backward += known.mean(axis=0) / sizes[j]
        variance += _variance(walk + known) / sizes[j] ** 2
    return MeanShift(forward, backward, ERRORS * np.sqrt(variance))


def _variance(samples: np.ndarray) -> np.ndarray:
    """Of the mean over the shifts; 0 where there is one exact number."""
    count = len(samples)
    return samples.var(axis=0, ddof=1) / count if count > 1 else np.zeros(samples.shape[1:])


def _correlation(path: LimitPath, swept: Sensitivity, j: int, z: np.ndarray) -> np.ndarray:
    """Ẑ of layer index j from that of the next, [n, n, 2, 2]: B H + N_1 Ẑ N_2ᵀ."""
    dual, slope = path.dual.gradient[j], path.slope.gradient[j]
    square, _ = variance_slopes(path, j)
    h, n1, n2 = np.zeros((3, *z.shape))
    h[..., 0, 0], h[..., 1, 1] = 2 * slope[..., 0], 2 * slope[..., 1]
    h[..., 0, 1] = h[..., 1, 0] = slope[..., 2]
    n1[..., 0, 0], n1[..., 0, 1], n1[..., 1, 1] = (
        square[:, None],
        2 * dual[..., 0],
        path.slope.value[j],
    )
    n2[..., 1, 1], n2[..., 1, 0], n2[..., 0, 0] = (
        square[None, :],
        2 * dual[..., 1],
        path.slope.value[j],
    )
    signal = swept.gradient[j][..., 3, None, None]
    return signal * h + n1 @ z @ n2.swapaxes(-1, -2)


def _walk(
    path: LimitPath, swept: Sensitivity, j: int, moments: PairMoments
) -> Float[np.ndarray, "r n n"]:
    """½ E nᵀ ∇²V n of layer index j."""
    kernel = path.kernel[j][None]
    squares = path.dual.value[j].diagonal()
    step = path.dual.value[j] + path.kernel[j] * path.slope.value[j]
    means = np.broadcast_arrays(squares[:, None], squares[None, :], path.dual.value[j], step)
    u2_u2, u3_u, u2v_v = moments.u2_u2, moments.u3_u, moments.u2v_v
    turned_u3_u, turned_u2v_v = u3_u.swapaxes(1, 2), u2v_v.swapaxes(1, 2)
    with_slopes = u2_u2 + kernel * moments.uv_uv
    products = {
        (0, 0): moments.u4[:, :, None],
        (1, 1): moments.u4[:, None, :],
        (0, 1): u2_u2,
        (0, 2): u3_u,
        (1, 2): turned_u3_u,
        (0, 3): u3_u + kernel * u2v_v,
        (1, 3): turned_u3_u + kernel * turned_u2v_v,
        (2, 2): u2_u2,
        (2, 3): with_slopes,
        (3, 3): with_slopes + kernel * moments.uv_uv + kernel**2 * moments.v2_v2,
    }
    total = np.zeros_like(u2_u2)
    for (a, b), product in products.items():
        weight = 0.5 if a == b else 1.0
        total += weight * swept.hessian[j][..., a, b] * (product - means[a] * means[b])
    return total


def _knowledge(
    path: LimitPath, j: int, z: np.ndarray, moments: PairMoments
) -> Float[np.ndarray, "r n n"]:
    """K_j E φ̂_s φ̂_s' φ̂ᵀ Ẑ φ̂ of layer index j, Ẑ that of the next."""
    total = z[..., 0, 0] * moments.u2v_v + z[..., 1, 1] * moments.u2v_v.swapaxes(1, 2)
    total = total + (z[..., 0, 1] + z[..., 1, 0]) * moments.uv_uv
    return path.kernel[j] * total
