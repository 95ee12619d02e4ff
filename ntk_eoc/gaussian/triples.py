"""Bivariate integrals at many triples (q₁, q₂, δ): in blocks, on all cores, refined where needed.

A block has one of two sizes, so that few programs are compiled. Many triples are sorted by their
variance: the smaller it is, the fewer panels φ needs.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial, wraps
from typing import Literal, NamedTuple, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ntk_eoc.activations import Activation
from ntk_eoc.gaussian.panels import Panels, level, plan
from ntk_eoc.gaussian.rules import COARSE, COARSE_1D, FINE, bivariate, mean, over_triples

AGREE = 1e-12  # two rules agree when they differ by less, relative to the scale of the integral
ROUNDING = 4e-15  # of the sums, relative to the same scale
BATCH = 8  # triples at once: their nodes stay in the cache of a core
BLOCK = 64
MANY = 1024  # from so many triples on, they are sorted by variance
REFINEMENTS = 3

Function = Callable[[Array], Array]
Kind = Literal["value", "slope", "gap"]
P = ParamSpec("P")
R = TypeVar("R")


class Estimates(NamedTuple):
    """Integrals in NumPy, one per triple.

    Attributes:
        value: The integrals.
        error: Estimates of their absolute errors.
        scale: √(E[φ(√q₁ u)²] E[φ(√q₂ v)²]), or of φ'.
    """

    value: Float[np.ndarray, "t"]
    error: Float[np.ndarray, "t"]
    scale: Float[np.ndarray, "t"]


def in_float64(f: Callable[P, R]) -> Callable[P, R]:
    """Make f compute in float64 and at once, whatever the configuration and inside of a trace.

    For functions of concrete numbers, which return NumPy arrays or floats.
    """

    @wraps(f)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with jax.ensure_compile_time_eval(), jax.enable_x64(True):
            return f(*args, **kwargs)

    return wrapped


def integrand(act: Activation, of: Kind) -> tuple[Function, Callable[[Array, Array], Array]]:
    """Return the function whose size sets the scale, and the integrand of a kind of integral."""
    if of == "value":
        return act, lambda a, b: act(a) * act(b)
    if of == "slope":
        return act.prime, lambda a, b: act.prime(a) * act.prime(b)
    return act, lambda a, b: 0.5 * (act(a) - act(b)) ** 2


@partial(jax.jit, static_argnums=(0, 1, 2))
def integrate(
    act: Activation,
    of: Kind,
    panels: Panels,
    q1: Float[Array, "t"],
    q2: Float[Array, "t"],
    delta: Float[Array, "t"],
    eta: Float[Array, "t"],
) -> tuple[Float[Array, "t"], Float[Array, "t"], Float[Array, "t"]]:
    """Return values, error estimates and scales, by two rules on the same panels."""
    f, product = integrand(act, of)

    def one(q1: Array, q2: Array, delta: Array, eta: Array) -> tuple[Array, ...]:
        fine, coarse = (
            bivariate(lambda a, b: (product(a, b),), f, panels, n, q1, q2, delta, eta)[0]
            for n in (FINE, COARSE)
        )
        squares = [mean(lambda s: f(s) ** 2, panels, COARSE_1D, q) for q in (q1, q2)]
        scale = jnp.sqrt(squares[0] * squares[1])
        return fine, jax.lax.stop_gradient(jnp.abs(fine - coarse) + ROUNDING * scale), scale

    value, error, scale = over_triples(one, BATCH, q1, q2, delta, eta)
    return value, error, scale


def _in_blocks(act: Activation, of: Kind, panels: Panels, triples: np.ndarray) -> np.ndarray:
    """Return values, errors and scales [3, t] at triples (q₁, q₂, δ, 2 − δ), [4, t]."""
    count = triples.shape[1]
    size = BATCH if count <= BATCH else BLOCK
    blocks = -(-count // size)
    padded = np.pad(triples, ((0, 0), (0, blocks * size - count)), mode="edge")

    @in_float64  # which a thread has to be told by itself
    def block(i: int) -> np.ndarray:
        part = jnp.asarray(padded[:, i * size : (i + 1) * size])
        return np.stack([np.asarray(x) for x in integrate(act, of, panels, *part)])

    first = block(0)  # compiles
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rest = pool.map(block, range(1, blocks)) if blocks > 1 else ()
        return np.concatenate([first, *rest], axis=1)[:, :count]


def _refined(act: Activation, of: Kind, panels: Panels, triples: np.ndarray) -> np.ndarray:
    """The same, with panels halved where the two rules do not agree."""
    found = _in_blocks(act, of, panels, triples)
    for _ in range(REFINEMENTS):
        bad = np.flatnonzero(found[1] > AGREE * found[2])
        if bad.size == 0:
            break
        panels = panels.refined()
        found[:, bad] = _in_blocks(act, of, panels, triples[:, bad])
    return found


def integrate_all(act: Activation, of: Kind, triples: Float[np.ndarray, "4 t"]) -> Estimates:
    """Integrate at triples (q₁, q₂, δ, 2 − δ) until two rules agree to AGREE of the scale.

    Raises:
        ActivationError: If φ cannot be integrated; the message says why and what to do.
    """
    found = np.zeros((3, triples.shape[1]))
    largest = triples[:2].max(0, initial=0.0)
    levels = level(largest)
    if levels.size < MANY:
        levels[:] = levels.max(initial=-np.inf)
    for k in np.unique(levels):
        here = np.flatnonzero(levels == k)
        panels = plan(act, largest[here].max())
        found[:, here] = _refined(act, of, panels, triples[:, here])
    return Estimates(*found)
