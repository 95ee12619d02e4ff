"""What the experiments on trained networks share: the problem, its limit, the networks' runs."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import _cells
import jax
import jax.numpy as jnp
import numpy as np
import optax
from _cells import Schedule, init_of, inputs, point_of
from pydantic import Field, model_validator

import ntk_eoc as ne
from ntk_eoc import data
from ntk_eoc.report import curves
from ntk_eoc.sweeps.batches import map_batched
from ntk_eoc.sweeps.records import Records
from ntk_eoc.training.modes import Modes, Rule, check_rate, descent, eigenmodes, largest_stable_step
from ntk_eoc.training.predictions import predict_test, predict_train
from ntk_eoc.training.trainer import Problem, log_marks, squared_error, train
from ntk_eoc.training.watch import watch, wrong_sign


class Trained(_cells.Cell):
    """A block of networks trained by full-batch gradient descent.

    `step` is the learning rate in units of the largest stable one of K∞.
    """

    data: str = "digits"
    n: int = Field(ge=2)
    n_test: int = Field(ge=1)
    m: int = Field(ge=1)
    depth: int = Field(ge=2)
    step: float = Field(default=0.5, gt=0)
    steps: int = Field(ge=1)


class Cell(Trained):
    """A block of networks of one shape and one output, trained to labels ±1."""

    schedule: Schedule = "constant"
    marks: int = Field(default=16, ge=2)

    @model_validator(mode="after")
    def _has_labels(self) -> "Cell":
        signs(self)
        return self


def signs(cell: Any) -> tuple[np.ndarray, np.ndarray]:
    """Points, training first, and labels ±1: a digit's parity, or sign(x_1 x_2) on a sphere."""
    x = inputs(cell, cell.n + cell.n_test)
    labels = data.load(cell.data, cell.n + cell.n_test, cell.data_seed).y
    if labels is None:
        y = np.where(x[:, 0] * x[:, 1] > 0, 1.0, -1.0)
    else:
        y = np.where(labels.astype(int) % 2 == 0, 1.0, -1.0)
    if len(set(y[: cell.n])) < 2:
        raise ValueError(f"`data` must hold labels of both signs, got one in {cell.data!r}.")
    return x, y


def cost(cell: Cell) -> float:
    """Multiplications of all steps."""
    sizes = (64, *widths(cell))
    weights = sum(a * b for a, b in itertools.pairwise(sizes))
    return float(max(cell.seeds, 1)) * cell.steps * weights


def widths(cell: Any) -> tuple[int, ...]:
    """(m_1, …, m_l), one output."""
    return ne.widths(cell.schedule, cell.m, cell.depth)


def marks(cell: Any) -> np.ndarray:
    """Steps after which the networks are observed, on a logarithmic grid from 0."""
    return log_marks(cell.steps, cell.marks)


@dataclass(frozen=True)
class Limit:
    """K∞ of a cell's points, float64.

    Attributes:
        kernel: K∞ on all points, training first.
        nngp: Covariance of f_0 on all points.
        modes: Of the training points' matrix.
        rate: The cell's learning rate.
    """

    kernel: np.ndarray
    nngp: np.ndarray
    modes: Modes
    rate: float


@lru_cache(maxsize=8)
def limit(point: Any) -> Limit:
    """The limit of a cell's networks, and its learning rate, with a warning if it is unstable."""
    x, init = jnp.asarray(signs(point)[0]), init_of(point)
    kernel, nngp = (
        np.asarray(of(init, x, x, point.depth), np.float64)
        for of in (ne.ntk_infinite, ne.nngp_infinite)
    )
    modes = eigenmodes(kernel[: point.n, : point.n] / point.n)
    stable = largest_stable_step(modes)
    return Limit(kernel, nngp, modes, check_rate(point.step * stable, stable))


@lru_cache(maxsize=4)
def _one(point: Any) -> Callable[[jax.Array], dict[str, jax.Array]]:
    init, (x, y) = init_of(point), signs(point)
    d, dtype = x.shape[1], jnp.dtype(point.dtype)
    points, labels = jnp.asarray(x, dtype), jnp.asarray(y[:, None], dtype)
    inside, outside = (points[: point.n], labels[: point.n]), (points[point.n :], labels[point.n :])
    f = ne.mlp(init)
    problem = Problem(f, *inside, squared_error, optax.sgd(limit(point).rate))
    steps = marks(point)

    def one(key: jax.Array) -> dict[str, jax.Array]:
        start, order = jax.random.split(key)
        params = ne.draw_params(start, init, d, widths(point), dtype)
        kernel = partial(ne.ntk_layerwise, init, x1=inside[0], x2=inside[0])
        observe = watch(f, params, inside, outside, squared_error, wrong_sign, kernel)
        state, seen = train(problem, params, steps, order, observe)
        return {
            "outputs": jnp.concatenate([seen.train, seen.test], axis=1)[..., 0],
            "distance": seen.distance,
            "drift": seen.drift,
            "diverged_at": state.diverged_at,
            "kernel": ne.ntk_layerwise(init, params, points, points)[:, :, 0, 0],
        }

    return one


def networks(cell: Any) -> dict[str, np.ndarray]:
    """Train the cell's networks: f_t on all points [s, t, n + q], distance and drift [s, t], the
    step of divergence (−1: none) [s], and K(θ_0) on all points [s, n + q, n + q].
    """
    return map_batched(_one(point_of(cell)), cell.seed_keys(), cell.batch)


def predict(
    cell: Any, modes: Modes, kernel: np.ndarray, rule: Rule, start: np.ndarray
) -> np.ndarray:
    """What a kernel on all points says of f_t on all points [t, n + q], from f_0."""
    n, y = cell.n, signs(cell)[1]
    inside = predict_train(modes, rule, y[:n], start[:n])
    outside = predict_test(modes, rule, kernel[n:, :n] / n, y[:n], start[:n], start[n:])
    return np.concatenate([inside, outside], axis=1)


def predictions(cell: Any, found: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """f_t on all points [s, t, n + q] by K∞ and by each network's own K(θ_0), from its own f_0."""
    known, n = limit(point_of(cell)), cell.n
    rule = descent(known.rate, marks(cell))
    infinite, own = [], []
    for outputs, kernel in zip(found["outputs"], found["kernel"], strict=True):
        start = outputs[0].astype(np.float64)
        infinite.append(predict(cell, known.modes, known.kernel, rule, start))
        modes = eigenmodes(kernel[:n, :n] / n)
        own.append(predict(cell, modes, kernel.astype(np.float64), rule, start))
    return np.stack(infinite), np.stack(own)


def losses(cell: Any, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """½ mean (f − y)² on the training and on the test points, over the last axis."""
    squares = (outputs - signs(cell)[1]) ** 2 / 2
    return squares[..., : cell.n].mean(-1), squares[..., cell.n :].mean(-1)


def groups(records: Records, x: str, what: str) -> tuple[list[Any], list[np.ndarray]]:
    """As `curves.groups`, of the networks that did not diverge."""
    return curves.groups(records, x, lambda cells: cells.stack(what)[curves.alive(cells)])


def described(records: Records, what: str, *fields: str) -> str:
    """How many networks a figure shows, for its footnote."""
    count = curves.fewest(records, what, *fields)
    return f"{count} networks a point or more, {curves.lost(records)} diverged"
