"""The dual of an activation, E[φ(√q₁ u) φ(√q₂ v)], of its derivative, and Gaussian means.

Every function returns value and error estimate, the difference between two rules; outside
of a trace the panels are halved until the rules agree.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ntk_eoc.activations import Activation
from ntk_eoc.checks import require
from ntk_eoc.gaussian.panels import Panels, plan, plan_for_any
from ntk_eoc.gaussian.rules import COARSE_1D, FINE_1D, ROUNDING, mean
from ntk_eoc.gaussian.triples import (
    AGREE,
    REFINEMENTS,
    Function,
    Kind,
    Triples,
    integrate,
    integrate_all,
)
from ntk_eoc.precision import geometric_mean, is_traced, require_float64


class Integral(NamedTuple):
    """A number by quadrature.

    Attributes:
        value: The number.
        error: Estimate of its absolute error.
    """

    value: Float[Array, "*t"]
    error: Float[Array, "*t"]


def _quadrature(
    act: Activation, of: Kind, q1: ArrayLike, q2: ArrayLike, delta: ArrayLike
) -> Integral:
    require_float64()
    for name, x, most in (("q1", q1, np.inf), ("q2", q2, np.inf), ("delta", delta, 2.0)):
        if not is_traced(x):
            least = 0.0 if name == "delta" else 5e-324
            good = np.all((np.asarray(x) >= least) & (np.asarray(x) <= most))
            require(bool(good), name, "in [0, 2]" if name == "delta" else "> 0", x)
    traced = is_traced(q1, q2, delta)
    numpy = jnp if traced else np
    full = numpy.broadcast_arrays(*(numpy.asarray(x, np.float64) for x in (q1, q2, delta)))
    q1, q2, delta = (x.ravel() for x in full)
    triples = Triples(q1, q2, delta, 2 - delta, *(numpy.ones_like(q1),) * 2)
    if traced:
        found = integrate(act, of, plan_for_any(act), triples)
    else:
        found = integrate_all(act, of, triples)
    return Integral(*(jnp.asarray(x[0]).reshape(full[0].shape) for x in found[:2]))


def _closed(form: Callable[..., Array], q1: ArrayLike, q2: ArrayLike, delta: ArrayLike) -> Integral:
    q1, q2, delta = jnp.broadcast_arrays(*(jnp.asarray(x, float) for x in (q1, q2, delta)))
    value, square1, square2 = (
        form(a, b, c) for a, b, c in ((q1, q2, delta), (q1, q1, 0 * delta), (q2, q2, 0 * delta))
    )
    scale = geometric_mean(jnp.abs(square1), jnp.abs(square2))
    return Integral(value, jax.lax.stop_gradient(8 * jnp.finfo(value.dtype).eps * scale))


def dual(act: Activation, q1: ArrayLike, q2: ArrayLike, delta: ArrayLike) -> Integral:
    """Return E[φ(√q₁ u) φ(√q₂ v)], u and v standard normal with correlation 1 − δ.

    The arguments broadcast. Jit-compiled and differentiable; outside of a trace, panels are
    refined until two rules agree to 1e-12 of √(E[φ(√q₁ u)²] E[φ(√q₂ v)²]). Under one, panels are
    planned for variances up to 25 at least, and the estimate tells where that was not enough.

    Args:
        act: φ; its closed form is taken where it has one.
        q1: Variances > 0.
        q2: Variances > 0.
        delta: 1 − ρ in [0, 2]; give it instead of ρ, so that no digits are lost near ρ = 1.

    Raises:
        ActivationError: If φ cannot be integrated; the message says why and what to do.
        ValueError: If a variance is not positive or δ is outside of [0, 2].
        RuntimeError: If x64 is off.
    """
    if act.dual is not None:
        return _closed(act.dual, q1, q2, delta)
    return _quadrature(act, "value", q1, q2, delta)


def dual_prime(act: Activation, q1: ArrayLike, q2: ArrayLike, delta: ArrayLike) -> Integral:
    """Return E[φ'(√q₁ u) φ'(√q₂ v)]; arguments and errors as of `dual`."""
    if act.dual_prime is not None:
        return _closed(act.dual_prime, q1, q2, delta)
    return _quadrature(act, "slope", q1, q2, delta)


@partial(jax.jit, static_argnums=(0, 1))
def _means(f: Activation, panels: Panels, q: Float[Array, "t"]) -> tuple[Array, ...]:
    def one(q: Array) -> tuple[Array, ...]:
        fine, coarse = (mean(f, panels, n, q) for n in (FINE_1D, COARSE_1D))
        size = jnp.sqrt(mean(lambda s: f(s) ** 2, panels, COARSE_1D, q))
        error = jnp.abs(fine - coarse) + ROUNDING * size
        return fine, jax.lax.stop_gradient(error), AGREE * size

    return jax.vmap(one)(q)


def gaussian_mean(
    f: Activation | Function, q: ArrayLike, kinks: tuple[float, ...] = ()
) -> Integral:
    """Return E[f(√q z)], z standard normal; refined as `dual` is.

    Args:
        f: An activation, or an elementwise function with its `kinks`.
        q: Variances > 0, of any shape.
        kinks: Where a plain function is not smooth.

    Raises:
        ActivationError: If f cannot be integrated; the message says why and what to do.
        RuntimeError: If x64 is off.
    """
    require_float64()
    if not isinstance(f, Activation):
        f = Activation(getattr(f, "__name__", "f"), f, kinks)
    traced = is_traced(q)
    q = jnp.asarray(q, jnp.float64)
    panels = plan_for_any(f) if traced else plan(f, float(jnp.max(q, initial=0.0)))
    value, error, allowed = _means(f, panels, q.ravel())
    for _ in range(0 if traced else REFINEMENTS):
        if bool((error <= allowed).all()):
            break
        panels = panels.refined()
        value, error, allowed = _means(f, panels, q.ravel())
    return Integral(value.reshape(q.shape), error.reshape(q.shape))
