"""φ at many variances in Hermite polynomials: what `gaussian.series` adds up of a pair.

a_k(q) = E[φ(√q z) h_k(z)], h_k the orthonormal Hermite polynomials. On panels of z each h_k is a
sum of Legendre polynomials, so that all a_k come from few moments of φ' on them.
"""

import math
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float
from numpy.polynomial.legendre import leggauss, legvander

from ntk_eoc.activations import Activation
from ntk_eoc.gaussian.panels import Panels
from ntk_eoc.gaussian.rules import ROUNDING, nodes_between
from ntk_eoc.precision import on_all_cores

BLOCK = 16  # terms of one step of the sum over k
TERMS = (128, 512, 2048)  # tried in turn
_PHASE = 10.0  # √K times the length of a panel
_MOMENTS = 26  # Legendre coefficients that carry h_k on it to rounding
_FINE, _COARSE = 24, 20  # nodes a piece of a panel
_RULES = np.concatenate([leggauss(n) for n in (_FINE, _COARSE)], 1)  # one after the other
_ROWS = 8  # variances expanded at once
_BREAKS = 8  # their number is a multiple of it
NOTHING = 1e-12  # coefficient of φ' below which there is none, relative to the root of E[φ'²]


class Orders(NamedTuple):
    """Which coefficients beside a_0 and a_1 there are: k = base + stride (j + 1), j = 0, 1, …

    Of an even φ, base 0 and stride 2; of an odd one, base 1 and stride 2; else 1 and 1. What is
    added to it of a_0 + a_1 s changes nothing: gelu, silu and softplus are s/2 and an even rest.
    """

    base: int
    stride: int

    def of(self, count: int) -> np.ndarray:
        """Return the first `count` of them."""
        return self.base + self.stride * np.arange(1, count + 1)


class Expansion(NamedTuple):
    """φ at n variances, JAX or NumPy.

    Attributes:
        values: a_k = √(q/k) b_{k−1} = E[φ(√q z) h_k(z)] of the orders; BLOCK j of them.
        linear: a_1.
        mean: a_0.
        square: E[φ(√q z)²].
        slope: E[φ'(√q z)²].
        rest: `square` less the squares of all of these.
        tail: T.
        error: √Σ of the squared differences of two rules for b_k.
    """

    values: Float[Any, "k *n"]
    linear: Float[Any, "*n"]
    mean: Float[Any, "*n"]
    square: Float[Any, "*n"]
    slope: Float[Any, "*n"]
    rest: Float[Any, "*n"]
    tail: Float[Any, "*n"]
    error: Float[Any, "*n"]


@cache
def _hermite(terms: int, span: float) -> tuple[np.ndarray, np.ndarray]:
    """Edges of equal panels on |z| <= span, 0 among them, and the Legendre coefficients
    [terms, panels, MOMENTS] of h_0 … h_{terms−1} on them.
    """
    count = 2 * math.ceil(span * math.sqrt(terms) / _PHASE)
    edges = np.linspace(-span, span, count + 1)
    x, w = leggauss(2 * _MOMENTS)
    degrees = np.arange(_MOMENTS)
    to = legvander(x, _MOMENTS - 1) * w[:, None] * (degrees + 0.5)
    z = edges[:-1, None] + np.diff(edges)[:, None] * (x + 1) / 2
    found = np.empty((terms, count, _MOMENTS))
    before, now = np.zeros_like(z), np.ones_like(z)
    for k in range(terms):
        found[k] = now @ to
        before, now = now, (z * now - math.sqrt(k) * before) / math.sqrt(k + 1)
    return edges, found


def _pieces(
    breaks: Float[Array, "b"], edges: np.ndarray, root: Float[Array, "r"]
) -> tuple[Array, Array, Array]:
    """Cut the panels that a break √q z lies in: their numbers and the ends of the pieces, [2b, r].

    To the left of each break, and to the right of the last one in its panel; else of no length.
    """
    cuts = jnp.clip(breaks[:, None] / root[None], edges[0], edges[-1])
    where = jnp.searchsorted(jnp.asarray(edges[1:-1]), cuts, side="right")
    low, high = jnp.asarray(edges)[where], jnp.asarray(edges)[where + 1]
    beyond = np.full((1, root.size), np.inf)
    before = jnp.maximum(low, jnp.concatenate([-beyond, cuts[:-1]]))
    last = jnp.concatenate([cuts[1:], beyond]) >= high
    inside = (cuts > low) & (cuts < high)
    starts = jnp.concatenate([jnp.where(inside, before, cuts), cuts])
    ends = jnp.concatenate([cuts, jnp.where(inside & last, high, cuts)])
    return jnp.concatenate([where, where]), starts, ends


def _moments(
    act: Activation, breaks: Float[Array, "b"], edges: np.ndarray, q: Float[Array, "r"]
) -> tuple[Array, Array, Array]:
    """Legendre moments [panels · MOMENTS, r] of φ'(√q z) against the weight, by how much a coarser
    rule differs, and [3, r]: of φ the mean, and the mean squares of φ and of φ'.

    The nodes of a whole panel are the same for every row: a product with a fixed matrix.
    """
    root, rows, count = jnp.sqrt(q)[None, None], np.arange(q.size)[None], len(edges) - 1
    where, starts, ends = _pieces(breaks, edges, root[0, 0])
    real = ends > starts
    cut = jnp.asarray(np.zeros((count, q.size), bool)).at[where, rows].max(real)
    whole = (y[..., None] for y in nodes_between(edges[:-1], edges[1:], *_RULES))
    z, weight = (
        jnp.concatenate([jnp.broadcast_to(y, (*y.shape[:2], q.size)), of_pieces])
        for y, of_pieces in zip(whole, nodes_between(starts, ends, *_RULES), strict=True)
    )
    weight = jnp.where(jnp.concatenate([~cut, real])[:, None], weight, 0)
    # φ and φ' of all nodes at once: to compile them is most of a first call.
    slope, value = act.prime(root * z), act(root * z[:, :_FINE])
    terms, w = weight * slope, weight[:, :_FINE]
    means = (w * value, w * value * value, terms[:, :_FINE] * slope[:, :_FINE])
    fine, coarse = (
        jnp.einsum("nm,pnr->pmr", legvander(leggauss(n)[0], _MOMENTS - 1), y, precision="highest")
        for n, y in ((_FINE, terms[:count, :_FINE]), (_COARSE, terms[:count, _FINE:]))
    )
    z, terms = z[count:], terms[count:]
    low, length = jnp.asarray(edges)[where][:, None], edges[1] - edges[0]
    x = 2 * (z - low) / length - 1

    def degree(carry: tuple[Array, Array], m: Array) -> tuple[tuple[Array, Array], Array]:
        before, now = carry
        of_fine = jnp.sum(terms[:, :_FINE] * now[:, :_FINE], 1)
        sums = jnp.stack([of_fine, of_fine - jnp.sum(terms[:, _FINE:] * now[:, _FINE:], 1)])
        return (now, ((2 * m + 1) * x * now - m * before) / (m + 1)), sums

    start = (jnp.zeros_like(x), jnp.ones_like(x))
    sums = lax.scan(degree, start, jnp.arange(_MOMENTS, dtype=x.dtype))[1]
    total = jnp.stack([fine, fine - coarse], -1).transpose(0, 2, 1, 3)
    total = total.at[where, rows].add(sums.transpose(2, 3, 0, 1))
    found = total.transpose(3, 0, 2, 1).reshape(2, -1, q.size)
    return found[0], found[1], jnp.stack([jnp.sum(y, (0, 1)) for y in means])


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _expand(
    act: Activation, parity: int, span: float, terms: int,
    breaks: Float[Array, "b"], q: Float[Array, "r"],
) -> Expansion:  # fmt: skip
    edges, hermite = _hermite(terms + 1, span)
    if parity:  # every integrand is even
        edges, hermite = edges[len(edges) // 2 :], 2 * hermite[:, len(edges) // 2 :]
    orders = _orders(parity)
    each = orders.of(terms // orders.stride)
    basis = jnp.asarray(hermite[np.append(0, each - 1)].reshape(len(each) + 1, -1))
    fine, difference, means = _moments(act, breaks, edges, q)
    mean, square, slope = means * (2 if parity else 1)
    mean = mean * (parity != -1)
    both = jnp.concatenate([fine, difference], 1)
    values, off = jnp.split(jnp.matmul(basis, both, precision=lax.Precision.HIGHEST), 2, 1)
    linear, values = values[0] * (parity != 1), values[1:]
    # Of coefficients that fall off, the last ones hold more than all that follow.
    ends = jnp.sum(values[-len(values) // 12 :] ** 2, 0)
    tail = jnp.maximum(slope - linear**2 - jnp.sum(values**2, 0), ends)
    order = jnp.asarray(each, q.dtype)[:, None]
    rest = square - mean**2 - q * (linear**2 + jnp.sum(values**2 / order, 0))
    # Coefficients down at rounding tell a tail far below that of a difference.
    last = jnp.max(jnp.abs(values[-len(values) // 4 :]), 0)
    done = last <= 1e-13 * jnp.sqrt(slope)
    tail = jnp.where(done, terms * last**2, jnp.maximum(tail, ROUNDING * slope))
    rest = jnp.where(done, 0.0, jnp.maximum(rest, 0.0))
    values, error = values * jnp.sqrt(q[None] / order), jnp.sqrt(jnp.sum(off**2, 0))
    return Expansion(values, linear * jnp.sqrt(q), mean, square, slope, rest, tail, error)


def expand(
    act: Activation, panels: Panels, terms: int, q: Float[np.ndarray, "n"]
) -> tuple[Orders, Expansion]:
    """Return the coefficients of φ up to order `terms` at variances q; all of it NumPy."""
    padded = np.pad(q, (0, -q.size % _ROWS), mode="edge").reshape(-1, _ROWS)
    # As data, so that one program serves the variances of many layers.
    breaks = np.array([b for b in panels.breaks if b > 0 or not panels.parity])
    breaks = np.pad(breaks, (0, -breaks.size % _BREAKS), constant_values=np.inf)
    job = partial(_expand, act, panels.parity, panels.span, terms, breaks)
    found = on_all_cores(job, list(padded))
    whole = Expansion(*(np.concatenate(x, -1)[..., : q.size] for x in zip(*found, strict=True)))
    return _every_second(q, whole) if panels.parity == 0 else (_orders(panels.parity), whole)


def _orders(parity: int) -> Orders:
    return {0: Orders(1, 1), 1: Orders(0, 2), -1: Orders(1, 2)}[parity]


def _every_second(q: Float[np.ndarray, "n"], whole: Expansion) -> tuple[Orders, Expansion]:
    """Leave out the even or the odd orders where none is above rounding, of errors of 1e-24."""
    order = _orders(0).of(len(whole.values))[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):  # without a slope all orders stay
        sizes = np.max(np.abs(whole.values) * np.sqrt(order / (q * whole.slope)[None]), 1)
    for kept, parity in ((0, 1), (1, -1)):
        if np.all(sizes[1 - kept :: 2] <= NOTHING):
            return _orders(parity), whole._replace(values=whole.values[kept::2])
    return _orders(0), whole
