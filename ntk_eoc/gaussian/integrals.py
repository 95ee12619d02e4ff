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
from ntk_eoc.gaussian.angles import interpolate
from ntk_eoc.gaussian.many import integrate_many
from ntk_eoc.gaussian.panels import Panels, plan
from ntk_eoc.gaussian.rules import COARSE_1D, FINE_1D, mean
from ntk_eoc.gaussian.triples import MANY, ROUNDING, Function, Kind, integrate


class Integral(NamedTuple):
    """A Gaussian integral.

    Attributes:
        value: The integral.
        error: Estimate of its absolute error.
    """

    value: Float[Array, "*t"]
    error: Float[Array, "*t"]


def require_float64() -> None:
    """Raise unless JAX computes in float64.

    Raises:
        RuntimeError: If x64 is off.
    """
    if jnp.zeros(()).dtype != jnp.float64:
        raise RuntimeError(
            "Gaussian integrals need float64, but x64 is off: call "
            'jax.config.update("jax_enable_x64", True) at the start of the program.'
        )


def is_traced(*arrays: ArrayLike) -> bool:
    """Whether any of the arrays has no concrete value."""
    return any(isinstance(x, jax.core.Tracer) for x in arrays)


def panels_for(act: Activation, *variances: ArrayLike) -> Panels:
    """Return the panels of `act` for the largest of the variances; for 25 if it is not known."""
    if is_traced(*variances):
        return plan(act)
    return plan(act, max(float(np.max(np.asarray(q), initial=0.0)) for q in variances))


def _traced(
    act: Activation, of: Kind, q1: ArrayLike, q2: ArrayLike, delta: ArrayLike
) -> tuple[Array, Array]:
    """Value and error by two rules on panels planned beforehand."""
    panels = panels_for(act, q1, q2)
    full = jnp.broadcast_arrays(*(jnp.asarray(x, jnp.float64) for x in (q1, q2, delta)))
    flat = [x.ravel() for x in full]
    value, error, _ = integrate(act, of, panels, *flat, 2 - flat[2])
    return value.reshape(full[0].shape), error.reshape(full[0].shape)


def _concrete(
    act: Activation, of: Kind, q1: ArrayLike, q2: ArrayLike, delta: ArrayLike
) -> tuple[Array, Array]:
    """Value and error, refined; by interpolation in the angle where one pair of variances serves
    many angles, over a table of φ smoothed where the variances are many too. (Not for the gap,
    whose relative accuracy at small angles that would lose.)
    """
    q1, q2, delta = (np.asarray(x, np.float64) for x in (q1, q2, delta))
    full = np.broadcast_arrays(q1, q2, delta)
    flat = [x.ravel() for x in full]
    if q1.size == q2.size == 1 and delta.size >= MANY and of != "gap":
        found = interpolate(act, of, float(q1.item()), float(q2.item()), flat[2])
    else:
        found = integrate_many(act, of, np.stack([*flat, 2 - flat[2]]))
    value, error = (x.reshape(full[0].shape) for x in (found.value, found.error))
    return jnp.asarray(value), jnp.asarray(error)


def _quadrature(
    act: Activation, of: Kind, q1: ArrayLike, q2: ArrayLike, delta: ArrayLike
) -> Integral:
    require_float64()
    for name, x, most in (("q1", q1, np.inf), ("q2", q2, np.inf), ("delta", delta, 2.0)):
        if not is_traced(x):
            least = 0.0 if name == "delta" else 5e-324
            good = np.all((np.asarray(x) >= least) & (np.asarray(x) <= most))
            require(bool(good), name, "in [0, 2]" if name == "delta" else "> 0", x)
    by = _traced if is_traced(q1, q2, delta) else _concrete
    return Integral(*by(act, of, q1, q2, delta))


def _closed(form: Callable[..., Array], q1: ArrayLike, q2: ArrayLike, delta: ArrayLike) -> Integral:
    q1, q2, delta = jnp.broadcast_arrays(*(jnp.asarray(x, float) for x in (q1, q2, delta)))
    value, square1, square2 = (
        form(a, b, c) for a, b, c in ((q1, q2, delta), (q1, q1, 0 * delta), (q2, q2, 0 * delta))
    )
    scale = jnp.sqrt(jnp.abs(square1 * square2))
    return Integral(value, jax.lax.stop_gradient(8 * jnp.finfo(value.dtype).eps * scale))


def dual(act: Activation, q1: ArrayLike, q2: ArrayLike, delta: ArrayLike) -> Integral:
    """Return E[φ(√q₁ u) φ(√q₂ v)], u and v standard normal with correlation 1 − δ.

    The arguments broadcast. Jit-compiled and differentiable; outside of a trace, panels are
    refined until two rules agree to 1e-12 of √(E[φ(√q₁ u)²] E[φ(√q₂ v)²]). Under one, panels are
    planned for variances up to 25, and the estimate tells where that was not enough.

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


def dual_gap(act: Activation, q1: ArrayLike, q2: ArrayLike, delta: ArrayLike) -> Integral:
    """Return ½ E[(φ(√q₁ u) − φ(√q₂ v))²], without cancellation where the two are close.

    Arguments and errors as of `dual`; always by quadrature.
    """
    return _quadrature(act, "gap", q1, q2, delta)


@partial(jax.jit, static_argnums=(0, 1))
def _means(f: Activation, panels: Panels, q: Float[Array, "t"]) -> tuple[Array, ...]:
    def one(q: Array) -> tuple[Array, ...]:
        fine, coarse = (mean(f, panels, n, q) for n in (FINE_1D, COARSE_1D))
        size = jnp.sqrt(mean(lambda s: f(s) ** 2, panels, COARSE_1D, q))
        return fine, jax.lax.stop_gradient(jnp.abs(fine - coarse) + ROUNDING * size)

    return jax.vmap(one)(q)


def gaussian_mean(
    f: Activation | Function, q: ArrayLike, kinks: tuple[float, ...] = ()
) -> Integral:
    """Return E[f(√q z)], z standard normal.

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
    q = jnp.asarray(q, jnp.float64)
    value, error = _means(f, panels_for(f, q), q.ravel())
    return Integral(value.reshape(q.shape), error.reshape(q.shape))
