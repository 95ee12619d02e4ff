"""Bivariate integrals at triples (q₁, q₂, δ): of a smooth φ by power series, else by two rules."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ntk_eoc.activations import Activation
from ntk_eoc.gaussian import expansion, series
from ntk_eoc.gaussian.panels import Panels, level, plan
from ntk_eoc.gaussian.rules import (
    COARSE,
    COARSE_1D,
    FINE,
    FINE_1D,
    ROUNDING,
    bivariate,
    mean,
    over_triples,
)
from ntk_eoc.precision import geometric_mean, on_all_cores

AGREE = 1e-12  # two rules agree when they differ by less, relative to the scale of the integral
BATCH = 8  # triples at once: their nodes stay in the cache of a core
BLOCK = 32  # triples of one call of the compiled rules, where there are more than BY_BATCH
BY_BATCH = 128  # triples that go batch by batch: a second program takes longer to compile
SERIES_BLOCK = 512  # and of the series
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
        scale = geometric_mean(*squares)[None]
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


def _in_blocks(
    act: Activation, of: Kind, panels: Panels, triples: Triples, rules: tuple[int, int]
) -> np.ndarray:
    """Return values, errors and allowed errors [3, c, t], in blocks on all cores."""
    count = triples.q1.size
    size = BATCH if count <= BY_BATCH else BLOCK
    blocks = -(-count // size)
    padded = [np.pad(x, (0, blocks * size - count), mode="edge") for x in triples]

    def block(i: int) -> np.ndarray:
        part = Triples(*(jnp.asarray(x[i * size : (i + 1) * size]) for x in padded))
        return np.stack([np.asarray(x) for x in integrate(act, of, panels, part, rules)])

    return np.concatenate(on_all_cores(block, range(blocks)), axis=-1)[..., :count]


def _take(triples: Triples, where: np.ndarray) -> Triples:
    return Triples(*(np.asarray(x)[where] for x in triples))


def _by_rules(
    act: Activation, of: Kind, panels: Panels, triples: Triples, agree: float
) -> np.ndarray:
    """The same, with more nodes, and then panels halved, where the two rules do not agree."""
    found = _in_blocks(act, of, panels, triples, (FINE, COARSE))
    # More nodes a panel cost half of what halving the panels does, and do more for a smooth φ.
    for _ in range(REFINEMENTS):
        bad = np.flatnonzero((~(found[1] <= agree * found[2])).any(0))
        if bad.size == 0:
            break
        found[..., bad] = _in_blocks(act, of, panels, _take(triples, bad), (FINE_1D, COARSE_1D))
        panels = panels.refined()
    return found


def _by_series(
    act: Activation, of: Kind, panels: Panels, terms: int, triples: Triples
) -> np.ndarray:
    """The same of "value" or "slope", by power series in ρ."""
    count = triples.q1.size
    q, where = np.unique(np.concatenate([triples.q1, triples.q2]), return_inverse=True)
    orders, known = expansion.expand(act, panels, terms, q)
    weight = np.sqrt(np.maximum(known.square, 1e-300))
    blocks = -(-count // SERIES_BLOCK)
    padded = [np.pad(x, (0, blocks * SERIES_BLOCK - count), mode="edge")
              for x in (where[:count], where[count:], triples.delta, triples.eta)]  # fmt: skip

    def rows(j: np.ndarray) -> series.Rows:
        taken = expansion.Expansion(*(jnp.asarray(x[..., j]) for x in known))
        return series.Rows(jnp.asarray(q[j]), jnp.asarray(1 / weight[j]), taken)

    def block(i: int) -> np.ndarray:
        first, second, delta, eta = (x[i * SERIES_BLOCK : (i + 1) * SERIES_BLOCK] for x in padded)
        angle = jnp.asarray(delta), jnp.asarray(eta)
        found = series.by_series(orders, rows(first), rows(second), *angle)
        values, errors = (np.asarray(x) for x in found)
        if of == "slope":
            scale = np.sqrt(known.slope[first]) * np.sqrt(known.slope[second])
            return np.stack([values[1], errors[1], AGREE * scale])[:, None]
        # Of φ divided by its norm the gap is 1 less the correlation.
        scale = weight[first] * weight[second]
        errors = scale * (errors[0] + ROUNDING)
        return np.stack([scale * (1 - values[0]), errors, AGREE * scale])[:, None]

    return np.concatenate(on_all_cores(block, range(blocks)), axis=-1)[..., :count]


def _found(act: Activation, of: Kind, panels: Panels, triples: Triples, agree: float) -> np.ndarray:
    """The same, of a smooth φ by series where they reach, and else by rules."""
    left = np.arange(triples.q1.size)
    found = np.zeros((3, 2 if of == "layer" else 1, left.size))
    for terms in expansion.TERMS[:2] if of != "layer" and not panels.kinks else ():
        found[..., left] = _by_series(act, of, panels, terms, _take(triples, left))
        left = np.flatnonzero(~(found[1, 0] <= agree * found[2, 0]))
        if left.size == 0:
            return found
    found[..., left] = _by_rules(act, of, panels, _take(triples, left), agree)
    return found


def integrate_all(act: Activation, of: Kind, triples: Triples, agree: float = 1.0) -> Estimates:
    """Integrate at concrete triples until two rules agree.

    Args:
        act: φ.
        of: What is integrated, see `integrate`.
        triples: Where.
        agree: The error allowed, in 1e-12 of the scale of the integral.

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
        found[..., here] = _found(act, of, panels, _take(triples, here), agree)
    return Estimates(*found)
