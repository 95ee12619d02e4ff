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

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _trained import Cell as Trained
from _trained import cost, init_of, limit, marks, point_of, signs, widths
from flax import nnx
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field

import ntk_eoc as ne
from ntk_eoc.estimates import mean, quantile
from ntk_eoc.network import draw_params
from ntk_eoc.report import style
from ntk_eoc.sweeps.batches import map_batched
from ntk_eoc.sweeps.records import Records
from ntk_eoc.training.predictions import steps_to_loss
from ntk_eoc.training.trainer import Problem, squared_error, train

__all__ = ["Cell", "cost", "draw", "measure"]

FRACTION = 0.01


class Cell(Trained):
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
    init, dtype = init_of(point.activation), jnp.dtype(point.dtype)
    x, all_labels = (
        jnp.asarray(signs(point)[0][: point.n], dtype),
        jnp.asarray(targets(point), dtype),
    )
    d, steps, rate = x.shape[1], marks(point), limit(point).rate
    f, _ = ne.functional(ne.MLP(init, d, widths(point), rngs=nnx.Rngs(0), dtype=dtype))

    def one(key: jax.Array) -> dict[str, jax.Array]:
        start, pick, order = jax.random.split(key, 3)
        column = jax.random.randint(pick, (), 0, point.labels)
        params = draw_params(start, init, d, widths(point), dtype)
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


def _predicted(record: Any) -> np.ndarray:
    values = record.arrays["predicted"]
    return values if record.cell.seeds == 0 else values[0]


def _steps(ax: Axes, records: Records, scale: Callable[[str, float], float]) -> None:
    looks = style.looks(records.values("activation"))
    for (name,), cells in records.group("activation"):
        by_depth = {record.cell.depth: record for record in cells}
        depths = sorted(by_depth)
        middle = [mean(_predicted(by_depth[depth])) for depth in depths]
        x = [scale(name, depth) for depth in depths]
        values, errors = [e.mean for e in middle], [e.error for e in middle]
        color = looks[name]["color"]
        ax.errorbar(x, values, errors, color=color, label=rf"{name}, $K_\infty$")
        trained = cells.where(seeds=max(cells.values("seeds")))
        points = []
        for (depth,), group in trained.group("depth"):
            if group[0].cell.seeds == 0:
                continue
            taken = reached(group[0].cell, group.stack("loss"))
            middle_one = quantile(taken, 0.5)
            if np.isfinite([middle_one.value, middle_one.low]).all():
                points.append((scale(name, depth), *middle_one[:3]))
        if points:
            at, value, low, high = (np.array(column) for column in zip(*points, strict=True))
            bars = [value - low, np.where(np.isfinite(high), high - value, 0)]
            label = f"{name}, trained"
            ax.errorbar(at, value, bars, linestyle="none", label=label, **looks[name])
    ax.set(xscale="log", yscale="log")
    ax.set_ylabel("steps to 1 % of the loss")
    ax.legend()


def _condition(ax: Axes, records: Records) -> None:
    looks = style.looks(records.values("activation"))
    for (name,), cells in records.group("activation"):
        points = sorted(
            (record.cell.depth, float(np.ravel(record.arrays["condition"])[0])) for record in cells
        )
        ax.plot(*zip(*points, strict=True), color=looks[name]["color"], label=name)
    ax.axhline(1 + records[0].cell.n / 3, **style.GUIDE)
    ax.set(xscale="log", yscale="log", xlabel="depth $l$", ylabel="condition number")
    ax.legend()


def draw(records: Records) -> Figure:
    """Draw the steps against depth and against Δ_φ l, and the condition number."""
    figure, axes = style.panels(3, height=2.6)
    ok = records.ok
    if len(ok):
        _steps(axes[0], ok, lambda name, depth: depth)
        axes[0].set_xlabel("depth $l$")
        _steps(axes[1], ok, lambda name, depth: _delta(name) * depth)
        axes[1].set_xlabel(r"$\Delta_\phi\,l$")
        _condition(axes[2], ok)
    style.letter(axes)
    cell = ok[0].cell
    trained = [group for _, group in ok.group("activation", "depth") if group[0].cell.seeds]
    least = min((len(group.stack("loss")) for group in trained), default=0)
    note = (
        f"{cell.data}, n = {cell.n}; lines: mean of {cell.labels} labellings; markers: medians of"
        f" {least} networks or more, widths {cell.m} k², 95 %; (c) dotted: 1 + n/3"
    )
    style.footnote(figure, note)
    return figure


def _delta(name: str) -> float:
    act = ne.activation(name)
    return act.delta if isinstance(act, ne.AbsLinear) else 1.0


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
