"""The cosine map and the defect Γ_l = l − κ_l of unit inputs, written once for JAX and NumPy.

Every function of one layer takes the array namespace `xp`, `jax.numpy` or `numpy`.
"""

import math
from collections.abc import Iterator
from itertools import count, islice
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float
from numpy.typing import NDArray

from ntk_eoc.activations.duals import SERIES, SMALL

Vector = NDArray[np.float64]

_TWO_OVER_PI = 2 / math.pi


class AngularState(NamedTuple):
    """Pairs of unit inputs after k layers, elementwise.

    Attributes:
        delta: 1 − ρ_{k−1}.
        eta: 1 + ρ_{k−1}.
        defect: Γ_k = k − κ_k >= 0, so that close pairs keep their digits.
    """

    delta: Any
    eta: Any
    defect: Any


def _arc(xp: Any, least: Any) -> tuple[Any, Any]:
    """E = min(θ, π − θ) and sin e − e cos e, from min(1 − cos θ, 1 + cos θ)."""
    half = least / 2
    # The derivative of the root at 0 is 0 here, not ∞.
    root = xp.where(half > 0, xp.sqrt(xp.where(half > 0, half, 1 + 0 * half)), 0 * half)
    e = 2 * xp.arcsin(xp.minimum(root, 0.75))
    small = e < SMALL
    e_small = xp.where(small, e, 0 * e)
    square, series = e_small * e_small, 0 * e
    for coefficient in SERIES:
        series = series * square + coefficient
    return e, xp.where(small, series * square * e_small, xp.sin(e) - e * (1 - least))


def _first_step(xp: Any, delta_phi: Any, delta: Any, eta: Any) -> AngularState:
    """Layer 2 from the inputs: the only step that can meet an obtuse angle with 1 − g < 0.

    With f(e) = (1 − cos e) − (2/π)(sin e − e cos e): 1 − ρ' = (1 − Δ)(1 − ρ) + Δ f and
    1 + ρ' = (1 − Δ)(1 + ρ) + Δ(2 − f), on both sides of a right angle (`docs/theory.md`).
    Γ_2 = (1 − g) Γ_1 + g + 1 − ρ_1 cancels there; written in 1 + ρ_0 it does not.
    """
    least = xp.minimum(delta, eta)
    e, bracket = _arc(xp, least)
    f = least - _TWO_OVER_PI * bracket
    delta_1 = (1 - delta_phi) * delta + delta_phi * f
    eta_1 = (1 - delta_phi) * eta + delta_phi * (2 - f)
    g = delta_phi * _TWO_OVER_PI * xp.where(delta <= eta, e, math.pi - e)
    near = (1 - g) * delta + g
    far = 2 * (1 - delta_phi) + delta_phi * _TWO_OVER_PI * e - (1 - g) * eta
    return AngularState(delta_1, eta_1, xp.where(delta <= eta, near, far) + delta_1)


def _add(total: Any, lost: Any, step: Any) -> tuple[Any, Any]:
    """Kahan's sum: the new total, and what rounding added to it.

    Without it the errors of 10⁵ steps, all of one sign, add up.
    """
    step = step - lost
    new = total + step
    return new, (new - total) - step


def _step(
    xp: Any, delta_phi: Any, state: AngularState, lost: AngularState, k: Any
) -> tuple[AngularState, AngularState]:
    """Layer k + 1 from layer k >= 2, as increments: 1 − ρ falls by what 1 + ρ grows by."""
    acute = state.delta <= state.eta
    e, bracket = _arc(xp, xp.minimum(state.delta, state.eta))
    rise = delta_phi * (xp.where(acute, 0 * e, 2 - 2 * state.eta) + _TWO_OVER_PI * bracket)
    g = delta_phi * _TWO_OVER_PI * xp.where(acute, e, math.pi - e)
    delta, lost_delta = _add(state.delta, lost.delta, -rise)
    eta, lost_eta = _add(state.eta, lost.eta, rise)
    defect, lost_defect = _add(state.defect, lost.defect, g * (k - state.defect) + delta)
    return AngularState(delta, eta, defect), AngularState(lost_delta, lost_eta, lost_defect)


def angular_recursion(
    delta_phi: float, delta: Float[Array, "..."], eta: Float[Array, "..."], depth: int
) -> AngularState:
    """Return 1 − ρ_{l−1}, 1 + ρ_{l−1} and the defect Γ_l = l − κ_l of unit inputs, elementwise.

    Γ_{k+1} = (1 − g) Γ_k + g k + (1 − ρ_k), g = Δ_φ (2/π) θ_{k−1} (`docs/theory.md`, §2): sums of
    positive terms, hence relatively accurate at every angle and depth.

    Args:
        delta_phi: Δ_φ in [0, 1].
        delta: 1 − ρ_0 of the inputs.
        eta: 1 + ρ_0 of the inputs.
        depth: l >= 1.
    """
    if depth == 1:
        return AngularState(delta, eta, delta)
    first = _first_step(jnp, delta_phi, delta, eta)
    lost = AngularState(*(jnp.zeros_like(a) for a in first))

    def step(carry: tuple[AngularState, AngularState], k: Array) -> tuple[Any, None]:
        return _step(jnp, delta_phi, *carry, k), None

    layers = jnp.arange(2, depth, dtype=delta.dtype)
    return lax.scan(step, (first, lost), layers)[0][0]


def host_layers(delta_phi: float | Vector, delta: Vector, eta: Vector) -> Iterator[AngularState]:
    """Yield the states of `angular_recursion` at l = 1, 2, …, in NumPy's float64."""
    yield AngularState(delta, eta, delta)
    state = _first_step(np, delta_phi, delta, eta)
    lost = AngularState(*(np.zeros_like(a) for a in state))
    for k in count(2):
        yield state
        state, lost = _step(np, delta_phi, state, lost, k)


def host_recursion(delta_phi: float, delta: Vector, eta: Vector, depth: int) -> AngularState:
    """Return `angular_recursion` in NumPy: in float64, whatever the precision of JAX."""
    return next(islice(host_layers(delta_phi, delta, eta), depth - 1, None))
