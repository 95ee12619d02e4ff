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

from ntk_eoc.activations import Activation
from ntk_eoc.checks import require, require_count, require_widths
from ntk_eoc.eoc import Init, at_edge
from ntk_eoc.finite_width.dual_derivatives import Expansion
from ntk_eoc.finite_width.fluctuations import NEURONS, checked_inputs
from ntk_eoc.finite_width.gaps import GapMoments, gap_behind, mean_square_gap
from ntk_eoc.finite_width.limit_path import LimitPath, limit_path, relative_error
from ntk_eoc.finite_width.neuron_moments import neuron_moments
from ntk_eoc.finite_width.neurons import stated_error
from ntk_eoc.finite_width.pair_moments import PairMoments
from ntk_eoc.finite_width.sensitivities import Sensitivity, sensitivity


class MeanShift(NamedTuple):
    """The two parts of E K(θ) − K∞ to order 1/m; their sum is the shift.

    Attributes:
        forward: Of the random walk of the forward pass.
        backward: Of the gradient's knowledge of the forward pass.
        error: Numerical error of the sum, as of `Predicted`.
    """

    forward: Float[np.ndarray, "n1 n2"]
    backward: Float[np.ndarray, "n1 n2"]
    error: Float[np.ndarray, "n1 n2"]


def mean_shift(
    init: Init | Activation | str,
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
        init: Activation and scales; of an activation or its name, its edge of chaos.
        x1: Inputs.
        x2: Inputs.
        depth: Number l of weight layers.
        widths: (m_1, …, m_l), outputs last.
        neurons: Neurons that stand for the law of a layer where no closed form is known.
        seed: Of the random shifts.

    Raises:
        TypeError, ValueError: If a count is not positive, the inputs do not fit together or
            `neurons` are so few that none meets what φ does at these inputs.
        RuntimeError: If JAX's float64 is off.

    Source: `docs/finite_width.md`; means of 5·10⁶ networks in arXiv:2508.11522.
    """
    parts = mean_shift_parts(init, x1, x2, depth, widths, neurons=neurons, seed=seed)
    return parts.forward + parts.backward


def mean_shift_parts(
    init: Init | Activation | str,
    x1: Float[ArrayLike, "n1 d"],
    x2: Float[ArrayLike, "n2 d"],
    depth: int,
    widths: Sequence[int],
    *,
    neurons: int = NEURONS,
    seed: int = 0,
) -> MeanShift:
    """Return both parts of `mean_shift`, with its arguments and errors."""
    init, seed = at_edge(init), require_count("seed", seed, least=0)
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
    squares = np.zeros_like(forward)  # of the errors
    z = np.zeros((*path.delta.shape[1:], 2, 2))  # Ẑ_{j+1}
    for j in range(depth - 3, -1, -1):
        z = _correlation(path, swept, j + 1, z)
        moments, gaps = neuron_moments(init, path, j, neurons, seed)
        walk = _walk(path, swept, j, moments, gaps)[:, rows, columns]
        known = _knowledge(path, j, z, moments)[:, rows, columns]
        forward += walk.mean(axis=0) / sizes[j]
        backward += known.mean(axis=0) / sizes[j]
        squares += (stated_error(walk + known, neurons) / sizes[j]) ** 2
    scale = sum(1 / m for m in sizes[: depth - 2]) * np.abs(path.kernel[-1]).max()
    rounding = relative_error(init, path) * scale
    return MeanShift(forward, backward, np.sqrt(squares) + rounding)


def _correlation(path: LimitPath, swept: Sensitivity, j: int, z: np.ndarray) -> np.ndarray:
    """Ẑ of layer index j from that of the next, [n, n, 2, 2]: B H + N_1 Ẑ N_2ᵀ."""
    dual, slope = _by_entries(path, path.dual, j), _by_entries(path, path.slope, j)
    points = np.arange(path.q.shape[1])
    square = dual[points, points, :2].sum(axis=-1) + dual[points, points, 2]
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


def _by_entries(path: LimitPath, f: Expansion, j: int) -> np.ndarray:
    """The gradient of T or D by (q₁, q₂, s) at layer index j, [n, n, 3]."""
    gradient, q, rho = f.gradient[j], path.q[j], 1 - path.delta[j]
    by_log = gradient[..., :2] + rho[..., None] / 2 * gradient[..., 2:]
    by_s = -gradient[..., 2] / np.sqrt(np.outer(q, q))
    return np.stack([by_log[..., 0] / q[:, None], by_log[..., 1] / q[None, :], by_s], axis=-1)


def _walk(
    path: LimitPath, swept: Sensitivity, j: int, moments: PairMoments, gaps: GapMoments
) -> Float[np.ndarray, "r n n"]:
    """What the random walk of hidden layer of index j adds, curved by all that follows.

    ½ E nᵀ ∇²V n in y = (log q₁, log q₂, δ, K), n the first order of y, and ∇V of its second order:
    −½ a² and −½ a'² of the logarithms and −⅛ ρ (a − a')² − ½ e (a + a') of δ, with (a, a', e) the
    first three of n.
    """
    gradient, hessian = swept.gradient[j], swept.hessian[j]
    steps, rho = _steps(path, j, moments, gaps), 1 - path.delta[j + 1]
    total = np.zeros_like(steps[0, 3])
    for (a, b), product in steps.items():
        total += (0.5 if a == b else 1.0) * hessian[..., a, b] * product
    total -= (gradient[..., 0] * steps[0, 0] + gradient[..., 1] * steps[1, 1]) / 2
    turn = rho / 8 * (steps[0, 0] + steps[1, 1] - 2 * steps[0, 1])
    return total - gradient[..., 2] * (turn + (steps[0, 2] + steps[1, 2]) / 2)


def _steps(
    path: LimitPath, j: int, moments: PairMoments, gaps: GapMoments
) -> dict[tuple[int, int], np.ndarray]:
    """E n_a n_b of one neuron's step in (log q₁, log q₂, δ, K), a <= b, [r, n, n] each."""
    gap, after, delta = gap_behind(path, j), path.q[j + 1], path.delta[j + 1]
    mixed, slope, kernel = path.dual.value[j], path.slope.value[j], path.kernel[j]
    square, root = mixed.diagonal(), np.sqrt(np.outer(after, after))
    width, step = mean_square_gap(gap, square, mixed), mixed + kernel * slope
    q1, s1, s2 = after[:, None], square[:, None], square[None, :]

    def turned(a: np.ndarray) -> np.ndarray:
        return a.swapaxes(1, 2)

    aa = (moments.u4[:, :, None] - s1**2) / q1**2
    bb, ab = turned(aa), (moments.u2_u2 - s1 * s2) / root**2
    ag = (gaps.u2_d2 - s1 * width) / (2 * q1 * root)  # g = ½ (d² − E d²)/√(q₁'q₂')
    bg, gg = turned(ag), (gaps.d4 - width**2) / (4 * root**2)
    ak = (moments.u3_u + kernel * moments.u2v_v - s1 * step) / q1
    bk = turned(ak)
    gk = (gaps.u_u_d2 + kernel * gaps.v_v_d2 - width * step) / (2 * root)
    kk = moments.u2_u2 + 2 * kernel * moments.uv_uv + kernel**2 * moments.v2_v2 - step**2
    # e = σ (g − ½ λ (a + a')), λ = 1 − |ρ'|.
    half, sign = np.minimum(delta, 2 - delta) / 2, gap.sign
    ae, be = sign * (ag - half * (aa + ab)), sign * (bg - half * (ab + bb))
    ee = gg - 2 * half * (ag + bg) + half**2 * (aa + 2 * ab + bb)
    ek = sign * (gk - half * (ak + bk))
    first = {(0, 0): aa, (1, 1): bb, (0, 1): ab, (0, 2): ae, (1, 2): be, (2, 2): ee}
    return {**first, (0, 3): ak, (1, 3): bk, (2, 3): ek, (3, 3): kk}


def _knowledge(
    path: LimitPath, j: int, z: np.ndarray, moments: PairMoments
) -> Float[np.ndarray, "r n n"]:
    """K_j E φ̂_s φ̂_s' φ̂ᵀ Ẑ φ̂ of layer index j, Ẑ that of the next."""
    total = z[..., 0, 0] * moments.u2v_v + z[..., 1, 1] * moments.u2v_v.swapaxes(1, 2)
    total = total + (z[..., 0, 1] + z[..., 1, 0]) * moments.uv_uv
    return path.kernel[j] * total
