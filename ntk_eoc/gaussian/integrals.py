"""The dual of an activation, E[φ(√q₁ u) φ(√q₂ v)], of its derivative, and Gaussian means.

Every function returns value and error estimate, the difference between two rules; outside
of a trace the panels are halved until the rules agree.
"""

from collections.abc import Callable
from functools import partial, wraps
from typing import NamedTuple, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ntk_eoc.activations import Activation
from ntk_eoc.checks import require
from ntk_eoc.gaussian.panels import Panels, plan
from ntk_eoc.gaussian.rules import (
    COARSE,
    COARSE_1D,
    FINE,
    FINE_1D,
    bivariate,
    mean,
    over_triples,
)

AGREE = 1e-12  # two rules agree when they differ by less, relative to the scale of the integral
ROUNDING = 4e-15  # of the sums, relative to the same scale
BATCH = 8  # triples at once: their nodes stay in the cache of a core
REFINEMENTS = 3
TRACED_Q = 25.0  # under a trace the variance is unknown; panels are planned for this one

Function = Callable[[Array], Array]


P = ParamSpec("P")
R = TypeVar("R")


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


def in_float64(f: Callable[P, R]) -> Callable[P, R]:
    """Make f compute in float64 and at once, whatever the configuration and inside of a trace.

    For functions of concrete numbers, which return NumPy arrays or floats.
    """

    @wraps(f)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with jax.ensure_compile_time_eval(), jax.enable_x64(True):
            return f(*args, **kwargs)

    return wrapped


def is_traced(*arrays: ArrayLike) -> bool:
    """Whether any of the arrays has no concrete value."""
    return any(isinstance(x, jax.core.Tracer) for x in arrays)


def panels_for(act: Activation, *variances: ArrayLike) -> Panels:
    """Return the panels of `act` that reach the largest of the variances, if they are concrete."""
    if is_traced(*variances):
        return plan(act, TRACED_Q)
    largest = max(float(np.max(np.asarray(q), initial=0.0)) for q in variances)
    return plan(act, 4.0 ** np.ceil(np.log(max(largest, 1.0)) / np.log(4.0)))


def _pair(act: Activation, of: str) -> tuple[Function, Callable[[Array, Array], Array]]:
    """Return the function whose size sets the scale, and the integrand of a kind of integral."""
    if of == "value":
        return act, lambda a, b: act(a) * act(b)
    if of == "slope":
        return act.prime, lambda a, b: act.prime(a) * act.prime(b)
    return act, lambda a, b: 0.5 * (act(a) - act(b)) ** 2


@partial(jax.jit, static_argnums=(0, 1, 2))
def _triples(
    act: Activation,
    of: str,
    panels: Panels,
    q1: Float[Array, "t"],
    q2: Float[Array, "t"],
    delta: Float[Array, "t"],
) -> tuple[Float[Array, "t"], Float[Array, "t"], Float[Array, "t"]]:
    """Return values, error estimates and scales."""
    f, integrand = _pair(act, of)

    def one(q1: Array, q2: Array, delta: Array) -> tuple[Array, ...]:
        fine, coarse = (
            bivariate(lambda a, b: (integrand(a, b),), f, panels, n, q1, q2, delta, 2 - delta)[0]
            for n in (FINE, COARSE)
        )
        squares = [mean(lambda s: f(s) ** 2, panels, COARSE_1D, q) for q in (q1, q2)]
        scale = jnp.sqrt(squares[0] * squares[1])
        return fine, jax.lax.stop_gradient(jnp.abs(fine - coarse) + ROUNDING * scale), scale

    value, error, scale = over_triples(one, BATCH, q1, q2, delta)
    return value, error, scale


def _padded(index: np.ndarray) -> np.ndarray:
    """Repeat the last index up to a power of two, so that few shapes are compiled."""
    return np.pad(index, (0, 2 ** int(np.ceil(np.log2(index.size))) - index.size), mode="edge")


def _quadrature(
    act: Activation, of: str, q1: ArrayLike, q2: ArrayLike, delta: ArrayLike
) -> Integral:
    require_float64()
    for name, x, most in (("q1", q1, np.inf), ("q2", q2, np.inf), ("delta", delta, 2.0)):
        if not is_traced(x):
            least = 0.0 if name == "delta" else 5e-324
            good = np.all((np.asarray(x) >= least) & (np.asarray(x) <= most))
            require(bool(good), name, "in [0, 2]" if name == "delta" else "> 0", x)
    panels = panels_for(act, q1, q2)
    full = jnp.broadcast_arrays(*(jnp.asarray(x, jnp.float64) for x in (q1, q2, delta)))
    shape = full[0].shape
    flat = [x.ravel() for x in full]
    value, error, scale = _triples(act, of, panels, *flat)
    if not is_traced(value):
        for _ in range(REFINEMENTS):
            bad = np.flatnonzero(np.asarray(error) > AGREE * np.asarray(scale))
            if bad.size == 0:
                break
            panels, bad = panels.refined(), _padded(bad)
            better, smaller, _ = _triples(act, of, panels, *(x[bad] for x in flat))
            value, error = value.at[bad].set(better), error.at[bad].set(smaller)
    return Integral(value.reshape(shape), error.reshape(shape))


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
