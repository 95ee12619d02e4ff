"""Does depth make training faster, and does the absolute value beat ReLU at it?

Question: steps of gradient descent to 1 % of the first loss, on random labels ±1, against depth: by
K∞ from f_0 = 0, and of trained networks of widths k² m. The learning rate is half the largest
stable one at each depth, 1/λ_max.

Expectation: [S] (4): Δ_φ sets the rate at which the condition number converges. The steps fall with
depth to those of the limit matrix ¾ I + ¼ 11ᵀ, on one curve in Δ_φ l where close pairs rule, so
that the absolute value (Δ = 1) gets there at half the depth of ReLU (Δ = ½). Deep in the limit the
two are alike.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import _trained
import jax
import jax.numpy as jnp
import numpy as np
import optax
from _cells import activation, init_of, point_of
from _trained import cost, limit, marks, signs, widths
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field

import ntk_eoc as ne
from ntk_eoc.estimates import Quantile, mean, quantile
from ntk_eoc.report import curves, style
from ntk_eoc.report.tables import Table
from ntk_eoc.sweeps.batches import map_batched
from ntk_eoc.sweeps.records import Records
from ntk_eoc.training.predictions import steps_to_loss
from ntk_eoc.training.trainer import Problem, squared_error, train

__all__ = ["Cell", "cost", "draw", "measure", "tables"]

FRACTION = 0.01


class Cell(_trained.Cell):
    """One depth; with seeds, networks trained at it beside the prediction.

    Attributes:
        labels: How many draws of random labels the prediction is averaged over; the networks
            have the first of them each in turn.
    """

    labels: int = Field(default=32, ge=2)


def targets(cell: Cell) -> np.ndarray:
    """Random labels ±1, [n, labels]."""
    rng = np.random.default_rng(cell.data_seed)
    return rng.choice([-1.0, 1.0], (cell.n, cell.labels))


@lru_cache(maxsize=4)
def _one(point: Cell) -> Callable[[jax.Array], dict[str, jax.Array]]:
    init, dtype = init_of(point), jnp.dtype(point.dtype)
    x = jnp.asarray(signs(point)[0][: point.n], dtype)
    all_labels = jnp.asarray(targets(point), dtype)
    d, steps, rate, f = x.shape[1], marks(point), limit(point).rate, ne.mlp(init)

    def one(key: jax.Array) -> dict[str, jax.Array]:
        start, pick, order = jax.random.split(key, 3)
        column = jax.random.randint(pick, (), 0, point.labels)
        params = ne.draw_params(start, init, d, widths(point), dtype)
        y = jnp.take(all_labels, column, axis=1)[:, None]
        # The network is centred, f_t − f_0, as the prediction is: both start at 0.
        y = y + f(params, x)
        problem = Problem(f, x, y, squared_error, optax.sgd(rate))
        state, loss = train(problem, params, steps, order, lambda at: squared_error(f(at, x), y))
        return {"loss": loss, "diverged_at": state.diverged_at}

    return one


def measure(cell: Cell) -> dict[str, Any]:
    """Return the predicted steps to 1 % of the loss for every draw of labels, the condition number,
    and the losses of trained networks at the marks, [s, t].
    """
    known = limit(point_of(cell))
    y = targets(cell)
    steps = [steps_to_loss(known.modes, known.rate, one, np.zeros(cell.n), FRACTION) for one in y.T]
    found = {
        "predicted": np.array(steps),
        "condition": np.asarray(known.modes.values[-1] / known.modes.values[0]),
    }
    if cell.seeds == 0:
        return found
    ran = map_batched(_one(point_of(cell)), cell.seed_keys(), cell.batch)
    repeated = {name: np.repeat(value[None], cell.seeds, 0) for name, value in found.items()}
    return {**repeated, **ran}


def reached(cell: Cell, losses: np.ndarray) -> np.ndarray:
    """Steps to 1 % of the first loss, [s], log-linear between marks; infinite if never."""
    steps, found = marks(cell).astype(float), np.full(len(losses), np.inf)
    for i, loss in enumerate(losses):
        relative = np.log(loss / (FRACTION * loss[0]))
        below = np.flatnonzero(relative <= 0)
        if below.size:
            j = below[0]
            part = relative[j - 1] / (relative[j - 1] - relative[j])
            found[i] = steps[j - 1] + part * (steps[j] - steps[j - 1])
    return found


def predicted(cells: Records) -> np.ndarray:
    """Steps by K∞ of every labelling, at one depth."""
    values = cells[0].arrays["predicted"]
    return values if cells[0].cell.seeds == 0 else values[0]


def trained(cells: Records) -> dict[int, Quantile]:
    """The median steps of the trained networks of an activation, at each depth that has some."""
    medians = {}
    for (depth,), own in cells.group("depth"):
        if own[0].cell.seeds:
            steps, never = reached(own[0].cell, own.stack("loss")), 2.0 * own[0].cell.steps
            found = quantile(np.minimum(steps, never), 0.5)
            high = found.high if found.high < never else np.inf
            if found.value < never:
                medians[depth] = found._replace(high=high)
    return dict(sorted(medians.items()))


def _steps(ax: Axes, records: Records, scale: Callable[[str], float]) -> None:
    for name in records.values("activation"):
        cells, look = records.where(activation=name), style.activation_look(name)
        depths, found = curves.groups(cells, "depth", predicted)
        word, by = style.word(name), scale(name)
        line = {"color": look["color"], "label": rf"{word}, $K_\infty$"}
        curves.bars(ax, by * np.array(depths), found, **line)
        medians = trained(cells)
        if medians:
            at = by * np.array([*medians])
            curves.bars(
                ax, at, [*medians.values()], linestyle="none", label=f"{word}, trained", **look
            )
    style.log_axes(ax)


def _condition(ax: Axes, records: Records) -> None:
    for name in records.values("activation"):
        condition = lambda cells: np.ravel(cells[0].arrays["condition"])[:1]  # noqa: E731
        depths, found = curves.groups(records.where(activation=name), "depth", condition)
        ax.plot(depths, found, color=style.activation_look(name)["color"], label=style.word(name))
    n = records[0].cell.n
    style.level(ax, 1 + n / 3, "$1+n/3$")
    style.log_axes(ax)
    ax.set(xlabel="depth $l$", ylabel="condition number", title="as the conditioning does")


def draw(records: Records) -> Figure:
    """Draw the steps against depth and against Δ_φ l, and the condition number."""
    figure, axes = style.panels(3, height=2.6)
    ok = records.ok
    _steps(axes[0], ok, lambda name: 1.0)
    axes[0].set(xlabel="depth $l$", ylabel="steps to 1 % of the loss", title="depth speeds it up")
    _steps(axes[1], ok, lambda name: activation(name).constants.get("Δ", 1.0))
    axes[1].set(xlabel=r"$\Delta_\phi\,l$", title=r"one curve in $\Delta_\phi l$")
    axes[1].legend(loc="upper right", handlelength=1.3)
    axes[1].sharey(axes[0])
    _condition(axes[2], ok)
    cell = ok[0].cell
    ran = Records([record for record in ok if record.cell.seeds])
    least = curves.fewest(ran, "loss", "activation", "depth")
    lines = f"{cell.data}, n = {cell.n}; lines: means of {cell.labels} labellings"
    markers = f"markers: medians of {least} networks or more, widths {cell.m} k²; bars: 95 %"
    return style.finish(figure, axes, lines, markers)


def tables(records: Records) -> dict[str, Table]:
    """Steps to 1 % of the first loss by K∞ and of trained networks, at every depth."""
    rows = []
    for depth in records.ok.values("depth"):
        row: list[Any] = [depth]
        for name in records.ok.values("activation"):
            cells = records.ok.where(activation=name)
            at = cells.where(depth=depth)
            steps = mean(predicted(at)) if len(at) else None
            row += [steps, trained(cells).get(depth)]
        rows.append(row)
    words = [style.word(name) for name in records.ok.values("activation")]
    heads = [f"{word}, {of}" for word in words for of in ("K∞", "trained")]
    return {"": Table(("l, steps to 1 %", *heads), rows)}


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
