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
from typing import Any, Literal

import _trained
import jax
import jax.numpy as jnp
import numpy as np
import optax
from _cells import init_of, inputs, point_of
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field, model_validator

import ntk_eoc as ne
from ntk_eoc import data
from ntk_eoc.estimates import Estimate, mean
from ntk_eoc.report import curves, style
from ntk_eoc.report.tables import Table
from ntk_eoc.sweeps.batches import map_batched
from ntk_eoc.sweeps.records import Records
from ntk_eoc.training.linearised import linearise
from ntk_eoc.training.modes import check_rate, descent, eigenmodes, largest_stable_step
from ntk_eoc.training.predictions import predict_test, ridgeless
from ntk_eoc.training.trainer import Problem, cross_entropy, log_marks, squared_error, train
from ntk_eoc.training.watch import class_targets, wrong_class


class Cell(_trained.Trained):
    """One way to classify one data set; `step` is in units of the largest stable one of K∞ with
    this momentum.
    """

    way: Literal["limit", "linearised", "trained", "cross_entropy"]
    momentum: float = Field(default=0.9, ge=0, lt=1)
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
    return (
        inputs(cell, cell.n + cell.n_test),
        hot,
        (hot - 1 / classes.size) * math.sqrt(classes.size),
    )


def cost(cell: Cell) -> float:
    """Multiplications of all steps."""
    weights = cell.m * (784 + (cell.depth - 2) * cell.m)
    each = {"limit": 0, "linearised": 3}.get(cell.way, 1)
    return 1.0 + cell.seeds * cell.steps * cell.n * weights * each


@lru_cache(maxsize=2)
def _limit(point: Any) -> tuple[Any, np.ndarray, float]:
    x = jnp.asarray(images(point)[0])
    kernel = np.asarray(ne.ntk_infinite(init_of(point), x, x[: point.n], point.depth))
    modes = eigenmodes(kernel[: point.n] / point.n)
    stable = largest_stable_step(modes, point.momentum)
    return modes, kernel[point.n :] / point.n, check_rate(point.step * stable, stable)


def _point(cell: Cell) -> Any:
    """What the limit depends on."""
    return point_of(cell).model_copy(update={"way": "limit", "m": 1})


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
    init, dtype, n = init_of(cell), jnp.dtype(cell.dtype), cell.n
    x, hot, centred = (jnp.asarray(a, dtype) for a in images(cell))
    d, k = x.shape[1], hot.shape[1]
    sizes = ne.widths("constant", cell.m, cell.depth, k)
    f = ne.mlp(init)
    optimiser = optax.sgd(_limit(_point(cell))[2], cell.momentum)
    steps = log_marks(cell.steps, cell.marks)

    def one(key: jax.Array) -> dict[str, jax.Array]:
        start, order = jax.random.split(key)
        params = ne.draw_params(start, init, d, sizes, dtype)
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
    found = map_batched(_one(point_of(cell)), cell.seed_keys(), cell.batch)
    start = found.pop("start").astype(np.float64)
    if cell.way == "cross_entropy":
        return found
    return {**found, "predicted": _from_own_start(cell, start)}


NAMES = {
    "trained": "trained",
    "linearised": "linearised",
    "own": r"$K_\infty$ from the own $f_0$",
    "cross_entropy": "trained, cross-entropy",
}


def _smallest(records: Records) -> Records:
    return records.where(n=min(records.values("n")))


def _limit_of(records: Records) -> dict[str, np.ndarray]:
    return records.where(way="limit")[0].arrays


def accuracies(records: Records) -> dict[str, np.ndarray]:
    """Test accuracies of the networks' ways at the marks after 0, [s, t]; "own" is K∞'s."""
    found = {}
    for way in NAMES:
        cells = records.where(way="linearised" if way == "own" else way)
        if len(cells):
            values = cells.stack("predicted" if way == "own" else "accuracy")
            found[way] = values[curves.alive(cells)][:, 1:]
    return found


def _steps(records: Records) -> np.ndarray:
    return log_marks(records[0].cell.steps, records[0].cell.marks)[1:]


def _errors(ax: Axes, records: Records) -> None:
    records = _smallest(records)
    steps, shades = _steps(records), style.looks([*NAMES, "limit"])
    for i, (way, found) in enumerate(accuracies(records).items()):
        at = steps * (1 + 0.03 * i)
        curves.bars(ax, at, [1 - column for column in found.T], label=NAMES[way], **shades[way])
    limit = _limit_of(records)
    look = {**shades["limit"], "linestyle": style.LINES[1]}
    ax.plot(steps, 1 - limit["accuracy"][1:], label=r"$K_\infty$, mean", **look)
    level = 1 - float(limit["ridgeless"])
    ax.axhline(level, **style.GUIDE, label=r"$K_\infty$ ridge-less")
    style.log_axes(ax)
    ax.set(xlabel="steps", ylabel="test error")
    ax.set_title(f"{records[0].cell.data}: the limit errs least ($n={records[0].cell.n}$)")


def _paired(ax: Axes, records: Records) -> None:
    """Accuracy of each way less that of K∞ from the own f_0, network by network where they share
    f_0, as the linearised ones do; else with the errors of both.
    """
    records = _smallest(records)
    steps, shades = _steps(records), style.looks([*NAMES, "limit"])
    found = accuracies(records)
    for i, way in enumerate(way for way in found if way != "own"):
        late = np.flatnonzero(steps >= steps[-1] / 16)
        less = [_less(found[way][:, t], found["own"][:, t], way) for t in late]
        at = steps[late] * (1 + 0.03 * i)
        curves.bars(ax, at, less, scale=100, label=NAMES[way], **shades[way])
    ax.axhline(0, **style.GUIDE)
    style.log_axes(ax, y=False)
    ax.set(xlabel="steps", ylabel="points over $K_\\infty$")
    ax.set_title(rf"{records[0].cell.data}: beside $K_\infty$ from the own $f_0$")


def _less(one: np.ndarray, own: np.ndarray, way: str) -> Estimate:
    if way == "linearised":
        return mean(one - own)
    a, b = mean(one), mean(own)
    return Estimate(a.mean - b.mean, math.hypot(a.error, b.error), min(a.draws, b.draws))


def draw(records: Records) -> Figure:
    """Draw test error against steps and what networks are ahead of K∞, a row a data set."""
    ok = records.ok
    groups = list(ok.group("data"))
    figure, axes = style.panels(2, len(groups), height=2.2, squeeze=False)
    for row, (_, cells) in zip(axes, groups, strict=True):
        _errors(row[0], cells)
        _paired(row[1], cells)
    style.legend_above(figure, axes[0, 0], ncols=3)
    ran = Records([record for record in ok if record.cell.seeds])
    cell = ran[0].cell
    fewest = curves.fewest(ran, "accuracy", "way", "data")
    shape = f"{style.word(cell.activation)}, hidden widths {cell.m}, l = {cell.depth}"
    bars = f"bars: 95 %, {fewest} networks or more a curve, {curves.lost(ran)} diverged"
    return style.finish(figure, axes, shape, f"momentum {cell.momentum:g}", bars)


def tables(records: Records) -> dict[str, Table]:
    """Test accuracies after the last step."""
    sets = records.ok.values("data")
    rows: dict[str, list[Any]] = {}
    for dataset in sets:
        cells = records.ok.where(data=dataset)
        for record in cells.where(way="limit"):
            name = f"K∞ without ridge, n = {record.cell.n}"
            level = float(record.arrays["ridgeless"])
            rows.setdefault(name, [None] * len(sets))[sets.index(dataset)] = level
        some = _smallest(cells)
        found: dict[str, Any] = {"K∞, mean": float(_limit_of(some)["accuracy"][-1])}
        words = {
            way: name.replace(r"$K_\infty$", "K∞").replace("$f_0$", "f_0")
            for way, name in NAMES.items()
        }
        found |= {words[way]: mean(values[:, -1]) for way, values in accuracies(some).items()}
        for name, value in found.items():
            rows.setdefault(name, [None] * len(sets))[sets.index(dataset)] = value
    return {"": Table(("test accuracy", *sets), [(name, *row) for name, row in rows.items()])}


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
