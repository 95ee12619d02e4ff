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
    return _forward_events(cell, norms, _over(grams[:, :, i, j], norms[..., i] * norms[..., j]))


def _over(part: np.ndarray, whole: Any) -> np.ndarray:
    """The quotient; 0 where a layer is dead, as at m = 4 one in sixteen of ReLU is."""
    return part / np.where(whole == 0, np.inf, whole)


def _norm(b: np.ndarray) -> float:
    return float(np.linalg.eigvalsh(b.T @ b if b.shape[0] > b.shape[1] else b @ b.T)[-1]) ** 0.5


def _dependence(cell: Cell, u: np.ndarray, b: list[np.ndarray], norms: list[float]) -> np.ndarray:
    """|E ⟨B, B'⟩ − ϱ'(ρ) ⟨B, B'⟩_prev| over its explicit bound, [pairs], given all layers below.

    A neuron's weights w are fresh. E φ̂_s φ̂_s' w wᵀ is ϱ'(ρ) I but on the span of the two inputs,
    where it gains (2Δ/π) sin θ (f fᵀ − e eᵀ), e along u − u', f along u + u' of the unit inputs.
    """
    delta, found = with_a_bound(cell.activation).delta, []
    for i, j in itertools.combinations(range(len(u)), 2):
        less, more = u[i] - u[j], u[i] + u[j]
        half = np.arctan2(np.linalg.norm(less), np.linalg.norm(more))  # θ/2
        e, f = _over(less, np.linalg.norm(less)), _over(more, np.linalg.norm(more))
        gain = (f @ b[i]) @ (f @ b[j]) - (e @ b[i]) @ (e @ b[j])
        gap = abs(2 * delta / np.pi * np.sin(2 * half) * gain)
        found.append(_over(gap, 8 / np.pi * delta * np.tan(half) * norms[i] * norms[j]))
    return np.array(found)


def _one_network(cell: Cell, x: np.ndarray, weights: list[np.ndarray]) -> dict[str, Any]:
    """Activations of all layers, and everything of the matrices B from layer b down to a."""
    init = ne.edge_of_chaos(activation(cell.activation))
    act, rows = with_a_bound(cell.activation), np.triu_indices(len(x), 1)
    slopes, out, layers = _limit(cell, x)[1], x.T / x.shape[1] ** 0.5, []
    matrices: dict[int, list[np.ndarray]] = {}  # lower end a → B of every point
    norms: list[np.ndarray] = []
    events: dict[str, list[Any]] = {"E3": [], "E3_norm": [], "E4": [], "explicit": []}
    for h, w in enumerate(weights, start=1):
        z, units = w @ out, _over(out, np.linalg.norm(out, axis=0))
        for a, below in matrices.items():
            size = [_norm(b) for b in below]
            events["explicit"].append(_dependence(cell, units.T, below, size))
            if h > a + 1:
                events["E3_norm"].append(max(size) / (act.kappa**2 * np.log((h - 1) / a)))
        slope = init.sigma_w * (act.a + act.b * np.sign(z)) / len(w) ** 0.5
        matrices = {a: [slope[:, i, None] * (w @ b) for i, b in enumerate(below)]
                    for a, below in matrices.items()}  # fmt: skip
        for a, below in matrices.items():
            gram = np.array([[np.vdot(p, q) for q in below] for p in below])
            limit, wide = slopes[a:h].prod(axis=0), np.log((h + 1) / a) * scale(cell)
            events["E3"].append(np.abs(np.diag(gram) - 1).max() / wide)
            events["E4"].append(np.abs(gram[rows] - limit).max() / wide)
        matrices[h] = [np.eye(len(w)) / len(w) ** 0.5] * len(x)
        out = init.sigma_w * (act.a * z + act.b * np.abs(z)) / len(w) ** 0.5
        layers.append(out)
        norms.append(np.linalg.norm(out, axis=0))
    cosines = [_over(o.T @ o, np.outer(n, n))[rows] for o, n in zip(layers, norms, strict=True)]
    return {"norms": np.stack(norms), "cosines": np.stack(cosines), **events}


def _ends(cell: Cell) -> list[tuple[int, int]]:
    """(a, b) in the order of the events of `_one_network`."""
    return [(a, b) for b in range(2, cell.depth) for a in range(1, b)]


def measure(cell: Cell) -> dict[str, Any]:
    """Return every event over its bound without C, largest over points: [s, h] or [s, (a, b)].

    "explicit" is the largest ratio to the explicit bound [s, (a, b)], "pairs" how many there were,
    "above" how many were above 1.
    """
    if not cell.weights:
        return _drawn(cell)
    init, x = ne.edge_of_chaos(activation(cell.activation)), points(cell)
    widths, found = ne.widths("quadratic", cell.m, cell.depth), []
    for key in cell.seed_keys():
        layers = ne.draw_params(key, init, x.shape[1], widths, cell.dtype)["layers"]
        weights = [np.asarray(layers[h]["weight"], np.float64) for h in range(cell.depth - 1)]
        found.append(_one_network(cell, x, weights))
    stacked = {name: np.array([one[name] for one in found]) for name in found[0]}
    explicit, root = stacked.pop("explicit"), cell.m**-0.5
    return {
        **_forward_events(cell, stacked.pop("norms"), stacked.pop("cosines")),
        **stacked,
        "E3_norm": stacked["E3_norm"] / root,
        "explicit": explicit.max(axis=2),
        "by_pair": explicit.max(axis=(0, 1)),
        "pairs": int((explicit > 0).sum()),
        "above": int((explicit > 1).sum()),
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
    ends = _ends(cell)
    if name == "E3_norm":  # of B below a layer, from a to b − 1 > a
        ends = [(a, b - 1) for a, b in ends if b > a + 1]
    return np.array([b / a for a, b in ends]), "ends $k_2/k_1$"


def _panel(ax: Axes, records: Records, name: str) -> None:
    looks = style.ramp(records.values("m"))
    for (m,), own in records.group("m"):
        at, word = _axis(name, own[0].cell)
        values, draws = np.unique(at), own.stack(name)
        means = [draws[:, at == v].mean(axis=1) for v in values]
        curves.bars(ax, values, means, label=f"$m={m}$", capsize=0, **looks[m])
        ax.set_xlabel(word)
    style.log_axes(ax, y=False)
    ax.set_ylim(0, None)
    ax.set_title(EVENTS[name])


def draw(records: Records) -> Figure:
    """Draw every event over its bound without C against layers, a curve a width."""
    figure, axes = style.panels(3, rows=2, height=2.3)
    ok = records.ok
    name = ok.values("activation")[0]
    weights = ok.where(weights=True, activation=name, data="sphere:16")
    few = min(ok.values("n"))
    drawn = ok.where(weights=False, activation=name, n=few)
    for ax, event in zip(axes.ravel(), EVENTS, strict=True):
        own = (
            ok.where(weights=True, activation=name, data="arc") if event == "explicit" else weights
        )
        _panel(ax, drawn if event in ("E1", "E2") else own, event)
    style.level(axes[1, 2], 1)
    for ax in axes[:, 0]:
        ax.set_ylabel("error / bound without $C$")
    for ax in axes[0, ::2]:
        ax.legend(loc="best")
    style.letter(axes.ravel())
    fewest = [curves.fewest(part, "E1", "m") for part in (drawn, weights)]
    note = (
        f"{style.word(name)}, widths k² m, largest over {few} points of the sphere in R¹⁶ or pairs"
    )
    draws = (
        f"(a), (b): {fewest[0]} draws or more, (c) to (f): {fewest[1]} networks, by their weights"
    )
    style.footnote(figure, note, draws, "bars: 95 %; (f): points on an arc, 0.03 to 3 rad")
    return figure


def tables(records: Records) -> dict[str, Table]:
    """Every event's largest ratio and its change over layers; the explicit bound's violations."""
    largest: list[Any] = []
    change: list[Any] = []
    explicit: list[Any] = []
    fields = ("activation", "data", "n", "depth", "m", "weights")
    events = [name for name in EVENTS if name != "explicit"]
    for (name, kind, n, depth, m, weights), cells in records.ok.group(*fields):
        shape = (style.word(name), kind, n, depth, m, "weights" if weights else "draws")
        known = {event: cells.stack(event) for event in events if event in cells[0].arrays}
        if kind != "arc":
            tops = [mean(known[e].max(axis=1)) if e in known else None for e in events]
            largest.append((*shape, len(known["E1"]), *tops))
            moved = [_last_over_first(known[e], e, cells[0].cell) if e in known else None
                     for e in events]  # fmt: skip
            change.append((*shape, *moved))
        if weights:
            top = cells.stack("explicit").max()
            counts = [sum(int(r.arrays[what]) for r in cells) for what in ("pairs", "above")]
            pair = np.max([r.arrays["by_pair"] for r in cells], axis=0)
            angles = [b - a for a, b in itertools.combinations(ARC[:n], 2)]
            at = f"{angles[int(pair.argmax())]:.2g}" if kind == "arc" else None
            explicit.append((style.word(name), kind, m, *counts, f"{top:.3f}", at))
    shape_ = ("φ", "data", "n", "l", "m", "from")
    words = [WORDS[event] for event in events]
    heads = ("m", "layer and input pairs", "above the bound", "largest ratio", "at angle, rad")
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
