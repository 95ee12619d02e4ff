"""The Gaussian moments of φ on which the variance map and its slopes rest."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ntk_eoc.activations import Activation
from ntk_eoc.gaussian import ActivationError, Panels, plan
from ntk_eoc.gaussian.rules import COARSE_1D, FINE_1D, moments
from ntk_eoc.gaussian.triples import REFINEMENTS
from ntk_eoc.precision import in_float64

COUNT = 64  # variances evaluated at once, by one compiled function
_ROUNDING = 5e-15  # of the moments, relative
_LARGE = 1e-4  # relative error of what is no moment any more; smaller ones are carried along


class Moments(NamedTuple):
    """Gaussian moments of φ at variances q, each with an error estimate, [t].

    Attributes:
        square: E[φ(√q z)²].
        slope: E[φ'(√q z)²].
        growth: The derivative of `square` by q, E[φ φ' z]/√q.
        errors: The three error estimates.
    """

    square: np.ndarray
    slope: np.ndarray
    growth: np.ndarray
    errors: tuple[np.ndarray, np.ndarray, np.ndarray]


@partial(jax.jit, static_argnums=(0, 1))
def _moments(act: Activation, panels: Panels, q: Float[Array, "t"]) -> tuple[Array, Array]:
    fine, coarse = (
        jax.vmap(lambda q, n=n: jnp.stack(moments(act, act.prime, panels, n, q)))(q)
        for n in (FINE_1D, COARSE_1D)
    )
    return fine.T, jnp.abs(fine - coarse).T + _ROUNDING * jnp.abs(fine).T


@in_float64
def activation_moments(act: Activation, q: np.ndarray, panels: Panels | None = None) -> Moments:
    """Return E[φ²], E[φ'²] and ∂E[φ²]/∂q at variances q.

    Raises:
        ActivationError: If φ cannot be integrated; the message says why and what to do.
    """
    q = np.atleast_1d(np.asarray(q, np.float64))
    panels = panels or plan(act, float(q.max()))
    values, errors = _at(act, panels, q)
    lost = ~np.isfinite(values).all(0)
    if lost.any():
        raise ActivationError(
            f"E[φ(√q z)²] and E[φ'(√q z)²] of {act.name!r} must stay in the range of float64, but "
            f"do not at q = {q[lost][0]:.4g}: take a smaller q, or scale φ or its input down."
        )
    for _ in range(REFINEMENTS):
        if (_relative(q, values, errors) <= _LARGE).all():
            break
        panels = panels.refined()
        values, errors = _at(act, panels, q)
    off = _relative(q, values, errors).max(0)
    if not (off <= _LARGE).all():
        worst = int(np.argmax(np.nan_to_num(off, nan=np.inf)))
        raise ActivationError(
            f"the moments of activation {act.name!r} must be resolved to a relative {_LARGE:g}, "
            f"but at q = {q[worst]:.4g} their error is {off[worst]:.1g}: smooth its narrowest "
            f"features, or list its kinks."
        )
    return Moments(values[0], values[1], values[2], (errors[0], errors[1], errors[2]))


def _at(act: Activation, panels: Panels, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The three moments and their errors, [3, t]."""
    padded = np.resize(q, (-(-q.size // COUNT), COUNT))
    pieces = [_moments(act, panels, jnp.asarray(row)) for row in padded]
    values, errors = (
        np.concatenate([np.asarray(p[i]) for p in pieces], 1)[:, : q.size] for i in (0, 1)
    )
    return values, errors


def _relative(q: np.ndarray, values: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Errors relative to the moments; of the growth, which may vanish, to its Cauchy bound."""
    square, slope, growth = values
    bound = np.maximum(np.abs(growth), np.sqrt(np.abs(square / q)) * np.sqrt(slope))
    return errors / np.maximum(np.stack([square, slope, bound]), 1e-300)
