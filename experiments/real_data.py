"""How well do the limit, the linearised network and the trained one classify images?

Question: test accuracy, on digits and on MNIST, of ridge-less regression with K∞, of K∞ stopped at
the networks' number of steps, of linearised networks, of networks trained on squared error with
full batches, and of networks trained on cross-entropy with mini-batches. K∞ predicts the mean over
networks, from f_0 = 0, and each network from its own f_0.

Expectation: the linearised network does what K∞ does from its own f_0, up to m^{−1/2}; at this
width the trained one is not far from either. One network is worse than the mean by the spread of
f_0, which training does not take out of test points.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _names import accepted_by
from _trained import init_of
from flax import nnx
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field, model_validator

import ntk_eoc as ne
from ntk_eoc import data
from ntk_eoc.estimates import mean
from ntk_eoc.network import draw_params
from ntk_eoc.report import style
from ntk_eoc.sweeps import config
from ntk_eoc.sweeps.batches import map_batched
from ntk_eoc.sweeps.records import Records
from ntk_eoc.training.linearised import linearise
from ntk_eoc.training.modes import check_rate, descent, eigenmodes, largest_stable_step
from ntk_eoc.training.predictions import predict_test, ridgeless
from ntk_eoc.training.trainer import Problem, cross_entropy, log_marks, squared_error, train
from ntk_eoc.training.watch import class_targets, wrong_class


class Cell(config.Cell):
    """One way to classify one data set.

    `step` is the learning rate in units of the largest stable one of K∞ with this momentum.
    """

    way: Literal["limit", "linearised", "trained", "cross_entropy"]
    activation: Annotated[str, accepted_by(lambda name: init_of(name))]
    data: str
    n: int = Field(ge=2)
    n_test: int = Field(ge=1)
    data_seed: int = Field(default=0, ge=0)
    m: int = Field(ge=1)
    depth: int = Field(ge=2)
    step: float = Field(default=0.5, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    steps: int = Field(ge=1)
    marks: int = Field(default=12, ge=2)
    minibatch: int = Field(default=64, ge=1)

    @model_validator(mode="after")
    def _can_be_learnt(self) -> "Cell":
        images(self)
        if self.minibatch > self.n:
            raise ValueError(f"`minibatch` must be <= {self.n}, got {self.minibatch}.")
        return self


def images(cell: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points and one-hot labels, training first; and the targets of the squared error, whose mean
    is 0 in every row: one-hot − 1/classes, times √classes.
    """
    found = data.load(cell.data, cell.n + cell.n_test, cell.data_seed)
    class_targets(None if found.y is None else found.y[: cell.n], cell.n)
    hot, classes = class_targets(found.y, cell.n + cell.n_test)
    return found.x, hot, (hot - 1 / classes.size) * math.sqrt(classes.size)


def cost(cell: Cell) -> float:
    """Multiplications of all steps."""
    weights = cell.m * (784 + (cell.depth - 2) * cell.m)
    each = {"limit": 0, "linearised": 3}.get(cell.way, 1)
    return 1.0 + cell.seeds * cell.steps * cell.n * weights * each


@lru_cache(maxsize=2)
def _limit(point: Any) -> tuple[Any, np.ndarray, float]:
    x = jnp.asarray(images(point)[0])
    kernel = np.asarray(ne.ntk_infinite(init_of(point.activation), x, x[: point.n], point.depth))
    modes = eigenmodes(kernel[: point.n] / point.n)
    stable = largest_stable_step(modes, point.momentum)
    return modes, kernel[point.n :] / point.n, check_rate(point.step * stable, stable)


def _point(cell: Cell) -> Any:
    """What the limit depends on."""
    return cell.model_copy(update={"way": "limit", "first_seed": 0, "seeds": 0, "m": 1})


def _accuracy(outputs: np.ndarray, hot: np.ndarray) -> np.ndarray:
    return (outputs.argmax(-1) == hot.argmax(-1)).mean(-1)


def _of_limit(cell: Cell) -> dict[str, Any]:
    modes, cross, rate = _limit(_point(cell))
    _, hot, y = images(cell)
    y, hot_test = y[: cell.n], hot[cell.n :]
    zeros = np.zeros_like(y), np.zeros_like(hot_test)
    rule = descent(rate, log_marks(cell.steps, cell.marks), cell.momentum)
    return {
        "accuracy": _accuracy(predict_test(modes, rule, cross, y, *zeros), hot_test),
        "ridgeless": _accuracy(ridgeless(modes, cross, y), hot_test),
        "condition": modes.values[-1] / modes.values[0],
    }


@lru_cache(maxsize=4)
def _one(cell: Cell) -> Callable[[jax.Array], dict[str, jax.Array]]:
    init, dtype, n = init_of(cell.activation), jnp.dtype(cell.dtype), cell.n
    x, hot, centred = (jnp.asarray(a, dtype) for a in images(cell))
    d, k = x.shape[1], hot.shape[1]
    sizes = ne.widths("constant", cell.m, cell.depth, k)
    f, _ = ne.functional(ne.MLP(init, d, sizes, rngs=nnx.Rngs(0), dtype=dtype))
    optimiser = optax.sgd(_limit(_point(cell))[2], cell.momentum)
    steps = log_marks(cell.steps, cell.marks)

    def one(key: jax.Array) -> dict[str, jax.Array]:
        start, order = jax.random.split(key)
        params = draw_params(start, init, d, sizes, dtype)
        g = linearise(f, params) if cell.way == "linearised" else f
        if cell.way == "cross_entropy":
            problem = Problem(g, x[:n], hot[:n], cross_entropy, optimiser, cell.minibatch)
        else:
            problem = Problem(g, x[:n], centred[:n], squared_error, optimiser)

        def observe(at: Any) -> dict[str, jax.Array]:
            return {
                "accuracy": 1 - wrong_class(g(at, x[n:]), hot[n:]),
                "fitted": 1 - wrong_class(g(at, x[:n]), hot[:n]),
            }

        state, seen = train(problem, params, steps, order, observe)
        return {**seen, "diverged_at": state.diverged_at, "start": f(params, x)}

    return one


def _from_own_start(cell: Cell, starts: np.ndarray) -> np.ndarray:
    """Test accuracies of K∞'s prediction from each network's own f_0, [s, t]."""
    modes, cross, rate = _limit(_point(cell))
    _, hot, y = images(cell)
    rule, n = descent(rate, log_marks(cell.steps, cell.marks), cell.momentum), cell.n
    found = [predict_test(modes, rule, cross, y[:n], f0[:n], f0[n:]) for f0 in starts]
    return np.stack([_accuracy(outputs, hot[n:]) for outputs in found])


def measure(cell: Cell) -> dict[str, Any]:
    """Return test accuracies at the marks, of networks [s, t] or of the limit [t]."""
    if cell.way == "limit":
        return _of_limit(cell)
    point = cell.model_copy(update={"first_seed": 0, "seeds": 0})
    found = map_batched(_one(point), cell.seed_keys(), cell.batch)
    start = found.pop("start").astype(np.float64)
    if cell.way == "cross_entropy":
        return found
    return {**found, "predicted": _from_own_start(cell, start)}


NAMES = {
    "limit": r"$K_\infty$, mean",
    "linearised": "linearised",
    "trained": "trained",
    "cross_entropy": "trained, cross-entropy",
}


def _curve(ax: Axes, steps: np.ndarray, found: np.ndarray, look: dict[str, Any]) -> None:
    estimates = [mean(column) for column in found.T]
    values, errors = [e.mean for e in estimates], [e.error for e in estimates]
    ax.errorbar(steps, values, errors, **look)


def _panel(ax: Axes, records: Records) -> None:
    looks = style.looks([*NAMES, "own"])
    smallest = min(records.values("n"))
    for way, name in NAMES.items():
        cells = records.where(way=way, n=smallest)
        if not len(cells):
            continue
        cell = cells[0].cell
        steps = log_marks(cell.steps, cell.marks)[1:]
        look = {**looks[way], "label": name}
        if way == "limit":
            ax.plot(steps, cells[0].arrays["accuracy"][1:], **look)
            continue
        alive = cells.stack("diverged_at") < 0
        _curve(ax, steps, cells.stack("accuracy")[alive][:, 1:], look)
        if way == "linearised":
            own = {"label": r"$K_\infty$ from the own $f_0$", **looks["own"], "linestyle": ":"}
            _curve(ax, steps, cells.stack("predicted")[alive][:, 1:], own)
    for record, line in zip(records.where(way="limit"), style.LINES[1:], strict=False):
        label = f"$K_\\infty$ ridge-less, n = {record.cell.n}"
        level = float(record.arrays["ridgeless"])
        ax.axhline(level, color="0.3", linewidth=0.8, linestyle=line, label=label)
    ax.set(xscale="log", xlabel="steps", ylabel="test accuracy")
    ax.set_title(f"{records[0].cell.data}, $n={smallest}$", fontsize=8)
    style.legend_below(ax)


def draw(records: Records) -> Figure:
    """Draw test accuracy against steps, a panel a data set."""
    ok = records.ok
    groups = list(ok.group("data"))
    figure, axes = style.panels(max(len(groups), 2), height=3.2, squeeze=False)
    for ax, (_, cells) in zip(axes[0], groups, strict=False):
        _panel(ax, cells)
    for ax in axes[0][len(groups) :]:
        ax.set_visible(False)
    style.letter(axes[0][: len(groups)])
    cell = ok[0].cell
    ran = [r for r in ok if r.cell.seeds]
    lost = sum(int((r.arrays["diverged_at"] >= 0).sum()) for r in ran)
    fewest = min((r.cell.seeds for r in ran), default=0)
    note = (
        f"{cell.activation}, hidden widths {max(ok.values('m'))}, l = {cell.depth}, momentum"
        f" {cell.momentum:g}; {fewest} networks or more a curve, {lost} diverged; bars: standard"
        " error"
    )
    style.footnote(figure, note)
    return figure


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
