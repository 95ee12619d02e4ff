"""From kernel to rich: does training leave the kernel, and do widths k² m help there?

Question: the drift ‖K(θ_t) − K(θ_0)‖/‖K∞‖, the loss and the test error after a fixed time against
m, for networks whose outputs are multiplied by m^{−q/2} and whose rate by m^q: the scale q of [C],
at which K(θ_0) is the same; widths k² m and m, optax's gradient descent.

Expectation: at q = 0 the drift falls with m, like m^{−1/2} to m^{−1}, and the network follows its
kernel; at q = 1 it does not fall, features move. [C] says nothing of training: what k² m does to
it is open.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import _trained
import jax
import jax.numpy as jnp
import numpy as np
import optax
from _cells import init_of, point_of
from _trained import cost, described, limit, marks, signs, widths
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field

import ntk_eoc as ne
from ntk_eoc.estimates import mean
from ntk_eoc.report import curves, style
from ntk_eoc.report.tables import Table
from ntk_eoc.sweeps.batches import map_batched
from ntk_eoc.sweeps.records import Records
from ntk_eoc.training.modes import descent
from ntk_eoc.training.trainer import Problem, squared_error, train
from ntk_eoc.training.watch import watch, wrong_sign

__all__ = ["Cell", "cost", "draw", "measure", "tables"]

SCHEDULES = {"quadratic": "k² m", "constant": "m"}


class Cell(_trained.Cell):
    """A block of networks at one scale of their outputs."""

    scale: float = Field(ge=0, le=1)
    """q: outputs times m^{−q/2}, rate times m^q"""


@lru_cache(maxsize=4)
def _one(point: Cell) -> Callable[[jax.Array], dict[str, jax.Array]]:
    init, (x, y), n = init_of(point), signs(point), point.n
    points, labels = jnp.asarray(x, point.dtype), jnp.asarray(y[:, None], point.dtype)
    plain, by = ne.mlp(init), float(point.m) ** (-point.scale / 2)

    def f(params: Any, x: jax.Array) -> jax.Array:
        return by * plain(params, x)

    inside, outside = (points[:n], labels[:n]), (points[n:], labels[n:])
    problem = Problem(f, *inside, squared_error, optax.sgd(limit(point).rate / by**2))
    kernel = partial(ne.ntk_layerwise, init, x1=inside[0], x2=inside[0])

    def one(key: jax.Array) -> dict[str, jax.Array]:
        start, order = jax.random.split(key)
        params = ne.draw_params(start, init, x.shape[1], widths(point), point.dtype)
        observe = watch(f, params, inside, outside, squared_error, wrong_sign, kernel)
        state, seen = train(problem, params, marks(point), order, observe)
        return {
            "drift": seen.drift.max(),
            "loss": seen.loss[-1],
            "test_loss": seen.test_loss[-1],
            "test_error": seen.test_error[-1],
            "diverged_at": state.diverged_at,
        }

    return one


def measure(cell: Cell) -> dict[str, Any]:
    """Return the drift over ‖K∞‖, losses and test error [s], and what K∞ says of them from 0."""
    point = point_of(cell)
    known, y = limit(point), signs(cell)[1]
    found = map_batched(_one(point), cell.seed_keys(), cell.batch)
    rule = descent(known.rate, marks(cell))
    outputs = _trained.predict(cell, known.modes, known.kernel, rule, np.zeros(len(y)))[-1]
    loss, test_loss = _trained.losses(cell, outputs)
    return {
        **found,
        "drift": found["drift"] / known.modes.values[-1],
        "limit_loss": loss,
        "limit_test_loss": test_loss,
        "limit_test_error": float((outputs[cell.n :] * y[cell.n :] <= 0).mean()),
    }


PANELS = {
    "drift": (r"$\max_t\,\|K(\theta_t)-K(\theta_0)\|\,/\,\|K_\infty\|$", "drift of the kernel"),
    "loss": ("training loss at the end", "the loss"),
    "test_error": ("test error at the end", "test error"),
}


def _alive(what: str) -> Callable[[Records], np.ndarray]:
    return lambda cells: cells.stack(what)[curves.alive(cells)]


def _panel(ax: Axes, records: Records, what: str) -> None:
    looks = style.ramp(records.values("scale"))
    for scale in records.values("scale"):
        for schedule, line in zip(SCHEDULES, style.LINES, strict=False):
            own = records.where(scale=scale, schedule=schedule)
            if len(own):
                ms, found = curves.groups(own, "m", _alive(what))
                curves.bars(ax, ms, found, linestyle=line, **looks[scale])
    style.log_axes(ax, records.values("m"), y=what != "test_error")
    ax.set(xlabel="width $m$")
    if what != "drift":
        style.level(ax, float(records[0].arrays[f"limit_{what}"]), r"$K_\infty$")


def draw(records: Records) -> Figure:
    """Draw the drift, the loss and the test error against m, a row an activation."""
    ok = records.ok
    names = ok.values("activation")
    figure, axes = style.panels(3, rows=len(names), height=2.5, squeeze=False)
    for row, name in zip(axes, names, strict=True):
        for ax, (what, (label, title)) in zip(row, PANELS.items(), strict=True):
            _panel(ax, ok.where(activation=name), what)
            ax.set(ylabel=label)
            ax.set_title(f"{style.word(name)}: {title}")
    for scale, look in style.ramp(ok.values("scale")).items():
        style.entry(axes[0, 0], f"$q={scale:g}$", **look)
    for schedule, line in zip(SCHEDULES, style.LINES, strict=False):
        style.entry(axes[0, 0], f"widths {SCHEDULES[schedule]}", color="0.4", linestyle=line)
    style.legend_above(figure, axes[0, 0])
    cell = ok[0].cell
    points = f"{cell.data}, n = {cell.n}, {cell.n_test} test points, l = {cell.depth}"
    note = described(ok, "drift", "activation", "schedule", "scale", "m")
    return style.finish(
        figure, axes, points, f"{cell.steps} steps", note, "bars: 95 % over networks"
    )


def tables(records: Records) -> dict[str, Table]:
    """Drift, loss and test error at every m; the exponents of the drift."""
    rows: list[Any] = []
    exponents: list[Any] = []
    for (name, scale, schedule), own in records.ok.group("activation", "scale", "schedule"):
        words = (style.word(name), f"{scale:g}", SCHEDULES[schedule])
        ms, drifts = curves.groups(own, "m", _alive("drift"))
        exponents.append((*words, f"{ms[0]} to {ms[-1]}", curves.fit_of(ms, drifts)))
        for (m,), cells in own.group("m"):
            count = len(_alive("loss")(cells))
            means = [mean(_alive(what)(cells)) if count else None for what in PANELS]
            rows.append((*words, m, count, *means))
    limits = [
        (style.word(name), *(float(c[0].arrays[f"limit_{w}"]) for w in ("loss", "test_error")))
        for (name,), c in records.ok.group("activation")
    ]
    heads = ("drift over ‖K∞‖", "training loss", "test error")
    return {
        "": Table(("φ", "q", "m_k", "m", "networks", *heads), rows),
        "exponents": Table(("φ", "q", "m_k", "m", "exponent of the drift"), exponents),
        "limit": Table(("φ, K∞ from f = 0", "training loss", "test error"), limits),
    }


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
