"""Do the events behind the theorem of [C] hold layer by layer, and how much room do they leave?

Question: the errors of norms (E1), cosines (E2), norms of backpropagation matrices B (E3) and their
inner products (E4) over their bounds without C, against the layer k, against k2/k1, m and n;
and what a layer's gradient knows of its forward pass over the explicit bound
(8/π) Δ_φ √((1 − ρ)/(1 + ρ)) ‖B(x)‖ ‖B(x')‖. Widths k² m; weights where B is needed.

Expectation: each ratio is level in k, k2/k1, m and n, or falls; the last is never above 1.
"""

import itertools
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from _cells import activation, with_a_bound
from _distances import limit_defects
from _events import Events, ends, events, over
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field

import ntk_eoc as ne
from ntk_eoc import data
from ntk_eoc.estimates import mean
from ntk_eoc.kernels.forward_pass import draw_nngp, nngp_ensemble
from ntk_eoc.report import curves, style
from ntk_eoc.report.tables import Table
from ntk_eoc.sweeps import config
from ntk_eoc.sweeps.batches import map_batched
from ntk_eoc.sweeps.records import Records

ARC = (0.0, 0.03, 0.1, 0.3, 0.8, 1.5, 2.2, 3.0)
"""Radians of the points of `data` "arc" on a great circle."""


class Cell(config.Cell):
    """Networks of one width: all events from weights, or E1 and E2 from draws without."""

    activation: str
    m: int = Field(ge=2)
    depth: int = Field(ge=3)
    data: Literal["arc", "sphere:16"] = "sphere:16"
    n: int = Field(default=8, ge=2)
    weights: bool = False


def cost(cell: Cell) -> float:
    """Gaussians to draw, or products of the backpropagation matrices."""
    widths = ne.widths("quadratic", cell.m, cell.depth)
    own = sum(a * b for a, b in itertools.pairwise(widths)) if cell.weights else sum(widths)
    return float(cell.seeds * cell.n * own)


def points(cell: Cell) -> np.ndarray:
    """Return the cell's points, ‖x‖² = d."""
    if cell.data != "arc":
        return data.load(cell.data, cell.n, 0).x
    angles = np.array(ARC[: cell.n])
    x = np.zeros((len(angles), 16))
    x[:, 0], x[:, 1] = 4 * np.cos(angles), 4 * np.sin(angles)
    return x


def scale(cell: Cell) -> float:
    """ε without C: √(log(l n) log m) κ_φ² m^{−1/2}."""
    act = with_a_bound(cell.activation)
    logs = np.log(cell.depth * cell.n) * np.log(cell.m)
    return float(logs**0.5 * act.kappa**2 / cell.m**0.5)


def _limit(cell: Cell, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosines after h = 0, 1, … hidden layers, and the slopes of layers 1, 2, …, [h, pairs]."""
    act, (i, j) = with_a_bound(cell.activation), np.triu_indices(len(x), 1)
    units = x / np.linalg.norm(x, axis=1, keepdims=True)
    near, far = ((units[i] + sign * units[j]) ** 2 for sign in (-1, 1))
    delta = np.where(near.sum(1) < 1, near.sum(1) / 2, 2 - far.sum(1) / 2)
    rows = limit_defects(act, delta, range(1, cell.depth + 1)).T
    angles = 2 * np.arcsin(np.sqrt(np.clip(rows / 2, 0, 1)))
    return 1 - rows, 1 - act.delta * (2 / np.pi) * angles


def _forward_events(cell: Cell, norms: np.ndarray, cosines: np.ndarray) -> dict[str, np.ndarray]:
    """E1 and E2 over their bounds, largest over points and pairs: [s, h]."""
    act, h = with_a_bound(cell.activation), np.arange(1, cell.depth)
    limit = _limit(cell, points(cell))[0][1:]
    off = np.abs(cosines - limit[None]).max(axis=2)
    return {
        "E1": np.abs(norms - 1).max(axis=2) / (np.log(h + 1) * scale(cell)),
        "E2": off * act.delta**2 * h**2 / scale(cell),
    }


def _drawn(cell: Cell) -> dict[str, np.ndarray]:
    x, i, j = points(cell), *np.triu_indices(len(points(cell)), 1)
    init = ne.edge_of_chaos(activation(cell.activation))
    widths = ne.widths("quadratic", cell.m, cell.depth)
    networks = nngp_ensemble(init, jnp.asarray(x), widths, dtype=cell.dtype)
    grams = map_batched(draw_nngp, cell.seed_keys(), cell.batch, networks)[:, : cell.depth - 1]
    norms = np.sqrt(np.einsum("shii->shi", grams))
    return _forward_events(cell, norms, over(grams[:, :, i, j], norms[..., i] * norms[..., j]))


def measure(cell: Cell) -> dict[str, Any]:
    """Return every event over its bound without C, largest over points: [s, h] or [s, (a, b)].

    "explicit" is the largest ratio to the bound of [C] with its constant [s, (a, b)], "sharp" that
    to the sharp one, "pairs" how many there were, "above" how many were above 1.
    """
    if not cell.weights:
        return _drawn(cell)
    init, x = ne.edge_of_chaos(activation(cell.activation)), points(cell)
    widths, slopes, found = ne.widths("quadratic", cell.m, cell.depth), _limit(cell, x)[1], []
    for key in cell.seed_keys():
        layers = ne.draw_params(key, init, x.shape[1], widths, cell.dtype)["layers"]
        weights = [np.asarray(layers[h]["weight"], np.float64) for h in range(cell.depth - 1)]
        found.append(events(init, x, weights, slopes, scale(cell)))
    stacked = Events(*(np.stack(each) for each in zip(*found, strict=True)))
    return {
        **_forward_events(cell, stacked.norms, stacked.cosines),
        "E3": stacked.E3,
        "E3_norm": stacked.E3_norm * cell.m**0.5,
        "E4": stacked.E4,
        "explicit": stacked.explicit.max(axis=2),
        "sharp": stacked.sharp.max(axis=2),
        "by_pair": stacked.explicit.max(axis=(0, 1)),
        "pairs": int((stacked.explicit > 0).sum()),
        "above": int((stacked.explicit > 1).sum()),
    }


EVENTS = {
    "E1": "E1: norms",
    "E2": "E2: cosines",
    "E3": r"E3: $|\|B\|_F^2-1|$",
    "E3_norm": r"E3: $\|B\|$",
    "E4": "E4: inner products",
    "explicit": "the explicit bound",
}
SHORT = ("E1, norms", "E2, cosines", "E3, ‖B‖_F²", "E3, ‖B‖", "E4, ⟨B, B′⟩")
WORDS = dict(zip(EVENTS, SHORT, strict=False))


def _axis(name: str, cell: Cell) -> tuple[np.ndarray, str]:
    """The abscissa of every entry of an event, and its name."""
    if name in ("E1", "E2"):
        return np.arange(1, cell.depth), "hidden layer $k$"
    known = ends(cell.depth)
    if name == "E3_norm":  # of B below a layer, from a to b − 1 > a
        known = [(a, b - 1) for a, b in known if b > a + 1]
    return np.array([b / a for a, b in known]), "ends $k_2/k_1$"


def _panel(ax: Axes, records: Records, name: str) -> None:
    looks = style.ramp(records.values("m"))
    for m in records.values("m"):
        own = records.where(m=m)
        at, word = _axis(name, own[0].cell)
        values, draws = np.unique(at), own.stack(name)
        means = [draws[:, at == v].mean(axis=1) for v in values]
        curves.bars(ax, values, means, label=f"$m={m}$", capsize=0, **looks[m])
        ax.set_xlabel(word)
    style.log_axes(ax, y=False)
    ax.set_ylim(0, None)
    ax.set_title(EVENTS[name])


def _most(records: Records) -> Records:
    """The shape with the most widths, of few points and then of many layers."""
    parts = [own for _, own in records.group("n", "depth")]
    return max(parts, key=lambda own: (len(own.values("m")), -own[0].cell.n, own[0].cell.depth))


def draw(records: Records) -> Figure:
    """Draw every event over its bound without C against layers, a curve a width."""
    figure, axes = style.panels(3, rows=2, height=2.3)
    ok = records.ok
    name = ok.values("activation")[0]
    weights, arc = (
        _most(ok.where(weights=True, activation=name, data=kind)) for kind in ("sphere:16", "arc")
    )
    drawn = _most(ok.where(weights=False, activation=name))
    shown = dict.fromkeys(EVENTS, weights) | {"E1": drawn, "E2": drawn, "explicit": arc}
    for ax, (event, own) in zip(axes.ravel(), shown.items(), strict=True):
        _panel(ax, own, event)
    style.level(axes[1, 2], 1)
    for ax in axes[:, 0]:
        ax.set_ylabel("error / bound without $C$")
    for ax in axes.ravel()[[0, 3, 5]]:
        ax.legend(loc="best")
    fewest = [curves.fewest(part, "E1", "m") for part in (drawn, weights)]
    few = drawn[0].cell.n
    note = (
        f"{style.word(name)}, widths k² m, largest over {few} points of the sphere in R¹⁶ or pairs"
    )
    draws = (
        f"(a), (b): {fewest[0]} draws or more, (c) to (f): {fewest[1]} networks or more, by weights"
    )
    return style.finish(
        figure, axes, note, draws, "bars: 95 %; (f): points on an arc, 0.03 to 3 rad"
    )


def tables(records: Records) -> dict[str, Table]:
    """Every event's largest ratio and its change over layers; the explicit bound's violations."""
    largest: list[Any] = []
    change: list[Any] = []
    explicit: list[Any] = []
    fields = ("activation", "weights", "data", "n", "depth", "m")
    events = [name for name in EVENTS if name != "explicit"]
    parts = sorted(records.ok.group(*fields), key=lambda part: part[0])
    for (name, weights, kind, n, depth, m), cells in parts:
        shape = (style.word(name), kind, n, depth, m, "weights" if weights else "draws")
        known = {event: cells.stack(event) for event in events if event in cells[0].arrays}
        if kind != "arc":
            tops = [mean(known[e].max(axis=1)) if e in known else None for e in events]
            largest.append((*shape, len(known["E1"]), *tops))
            moved = [_last_over_first(known[e], e, cells[0].cell) if e in known else None
                     for e in events]  # fmt: skip
            change.append((*shape, *moved))
        if weights:
            ratio, sharp = (f"{cells.stack(bound).max():.3f}" for bound in ("explicit", "sharp"))
            counts = [sum(int(r.arrays[what]) for r in cells) for what in ("pairs", "above")]
            pair = np.max([r.arrays["by_pair"] for r in cells], axis=0)
            angles = [b - a for a, b in itertools.combinations(ARC[:n], 2)]
            at = f"{angles[int(pair.argmax())]:.2g}" if kind == "arc" else None
            explicit.append((style.word(name), kind, n, depth, m, *counts, ratio, at, sharp))
    shape_ = ("φ", "data", "n", "l", "m", "from")
    words = [WORDS[event] for event in events]
    counted = ("layer and input pairs", "above the bound")
    heads = ("n", "l", "m", *counted, "largest ratio", "at angle, rad", "over the sharp bound")
    return {
        "largest": Table((*shape_, "networks", *words), largest),
        "change": Table((*shape_, *words), change, 2),
        "explicit": Table(("φ", "data", *heads), explicit),
    }


def _last_over_first(draws: np.ndarray, event: str, cell: Cell) -> float:
    """The mean ratio at the largest abscissa over that at the least."""
    at = _axis(event, cell)[0]
    return float(draws[:, at == at.max()].mean() / draws[:, at == at.min()].mean())


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
