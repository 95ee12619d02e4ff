"""Bivariate integrals at triples (q₁, q₂, δ): by two rules, refined where these do not agree."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ntk_eoc.activations import Activation
from ntk_eoc.gaussian.panels import Panels, level, plan
from ntk_eoc.gaussian.rules import (
    COARSE,
    COARSE_1D,
    FINE,
    bivariate,
    mean,
    over_triples,
)
from ntk_eoc.precision import in_float64

AGREE = 1e-12  # two rules agree when they differ by less, relative to the scale of the integral
ROUNDING = 4e-15  # of the sums, relative to the same scale
BATCH = 8  # triples at once: their nodes stay in the cache of a core
BLOCK = 64
MANY = 1024  # from so many triples on, they are sorted by variance
REFINEMENTS = 3

Function = Callable[[Array], Array]
Kind = Literal["value", "slope", "layer"]


class Triples(NamedTuple):
    """Where to integrate.

    Attributes:
        q1: Variances of the first argument.
        q2: Variances of the second.
        delta: 1 − ρ.
        eta: 1 + ρ.
        weight1: What φ of the first argument is multiplied by in "layer".
        weight2: The same of the second.
    """

    q1: Float[Any, "t"]
    q2: Float[Any, "t"]
    delta: Float[Any, "t"]
    eta: Float[Any, "t"]
    weight1: Float[Any, "t"]
    weight2: Float[Any, "t"]


class Estimates(NamedTuple):
    """Integrals, one or two a triple.

    Attributes:
        value: The integrals.
        error: Estimates of their absolute errors.
        allowed: Errors below which two rules agree.
    """

    value: Float[Any, "c t"]
    error: Float[Any, "c t"]
    allowed: Float[Any, "c t"]


def _integrand(act: Activation, of: Kind, w1: Array, w2: Array) -> Callable[..., tuple[Array, ...]]:
    def h(a: Array, b: Array) -> tuple[Array, ...]:
        if of == "value":
            return (act(a) * act(b),)
        slopes = act.prime(a) * act.prime(b)
        return (slopes,) if of == "slope" else (0.5 * (w1 * act(a) - w2 * act(b)) ** 2, slopes)

    return h


@partial(jax.jit, static_argnums=(0, 1, 2, 4))
def integrate(
    act: Activation,
    of: Kind,
    panels: Panels,
    triples: Triples,
    rules: tuple[int, int] = (FINE, COARSE),
) -> Estimates:
    """Integrate φφ ("value"), φ'φ' ("slope"), or ½(w₁φ − w₂φ)² and φ'φ' ("layer"), [c, t].

    `rules` are the nodes a panel of the result and of the rule that it is compared with.
    """
    f = act if of == "value" else act.prime

    def size(s: Array) -> Array:
        return jnp.abs(act(s)) + jnp.abs(act.prime(s)) if of == "layer" else f(s)

    def one(*triple: Array) -> tuple[Array, ...]:
        q1, q2, delta, eta, w1, w2 = triple
        fine, coarse = (
            jnp.stack(bivariate(_integrand(act, of, w1, w2), size, panels, n, q1, q2, delta, eta))
            for n in rules
        )
        squares = [mean(lambda s: f(s) ** 2, panels, COARSE_1D, q) for q in (q1, q2)]
        scale = jnp.sqrt(squares[0] * squares[1])[None]
        rounding, allowed = ROUNDING * scale, AGREE * scale
        if of == "layer":  # the gap is relatively accurate, but for the rounding of φ − φ
            own = [w**2 * mean(lambda s: act(s) ** 2, panels, COARSE_1D, q)
                   for w, q in ((w1, q1), (w2, q2))]  # fmt: skip
            gap = fine[:1]
            lost = 4e-16 * jnp.sqrt(jnp.abs(gap) * (own[0] + own[1])) + 1e-31 * (own[0] + own[1])
            rounding = jnp.concatenate([ROUNDING * gap + lost, rounding])
            allowed = jnp.concatenate([10 * AGREE * gap + 4 * lost, allowed])
        error = jax.lax.stop_gradient(jnp.abs(fine - coarse) + rounding)
        return fine, error, jax.lax.stop_gradient(allowed)

    return Estimates(*(x.T for x in over_triples(one, BATCH, *triples)))


def _in_blocks(act: Activation, of: Kind, panels: Panels, triples: Triples) -> np.ndarray:
    """Return values, errors and allowed errors [3, c, t], in blocks on all cores."""
    count = triples.q1.size
    size = BATCH if count <= BATCH else BLOCK
    blocks = -(-count // size)
    padded = [np.pad(x, (0, blocks * size - count), mode="edge") for x in triples]

    @in_float64  # which a thread has to be told by itself
    def block(i: int) -> np.ndarray:
        part = Triples(*(jnp.asarray(x[i * size : (i + 1) * size]) for x in padded))
        return np.stack([np.asarray(x) for x in integrate(act, of, panels, part)])

    first = block(0)  # compiles
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rest = pool.map(block, range(1, blocks)) if blocks > 1 else ()
        return np.concatenate([first, *rest], axis=-1)[..., :count]


def _take(triples: Triples, where: np.ndarray) -> Triples:
    return Triples(*(np.asarray(x)[where] for x in triples))


def _refined(act: Activation, of: Kind, panels: Panels, triples: Triples) -> np.ndarray:
    """The same, with panels halved where the two rules do not agree."""
    found = _in_blocks(act, of, panels, triples)
    for _ in range(REFINEMENTS):
        bad = np.flatnonzero((~(found[1] <= found[2])).any(0))
        if bad.size == 0:
            break
        panels = panels.refined()
        found[..., bad] = _in_blocks(act, of, panels, _take(triples, bad))
    return found


def integrate_all(act: Activation, of: Kind, triples: Triples) -> Estimates:
    """Integrate at concrete triples until two rules agree, to 1e-12 of the scale of the integral.

    Raises:
        ActivationError: If φ cannot be integrated; the message says why and what to do.
    """
    found = np.zeros((3, 2 if of == "layer" else 1, triples.q1.size))
    largest = np.maximum(triples.q1, triples.q2)
    levels = level(largest)
    if levels.size < MANY:
        levels[:] = levels.max(initial=-np.inf)
    for k in np.unique(levels):
        here = np.flatnonzero(levels == k)
        panels = plan(act, largest[here].max())
        found[..., here] = _refined(act, of, panels, _take(triples, here))
    return Estimates(*found)
