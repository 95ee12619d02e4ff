"""The limit of concrete inputs by quadrature: layer by layer, at the variances that occur.

Inputs of one variance share a table of the dual by angle. Of several, each has a power series in
ρ (`gaussian.series`), and the pairs that a series does not reach, those of a kinked φ at angles
near 0 and π, are integrated one by one. Pairs go by tiles, on all cores.
"""

import os
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ntk_eoc.activations import Activation
from ntk_eoc.eoc import Init
from ntk_eoc.eoc.moments import activation_moments
from ntk_eoc.gaussian import Panels, plan, series, table
from ntk_eoc.gaussian.expansion import TERMS, Expansion, Orders, expand
from ntk_eoc.gaussian.rules import ROUNDING
from ntk_eoc.gaussian.triples import Triples, integrate_all
from ntk_eoc.kernels.limit_layer import (
    Duals,
    Pairs,
    Side,
    Spread,
    acute,
    advance,
    bias_gap,
    require_range,
    roughness,
    smallest,
)
from ntk_eoc.kernels.limit_tiles import Job, Tiles, over_tiles
from ntk_eoc.precision import geometric_mean

SAME = 1e-12  # variances this close, relatively, share a table; of float32 inputs, see `_shared`
RESOLVED = 1e-12  # error of a series, relative to the scale of φ'φ', above which it is left
GAP_RESOLVED = 1e-10  # the same of 1 − ρ, relative to itself
FEW = 0.002  # part of all pairs that may be left to be integrated rather than take more terms
PAIR_SECONDS = 3e-4  # of one core, about, to integrate one pair
PATIENCE = 60.0  # seconds


class Layer(NamedTuple):
    """One layer's variances, NumPy.

    Attributes:
        sides: Of the first and of the second inputs, [n1] and [n2].
        rough: See `limit_layer.roughness`.
        moved: Largest relative change of a variance to the next layer.
        memory: Over how many layers such changes add up at most, 1/|1 − χ_∥|.
        panels: Of φ at these variances.
    """

    sides: tuple[Side, Side]
    rough: float
    moved: float
    memory: float
    panels: Panels

    @property
    def q(self) -> np.ndarray:
        """All variances."""
        return np.concatenate([self.sides[0].q, self.sides[1].q])

    def images(self) -> list[np.ndarray]:
        """The variances of the next layer, and their relative errors."""
        one, two = self.sides
        return [one.image, two.image, one.image_error, two.image_error]


def _layer(init: Init, sides: list[np.ndarray]) -> Layer:
    """Integrate what depends on one input alone; `sides` as of `by_quadrature`."""
    q, error = sides[:2], sides[2:]
    act = init.activation
    every, inverse = np.unique(np.concatenate(q), return_inverse=True)
    require_range(act, every, float(np.finfo(np.float64).tiny))
    m = activation_moments(act, every)
    image = init.sigma_w**2 * m.square + init.sigma_b**2
    require_range(act, image, smallest(np.float64))
    own = (init.sigma_w**2 * m.errors[0] / image)[inverse]
    grown = (init.sigma_w**2 * np.abs(m.growth) * every / image)[inverse]
    image_error = own + grown * np.concatenate(error) + 4e-16
    whole = (
        np.concatenate(q),
        image[inverse],
        m.slope[inverse],
        np.concatenate(error),
        image_error,
    )
    cut = [q[0].size]
    one, two = (Side(*(np.split(x, cut)[i] for x in whole)) for i in (0, 1))
    rough = float(roughness(act, jnp.asarray(every)))
    moved = float(np.abs(image / every - 1).max())
    chi = init.sigma_w**2 * m.growth
    memory = float(1 / np.maximum(np.abs(1 - chi), 1e-12).min())
    return Layer((one, two), rough, moved, memory, plan(act, float(every[-1])))


def _columns(side: Side, where: slice, axis: int) -> Side:
    shape = (-1, 1) if axis == 0 else (1, -1)
    return Side(*(x[where].reshape(shape) for x in side))


@partial(jax.jit, static_argnums=1)
def _advance(
    of: Spread,
    parity: int,
    rough: Array,
    one: Side,
    two: Side,
    found: tuple[Any, ...],
    pairs: Pairs,
) -> Pairs:
    values, errors = found
    near = values[0] + bias_gap(of, one, two)
    return advance(of, parity, rough, one, two, Duals(near, errors[0], values[1], errors[1]), pairs)


def _weights(of: Spread, side: Side) -> Array:
    return jnp.sqrt(of.w2 / side.image)


@partial(jax.jit, static_argnums=1)
def _by_table(
    of: Spread, parity: int, rough: Array, known: table.DualTable, one: Side, two: Side,
    pairs: Pairs, count: Array,
) -> Pairs:  # fmt: skip
    """`count` layers at one variance; how far the sides are from it is in the error."""
    w1, w2 = _weights(of, one), _weights(of, two)
    off = jnp.abs(one.q / known.q - 1) + jnp.abs(two.q / known.q - 1)
    square = (one.image - of.b2) / of.w2
    scale = geometric_mean(one.slope, two.slope)

    def layer(_: Array, pairs: Pairs) -> Pairs:
        _, delta, eta = acute(parity, pairs)
        apart, slope = table.look_up(known, parity != 0, delta, eta)
        gap = w1 * w2 * apart + (w1 - w2) ** 2 * square / 2
        error = w1 * w2 * known.q * (known.error * delta + scale * off**2) + (4e-15 + off) * gap
        # At angle 0 the moments say it, also where the table ends before the last angles.
        slope = jnp.where(delta == 0, scale, slope)
        of_table = jnp.where(delta == 0, ROUNDING * scale, known.error)
        slope_error = jnp.broadcast_to(of_table + (1 + rough) * scale * off, gap.shape)
        found = jnp.stack([gap, slope]), jnp.stack([error, slope_error])
        return _advance(of, parity, rough, one, two, found, pairs)

    return lax.fori_loop(0, count, layer, pairs)


@partial(jax.jit, static_argnums=(0, 1))
def _series(
    parity: int, orders: Orders, of: Spread, one: Side, two: Side,
    expansions: tuple[Expansion, Expansion], pairs: Pairs,
) -> tuple[Array, Array, Array, Array, Array]:  # fmt: skip
    """Integrals by the series, their errors, the pairs it does not reach, and the angles asked."""
    _, delta, eta = acute(parity, pairs)
    rows = (
        series.Rows(side.q, _weights(of, side), e)
        for side, e in zip((one, two), expansions, strict=True)
    )
    values, errors = series.by_series(orders, *rows, delta, eta)
    near = values[0] + bias_gap(of, one, two)
    left = errors[1] > RESOLVED * geometric_mean(one.slope, two.slope)
    left = left | (errors[0] > GAP_RESOLVED * near + 1e-30)
    return values, errors, left, delta, eta


def _expansions(
    act: Activation, layer: Layer, pairs: Pairs, same: bool
) -> tuple[Orders, Expansion]:
    """As many terms as leave few pairs, for all rows and columns."""
    q = layer.sides[0].q if same else layer.q
    least = np.minimum(pairs.delta, pairs.eta)
    rate = -np.log1p(-np.minimum(least, 1 - 1e-16))[least > 0]
    scale = max(float(np.median(np.concatenate([s.slope for s in layer.sides]))), 1e-300)
    largest = np.sort(q)[-8:]  # they tell at once where the terms are too few
    for terms in TERMS:
        for some in (largest, q):
            orders, found = expand(act, layer.panels, terms, some)
            lost = max(float(np.max(found.tail)) / scale, 1e-300)
            left = np.mean(terms * rate < np.log(lost / RESOLVED)) if rate.size else 0.0
            if left > FEW and terms < TERMS[-1]:
                break
        else:
            break
    seconds = left * least.size / (1 + same) * PAIR_SECONDS / (os.cpu_count() or 1)
    if seconds > PATIENCE:
        warnings.warn(
            f"The limit kernel of {act.name!r} takes about {seconds / 60:.0f} minutes a layer: "
            f"{left * least.size:.0f} pairs of inputs of different norms are so close in angle "
            f"that they are integrated one by one. Inputs of one norm take seconds.",
            stacklevel=2,
        )
    return orders, found


def _directly(
    act: Activation, of: Spread, one: Side, two: Side, found: tuple[Any, ...]
) -> tuple[Any, ...]:
    """Replace what the series leaves by integrals in two variables."""
    i, j = np.nonzero(np.asarray(found[2]))
    if i.size == 0:
        return found[:2]
    values, errors, _, delta, eta = (np.array(x) for x in found)
    w1, w2 = (np.sqrt(np.asarray(of.w2) / side.image).ravel() for side in (one, two))
    triples = Triples(one.q.ravel()[i], two.q.ravel()[j], delta[i, j], eta[i, j], w1[i], w2[j])
    estimates = integrate_all(act, "layer", triples)
    values[:, i, j], errors[:, i, j] = estimates.value, estimates.error
    return values, errors


def _by_series(init: Init, layer: Layer, tiles: Tiles, pairs: Pairs, same: bool) -> None:
    act, of = init.activation, spread_of(init)
    parity, rough = layer.panels.parity, jnp.asarray(layer.rough)
    orders, known = _expansions(act, layer, pairs, same)
    offset = 0 if same else layer.sides[0].q.size

    def job(where: tuple[slice, slice], tile: Pairs) -> Pairs:
        one, two = (
            _columns(side, w, k) for k, (side, w) in enumerate(zip(layer.sides, where, strict=True))
        )
        rows, columns = where[0], slice(where[1].start + offset, where[1].stop + offset)
        expansions = (
            jax.tree.map(lambda x: x[..., rows, None], known),
            jax.tree.map(lambda x: x[..., None, columns], known),
        )
        found = _series(parity, orders, of, one, two, expansions, tile)
        return _advance(of, parity, rough, one, two, _directly(act, of, one, two, found), tile)

    over_tiles(tiles, pairs, job)


def spread_of(init: Init) -> Spread:
    """σ_w² and σ_b² as arrays."""
    return Spread(*(jnp.asarray(s * s, jnp.float64) for s in (init.sigma_w, init.sigma_b)))


def _runs(
    init: Init, sides: list[np.ndarray], depth: int, tolerance: float
) -> Iterator[tuple[Layer, int]]:
    """Yield the layers from the second on, and how many in turn are alike: all, once at rest."""
    done, rest = 1, 0
    while done < depth:
        layer = _layer(init, sides)
        rest = rest + 1 if layer.moved <= SAME and np.ptp(layer.q) <= tolerance * layer.q[0] else 0
        count = depth - done if rest > 2 else 1
        yield layer, count
        sides, done = layer.images(), done + count


def by_quadrature(
    init: Init, sides: list[np.ndarray], tiles: Tiles, pairs: Pairs, *, depth: int,
    tolerance: float, same: bool,
) -> list[np.ndarray]:  # fmt: skip
    """Advance `pairs`, NumPy, from the first layer to layer `depth`, in place.

    Returns:
        `sides` of that layer.

    Args:
        init: σ_w, σ_b and φ.
        sides: Variances of the first and second inputs, then their relative errors, padded.
        tiles: Of the pairs.
        pairs: After one layer; afterwards, after `depth`.
        depth: l.
        tolerance: Variances this close, relatively, share a table.
        same: Whether the second inputs are the first.
    """
    known = None
    for layer, count in _runs(init, sides, depth, tolerance):
        sides = layer.images()
        middle = float(np.mean(layer.q))
        if np.ptp(layer.q) > tolerance * middle:
            _by_series(init, layer, tiles, pairs, same)
            continue
        if known is None or count > 1 or abs(float(known.q) - middle) > SAME * middle:
            known = table.build(init.activation, layer.panels, middle, count)
        over_tiles(tiles, pairs, _table_job(init, layer, known, count))
    return sides


def _table_job(init: Init, layer: Layer, known: table.DualTable, count: int) -> Job:
    of, rough = spread_of(init), jnp.asarray(layer.rough)
    drift = min(count - 1.0, layer.memory) * layer.moved
    sides = [s._replace(error=s.error + drift) for s in layer.sides]

    def job(where: tuple[slice, slice], tile: Pairs) -> Pairs:
        one, two = (_columns(s, w, k) for k, (s, w) in enumerate(zip(sides, where, strict=True)))
        parity = layer.panels.parity
        return _by_table(of, parity, rough, known, one, two, tile, jnp.asarray(count))

    return job
