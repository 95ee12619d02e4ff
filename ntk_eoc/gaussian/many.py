"""Bivariate integrals at many distinct triples: one integral each, of φ and of φ smoothed.

E[φ(√q₁ u) φ(√q₂ v)] = E_u[φ(√q₁ u) G(√q₂ ρ u, √q₂ sin θ)], G of `smoothed`, by the outer rule of
`rules`: φ is evaluated a few hundred times a triple, not a few hundred times squared.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ntk_eoc.activations import Activation
from ntk_eoc.gaussian.panels import Panels, level, plan, shared_variance
from ntk_eoc.gaussian.rules import (
    COARSE_1D,
    FINE_1D,
    cosine_and_sine,
    mean,
    nodes,
    outer_edges,
    over_triples,
)
from ntk_eoc.gaussian.smoothed import OCTAVES, Strip, look_up, tabulate
from ntk_eoc.gaussian.triples import (
    AGREE,
    BATCH,
    MANY,
    ROUNDING,
    Estimates,
    Kind,
    in_float64,
    integrand,
    integrate_all,
)

BLOCK = 256  # triples of one strip at once


@partial(jax.jit, static_argnums=(0, 1, 2))
def _integrate(
    act: Activation,
    of: Kind,
    panels: Panels,
    strip: Strip,
    q1: Float[Array, "t"],
    q2: Float[Array, "t"],
    delta: Float[Array, "t"],
    eta: Float[Array, "t"],
) -> tuple[Array, ...]:
    """Return values, error estimates and scales; q₁ <= q₂ and √q₂ sin θ in the strip."""
    f, _ = integrand(act, of)

    def one(q1: Array, q2: Array, delta: Array, eta: Array) -> tuple[Array, ...]:
        root1, root2 = jnp.sqrt(q1), jnp.sqrt(q2)
        rho, s = cosine_and_sine(delta, eta)
        edges, part = outer_edges(f, panels, root1, root2, rho, s)
        rules = [nodes(edges, n) for n in (FINE_1D, COARSE_1D)]
        u, weight = (jnp.concatenate([x.ravel() for x in xs]) for xs in zip(*rules, strict=True))
        smoothed, error = look_up(strip, root2 * rho * u, root2 * s)
        weighted = weight / part * f(root1 * u)
        count = rules[0][0].size
        fine, coarse = (jnp.sum(x) for x in jnp.split(weighted * smoothed, [count]))
        table = jnp.sum(jnp.abs(weighted[:count]) * error[:count])
        squares = [mean(lambda s: f(s) ** 2, panels, COARSE_1D, q) for q in (q1, q2)]
        scale = jnp.sqrt(squares[0] * squares[1])
        return fine, jnp.abs(fine - coarse) + table + ROUNDING * scale, scale

    return over_triples(one, BATCH, q1, q2, delta, eta)


def _by_strips(
    act: Activation, of: Kind, panels: Panels, strips: tuple[Strip, ...], triples: np.ndarray
) -> np.ndarray:
    """Return values, errors and scales [3, t], in blocks of triples of one strip."""
    tau = np.sqrt(triples[1] * triples[2] * triples[3])
    where = np.searchsorted([float(x.high) for x in strips[:-1]], tau)
    blocks = [
        (strips[k], part)
        for k in np.unique(where)
        for here in [np.flatnonzero(where == k)]
        for part in np.split(here, range(BLOCK, here.size, BLOCK))
    ]

    @in_float64  # which a thread has to be told by itself
    def block(strip: Strip, part: np.ndarray) -> np.ndarray:
        padded = np.resize(part, BLOCK)
        found = _integrate(act, of, panels, strip, *map(jnp.asarray, triples[:, padded]))
        return np.stack([np.asarray(x)[: part.size] for x in found])

    found = np.zeros((3, triples.shape[1]))
    found[:, blocks[0][1]] = block(*blocks[0])  # compiles
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rest = pool.map(lambda pair: block(*pair), blocks[1:])
        for (_, part), values in zip(blocks[1:], rest, strict=True):
            found[:, part] = values
    return found


def integrate_many(act: Activation, of: Kind, triples: Float[np.ndarray, "4 t"]) -> Estimates:
    """Integrate at triples (q₁, q₂, δ, 2 − δ), as `integrate_all`; fast where they are many.

    Raises:
        ActivationError: If φ cannot be integrated; the message says why and what to do.
    """
    if of == "gap" or triples.shape[1] < MANY:
        return integrate_all(act, of, triples)
    found = np.zeros((3, triples.shape[1]))
    found[1] = np.inf
    # The dual is symmetric: the argument of larger variance is smoothed.
    ordered = np.concatenate([np.sort(triples[:2], axis=0), triples[2:]])
    levels = level(ordered[1])
    levels[levels <= 0] = min(0, levels.max())  # one table serves them all
    for k in np.unique(levels):
        q = shared_variance(act, ordered[1, levels == k].max())
        panels = plan(act, q)
        here = np.flatnonzero((levels == k) & (ordered[1] >= q / 4.0**OCTAVES))
        strips = tabulate(act, of, panels, q) if here.size else None
        if strips is not None:
            found[:, here] = _by_strips(act, of, panels, strips, ordered[:, here])
    rest = np.flatnonzero(~(found[1] <= AGREE * found[2]))
    if rest.size:
        found[:, rest] = np.stack(integrate_all(act, of, triples[:, rest]))
    return Estimates(*found)
