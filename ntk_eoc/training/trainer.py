"""Training by optax, one compiled loop, observed on a grid of steps.

Everything is pure in the parameters and the key: `jax.vmap` of `train` trains many seeds at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Float, Int, Key

from ntk_eoc.checks import require, require_count
from ntk_eoc.training.linearised import Function

Loss = Callable[[Array, Array], Array]
Observe = Callable[[Any], Any]

BLOW_UP = 1e6
"""Training has diverged when the loss is this many times its scale at the start."""


def squared_error(outputs: Float[Array, "n k"], y: Float[Array, "n k"]) -> Float[Array, ""]:
    """Return ½ Σ‖f − y‖²/n, the loss of `docs/theory.md` §7."""
    return ((outputs - y) ** 2).sum() / (2 * len(y))


def cross_entropy(outputs: Float[Array, "n k"], y: Float[Array, "n k"]) -> Float[Array, ""]:
    """Return the mean of −Σ_c y_c log softmax(f)_c; rows of y are probabilities."""
    return optax.softmax_cross_entropy(outputs, y).mean()


def log_marks(steps: int, count: int) -> Int[np.ndarray, "t"]:
    """Return 0 and about `count` numbers of steps up to `steps`, evenly on a logarithmic scale."""
    steps, count = require_count("steps", steps), require_count("count", count)
    return np.unique(np.concatenate([[0], np.geomspace(1, steps, count).round()])).astype(np.int32)


@dataclass(frozen=True, eq=False)
class Problem:
    """What is trained, on what, and how.

    Attributes:
        f: Pure function (params, x [d]) or (params, x [n, d]) -> outputs, k last.
        x: Training inputs.
        y: Targets.
        loss: From (outputs, targets) [n, k] to a scalar.
        optimiser: Any of optax; `optax.sgd(η, μ)` is what `descent` predicts.
        batch: Points a step, drawn without replacement in each epoch, a remainder left out; None
            for all of them.

    Raises:
        ValueError: If y does not match x, or the batch is larger than n.
    """

    f: Function
    x: Float[Array, "n d"]
    y: Float[Array, "..."]
    loss: Loss
    optimiser: optax.GradientTransformation
    batch: int | None = None

    def __post_init__(self) -> None:
        n, shape = len(self.x), tuple(self.y.shape)
        fits = len(shape) == 2 and shape[0] == n
        require(fits, "y", f"of shape ({n}, k), a row for every row of `x`", shape)
        if self.batch is not None:
            batch = require_count("batch", self.batch)
            require(batch <= n, "batch", f"<= {n}, the number of points", batch)


class State(NamedTuple):
    """Training under way.

    Attributes:
        params: θ_t; kept as they were at a step that diverged.
        optimiser: Its state.
        order: The present epoch's order of the points.
        scale: |loss| at the start plus |loss| of outputs 0: a blow-up is relative to it.
        diverged_at: Step at which the loss was not finite or `BLOW_UP` times the scale; −1 if none.
        record: Last observation before that.
    """

    params: Any
    optimiser: Any
    order: Int[Array, "n"]
    scale: Float[Array, ""]
    diverged_at: Int[Array, ""]
    record: Any


def begin(problem: Problem, params: Any, observe: Observe) -> State:
    """Return the state before the first step."""
    outputs = problem.f(params, problem.x)
    return State(
        params=params,
        optimiser=problem.optimiser.init(params),
        order=jnp.arange(len(problem.x), dtype=jnp.int32),
        scale=abs(problem.loss(outputs, problem.y))
        + abs(problem.loss(jnp.zeros_like(outputs), problem.y)),
        diverged_at=jnp.asarray(-1, jnp.int32),
        record=observe(params),
    )


def _rows(problem: Problem, key: Array, step: Array, order: Array) -> tuple[Array, Array, Array]:
    """The step's points, and the order of the epoch it is in."""
    if problem.batch is None:
        return problem.x, problem.y, order
    size = problem.batch
    place = step % (len(problem.x) // size)
    order = lax.cond(
        place == 0,
        lambda: jax.random.permutation(jax.random.fold_in(key, step), order),
        lambda: order,
    )
    rows = lax.dynamic_slice(order, (place * size,), (size,))
    return problem.x[rows], problem.y[rows], order


def _step(problem: Problem, key: Array, step: Array, state: State) -> State:
    x, y, order = _rows(problem, key, step, state.order)

    def objective(params: Any) -> Array:
        return problem.loss(problem.f(params, x), y)

    value, slope = jax.value_and_grad(objective)(state.params)
    # Line searches, such as that of `optax.lbfgs`, ask for the objective too.
    updates, optimiser = optax.with_extra_args_support(problem.optimiser).update(
        slope, state.optimiser, state.params, value=value, grad=slope, value_fn=objective
    )
    alive = (state.diverged_at < 0) & (value <= BLOW_UP * state.scale)  # false for NaN
    updates = jax.tree.map(lambda u: jnp.where(alive, u, jnp.zeros_like(u)), updates)
    return state._replace(
        params=optax.apply_updates(state.params, updates),
        optimiser=_choose(alive, optimiser, state.optimiser),
        order=order,
        diverged_at=jnp.where(alive | (state.diverged_at >= 0), state.diverged_at, step),
    )


def _choose(condition: Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


def _finite(tree: Any) -> Array:
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()


def advance(
    problem: Problem, observe: Observe, key: Key[Array, ""], state: State, spans: Int[Array, "t 2"]
) -> tuple[State, Any]:
    """Train from span to span and return the state and an observation at the end of each, [t].

    Once it has diverged the observation is the last one before.

    Args:
        problem: What is trained.
        observe: From params to a tree of arrays.
        key: Of the order of mini-batches; the same for every call of one training.
        state: From `begin` or an earlier call.
        spans: (first step, one past the last) of each stretch; the next begins where one ends.
    """

    def stretch(state: State, span: Array) -> tuple[State, Any]:
        state = lax.fori_loop(span[0], span[1], partial(_step, problem, key), state)
        record = observe(state.params)
        alive, finite = state.diverged_at < 0, _finite(record)
        state = state._replace(
            diverged_at=jnp.where(alive & ~finite, span[1], state.diverged_at),
            record=_choose(alive & finite, record, state.record),
        )
        return state, state.record

    return lax.scan(stretch, state, spans)


def spans_to(marks: Int[np.ndarray, "t"]) -> Int[np.ndarray, "t 2"]:
    """Return the spans between marks, the first from 0.

    Raises:
        ValueError: If the marks are not increasing integers >= 0.
    """
    marks = np.asarray(marks, np.int32)
    rising = marks.size > 0 and marks[0] >= 0 and bool((np.diff(marks) > 0).all())
    require(rising, "marks", "one or more increasing integers >= 0", marks.tolist())
    return np.stack([np.concatenate([[0], marks[:-1]]), marks], axis=1).astype(np.int32)


def train(
    problem: Problem,
    params: Any,
    marks: Int[np.ndarray, "t"],
    key: Key[Array, ""],
    observe: Observe,
) -> tuple[State, Any]:
    """Train up to the last mark; return the final state and the observations at the marks, [t].

    Args:
        problem: What is trained.
        params: θ_0.
        marks: Numbers of steps after which to observe (see `log_marks`).
        key: Of the order of mini-batches.
        observe: From params to a tree of arrays (see `watch`).

    Raises:
        ValueError: If the marks are not increasing integers >= 0.
    """
    spans = jnp.asarray(spans_to(marks))
    return advance(problem, observe, key, begin(problem, params, observe), spans)
