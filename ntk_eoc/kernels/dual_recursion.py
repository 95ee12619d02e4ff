"""The infinite-width limit for any activation, with biases, at any input norms, off the edge too.

The layers are those of `limit_layer`. Their integrals come from closed forms where φ has them; of
concrete inputs, from `quadrature_layers`; of traced ones, whose norms are unknown, from two rules
in two variables, pair by pair.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ntk_eoc.activations import Activation, ClosedForm
from ntk_eoc.eoc import Init
from ntk_eoc.gaussian import ActivationError, Panels
from ntk_eoc.gaussian.evaluate import evaluator
from ntk_eoc.gaussian.panels import parity_of, plan_for_any
from ntk_eoc.gaussian.rules import COARSE_1D, FINE_1D, moments
from ntk_eoc.gaussian.triples import Triples, integrate
from ntk_eoc.kernels.angles import all_angles, scaled
from ntk_eoc.kernels.closed_duals import slope, turn
from ntk_eoc.kernels.limit_layer import (
    Duals,
    Limit,
    Pairs,
    Side,
    Spread,
    acute,
    advance,
    bias_gap,
    roughness,
    smallest,
)
from ntk_eoc.kernels.limit_tiles import TILE, Advance, Tiles, in_tiles, over_tiles
from ntk_eoc.kernels.quadrature_layers import SAME, by_quadrature
from ntk_eoc.precision import geometric_mean, is_traced, require_float64

CLOSED_TILE = 256  # rows and columns of the pairs that go through all layers of a closed form


Rows = tuple[Array, Array]  # variances and their relative errors
LayerOf = Callable[[Rows, Rows, Pairs], tuple[Side, Side, Array, Duals]]


Alive = tuple[Array, Array]  # which inputs are not carried to 0 by every layer, [n1] and [n2]


@jax.jit
def _start(x1: Array, x2: Array, moved: Array) -> tuple[Limit, Alive]:
    """The first layer; `moved`: whether a next one moves 0."""
    delta, eta, size = all_angles(x1, x2)
    (q1, error1), (q2, error2) = (_variances(x) for x in (x1, x2))
    least = lax.stop_gradient(jnp.minimum(delta, eta))
    kernel = size * jnp.where(delta <= eta, 1 - delta, eta - 1)
    rounding = 4 * float(jnp.finfo(delta.dtype).eps)
    error = rounding * lax.stop_gradient(geometric_mean(q1[:, None], q2[None, :]))
    pairs = Pairs(delta, eta, rounding * least, kernel, error)
    # Inputs that stay 0 have a variance that occurs: what comes of it is not used.
    largest = lax.stop_gradient(jnp.maximum(jnp.max(q1), jnp.max(q2)))
    one, two = ((x != 0).any(1) | moved for x in (x1, x2))
    q1, q2 = jnp.where(one, q1, largest), jnp.where(two, q2, largest)
    return Limit(q1, q2, error1, error2, pairs), (one, two)


def _moves(init: Init) -> Array:
    """Whether a layer moves the input 0."""
    leaves = bool(evaluator(init.activation)(np.zeros(1))[0][0] != 0)
    return leaves | (jnp.asarray(init.sigma_b) != 0)


def _variances(x: Array) -> Rows:
    """‖x‖²/d, and by how much, relatively, it may be off: wholly where it underflows."""
    rows = jax.vmap(scaled)(x)
    square = rows.square / x.shape[1] * rows.scale * rows.scale
    tiny = 4 * float(jnp.finfo(x.dtype).tiny)
    lost = (square < tiny) & (x != 0).any(1)
    rounding = jnp.asarray(4 * float(jnp.finfo(x.dtype).eps), x.dtype)
    return jnp.maximum(square, tiny), jnp.where(lost, 1.0, rounding).astype(x.dtype)


@jax.jit
def _zeros_again(limit: Limit, alive: Alive) -> Limit:
    one, two = alive
    both = one[:, None] & two[None, :]
    pairs = Pairs(*(jnp.where(both, x, 0) for x in limit.pairs))
    q1, q2, error1, error2 = (
        jnp.where(a, x, 0) for a, x in zip((one, two) * 2, limit[:4], strict=True)
    )
    return Limit(q1, q2, error1, error2, pairs._replace(eta=jnp.where(both, pairs.eta, 2)))


def _side(of: Spread, rows: Rows, moments: tuple[Array, ...], own: Array | float) -> Side:
    """One side of the pairs, by E[φ²], E[φ'²], ∂E[φ²]/∂q and the relative error of the first."""
    (q, error), (square, slope, growth) = rows, moments
    image = of.w2 * square + of.b2
    image = jnp.where(image >= smallest(image.dtype), image, jnp.nan)
    carried = jnp.abs(of.w2 * growth * q / image) * error
    return Side(q, image, slope, error, lax.stop_gradient(own + carried))


def _parallel(act: Activation, init: Init, one: Side, two: Side, eps: float) -> tuple[Array, Array]:
    """What a layer makes of angle 0, see `Activation.parallel`, and how far it is off.

    Of variances that are nearly one the difference of duals is all rounding, above its bound.
    """
    w2, b2 = init.sigma_w**2, init.sigma_b**2
    start = act.parallel(w2, b2, one.q, two.q)
    if act.second_moment is not None:  # without a difference
        return start, 0 * start
    apart = (jnp.sqrt(one.q) - jnp.sqrt(two.q)) ** 2
    most = w2 * jnp.maximum(one.slope, two.slope) * apart
    rounding = 2 * eps * (one.image + two.image)
    off = jnp.where(most < rounding, start, 0.0)  # the derivatives are right
    return start - lax.stop_gradient(off), lax.stop_gradient(jnp.minimum(most, rounding))


def _by_closed_form(form: ClosedForm, init: Init, of: Spread, parity: int) -> LayerOf:
    """One layer by closed forms, right to some roundings of the scale."""
    act = init.activation

    def side(rows: Rows, eps: float) -> Side:
        q = rows[0]
        square, growth = jax.jvp(lambda q: form.dual(q, q, 0 * q), (q,), (jnp.ones_like(q),))
        return _side(of, rows, (square, form.dual_prime(q, q, 0 * q), growth), 4 * eps + 0 * q)

    def layer(rows: Rows, columns: Rows, pairs: Pairs) -> tuple[Side, Side, Array, Duals]:
        eps = float(jnp.finfo(pairs.delta.dtype).eps)
        one, two = side(rows, eps), side(columns, eps)
        q1, q2 = (jnp.broadcast_to(q, pairs.delta.shape) for q in (one.q, two.q))
        root = geometric_mean(one.image, two.image)
        _, delta, eta = acute(parity, pairs)
        start, start_error = _parallel(act, init, one, two, eps)
        turned = turn(form, q1, q2, delta, eta)
        near = (start + of.w2 * turned) / root
        gap = (jnp.sqrt(one.image) - jnp.sqrt(two.image)) ** 2 / 2 / root
        # Of variances so far apart the difference of squares is all rounding.
        directly = 1 - (of.w2 * form.dual(q1, q2, delta) + of.b2) / root
        near = jnp.where((gap > 1) & (act.second_moment is None), directly, near)
        near_error = 8 * eps * (jnp.abs(near) + jnp.minimum(gap, 1.0))
        near_error = near_error + jnp.where(gap < 0.5, start_error / root, 0)
        near_error = near_error + float(jnp.finfo(root.dtype).tiny) / root
        scale = geometric_mean(one.slope, two.slope)
        found, off = slope(form, q1, q2, delta, eta)
        rough = roughness(act, jnp.concatenate([one.q.ravel(), two.q.ravel()]))
        return one, two, rough, Duals(near, near_error, found, (8 * eps + rough * off) * scale)

    return layer


def _by_two_rules(panels: Panels, init: Init, of: Spread, parity: int) -> LayerOf:
    """One layer by quadrature of every pair on panels planned beforehand."""
    act = init.activation

    def side(rows: Rows) -> Side:
        fine, coarse = (
            jax.vmap(partial(moments, act, act.prime, panels, n))(rows[0].ravel())
            for n in (FINE_1D, COARSE_1D)
        )
        off = jnp.abs(fine[0] - coarse[0]) / (fine[0] + of.b2 / of.w2)
        shape = rows[0].shape
        found = tuple(x.reshape(shape) for x in fine)
        return _side(of, rows, found, 4e-16 + off.reshape(shape))

    def layer(rows: Rows, columns: Rows, pairs: Pairs) -> tuple[Side, Side, Array, Duals]:
        one, two = side(rows), side(columns)
        _, delta, eta = acute(parity, pairs)
        triple = (one.q, two.q, delta, eta, *(jnp.sqrt(of.w2 / s.image) for s in (one, two)))
        flat = (jnp.broadcast_to(x, delta.shape).ravel() for x in triple)
        found = integrate(act, "layer", panels, Triples(*flat))
        value, error = (x.reshape(2, *delta.shape) for x in found[:2])
        rough = roughness(act, jnp.concatenate([one.q.ravel(), two.q.ravel()]))
        near = value[0] + bias_gap(of, one, two)
        return one, two, rough, Duals(near, error[0], value[1], error[1])

    return layer


def _repeat(of: Spread, parity: int, layer: LayerOf, start: Limit, count: int | Array) -> Limit:
    """`count` layers: differentiable if it is static, compiled once for all counts if it is not."""

    def step(limit: Limit) -> Limit:
        q1, q2, error1, error2, pairs = limit
        one, two, rough, duals = layer(
            (q1[:, None], error1[:, None]), (q2[None], error2[None]), pairs
        )
        pairs = advance(of, parity, rough, one, two, duals, pairs)
        image1, image2 = one.image.ravel(), two.image.ravel()
        return Limit(image1, image2, one.image_error.ravel(), two.image_error.ravel(), pairs)

    if isinstance(count, int):
        return lax.scan(lambda limit, _: (step(limit), None), start, None, length=count)[0]
    return lax.fori_loop(0, count, lambda _, limit: step(limit), start)


class _Rule(NamedTuple):
    """How a layer's integrals are found; equal ones share their programs.

    Attributes:
        layer: (known, init, of, parity) -> the layer.
        known: What it needs to know of φ.
        parity: Of φ.
    """

    layer: Callable[[Any, Init, Spread, int], LayerOf]
    known: ClosedForm | Panels
    parity: int


def _in_one_program(init: Init, rule: _Rule, start: Limit, count: int | Array) -> Limit:
    """Any number of layers, of concrete or traced inputs."""
    dtype = start.q1.dtype
    of = Spread(*(jnp.asarray(s * s, dtype) for s in (init.sigma_w, init.sigma_b)))
    layer = rule.layer(rule.known, init, of, rule.parity)
    return _repeat(of, rule.parity, layer, start, count)


_static = jax.jit(_in_one_program, static_argnames=("rule", "count"))
_dynamic = jax.jit(_in_one_program, static_argnames="rule")


def _closed_advance(init: Init, rule: _Rule, count: int) -> Advance:
    """All layers of one tile after another: they stay in the cache."""

    def advance(sides: list[np.ndarray], tiles: Tiles, pairs: Pairs) -> list[np.ndarray]:
        last = [np.empty_like(x) for x in sides]

        def job(where: tuple[slice, slice], tile: Pairs) -> Pairs:
            mine: list[Any] = [x[where[k % 2]] for k, x in enumerate(sides)]
            q1, q2, error1, error2 = mine
            start = Limit(q1, q2, error1, error2, tile)
            *found, pairs = _dynamic(init, rule, start, jnp.asarray(count))
            for k, x in enumerate(found):
                last[k][where[k % 2]] = x
            return pairs

        over_tiles(tiles, pairs, job)
        return last

    return advance


def _refuse_steps(act: Activation, panels: Panels) -> None:
    if panels.steps:
        where = ", ".join(f"{c:.6g}" for c in panels.steps)
        raise ActivationError(
            f"activation {act.name!r} must be continuous to have a tangent kernel, but it jumps at "
            f"s = {where}: there its slope is infinite. Smooth the jump."
        )


def dual_recursion(
    init: Init, x1: Float[Array, "n1 d"], x2: Float[Array, "n2 d"], depth: int
) -> Limit:
    """Return what all pairs are after `depth` layers: variances, angles, limit kernel, errors.

    Differentiable under a trace.

    Raises:
        ActivationError: If φ cannot be integrated; the message says why and what to do.
        RuntimeError: If x64 is off and φ has no closed form.
    """
    act, same = init.activation, x1 is x2
    if act.closed_form is not None:
        start, alive = _start(x1, x2, _moves(init))
        rule = _Rule(_by_closed_form, act.closed_form, parity_of(act))
        if is_traced(*start.pairs, init.sigma_w, init.sigma_b):
            return _zeros_again(_static(init, rule, start, depth - 1), alive)
        if jax.default_backend() != "cpu":
            return _zeros_again(_dynamic(init, rule, start, jnp.asarray(depth - 1)), alive)
        advance = _closed_advance(init, rule, depth - 1)
        return _with_zeros(in_tiles(start, same, CLOSED_TILE, advance), alive)
    require_float64()
    tolerance = SAME if x1.dtype == jnp.float64 else 16 * float(jnp.finfo(x1.dtype).eps)
    panels = plan_for_any(act)
    _refuse_steps(act, panels)
    start, alive = _start(x1.astype(jnp.float64), x2.astype(jnp.float64), _moves(init))
    if is_traced(*start.pairs, init.sigma_w, init.sigma_b):
        rule = _Rule(_by_two_rules, panels, panels.parity)
        return _zeros_again(_static(init, rule, start, depth - 1), alive)
    advance = partial(by_quadrature, init, depth=depth, tolerance=tolerance, same=same)
    return _with_zeros(in_tiles(start, same, TILE, advance), alive)


def _with_zeros(limit: Limit, alive: Alive) -> Limit:
    """The same without a copy where no input is carried to 0."""
    return limit if all(bool(a.all()) for a in alive) else _zeros_again(limit, alive)


def covariance(limit: Limit) -> tuple[Float[Array, "n1 n2"], Float[Array, "n1 n2"]]:
    """Return Σ_k = √(q₁ q₂) ρ of all pairs, and an estimate of its error."""
    delta, eta = limit.pairs.delta, limit.pairs.eta
    rho = jnp.where(delta <= eta, 1 - delta, eta - 1)
    root = geometric_mean(limit.q1[:, None], limit.q2[None, :])
    errors = limit.error1[:, None] + limit.error2[None, :]
    return root * rho, lax.stop_gradient(root * (limit.pairs.spread + errors))
