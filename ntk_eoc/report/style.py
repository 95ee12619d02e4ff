"""How every figure looks: readable in print, in grey and by the colour-blind."""

import itertools
import textwrap
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, Locator, NullLocator
from tueplots import axes as tue_axes
from tueplots import fontsizes

# Okabe and Ito's palette, black last; markers and line styles repeat the distinction.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
# The dashes are of such lengths that four lines can be told apart in a legend.
LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)))
Values = Any  # a sequence or an array of numbers
GUIDE: dict[str, Any] = {"color": "0.45", "linewidth": 0.9, "linestyle": (0, (1, 2)), "zorder": 1}

TEXT_WIDTH = 6.75  # inches, a two-column page
PANEL_HEIGHT = 2.35
SMALL = 6.0  # points, the least that is printed

NAMED = {
    "relu": (COLORS[0], "o"),
    "abs": (COLORS[1], "s"),
    "erf": (COLORS[2], "^"),
    "tanh": (COLORS[3], "D"),
    "gelu": (COLORS[4], "v"),
    "silu": (COLORS[5], "P"),
    "selu": (COLORS[6], "X"),
    "hard_tanh": (COLORS[7], "*"),
    "quadratic": (COLORS[4], "s"),
}
"""The colour and the marker of activations, the same in every figure."""
WORDS = {"relu": "ReLU", "abs": "absolute value", "quadratic": "s²"}
"""What figures call an activation, where that is not its name."""


def _parameters() -> Any:
    return {
        **fontsizes.icml2024(default_smaller=0),
        **tue_axes.lines(),
        **tue_axes.legend(frameon=False),
        **tue_axes.spines(top=False, right=False),
        "axes.prop_cycle": cycler(color=COLORS),
        "axes.titlesize": 7.5,
        "axes.titlelocation": "left",
        "axes.labelsize": 8,
        "xtick.labelsize": 7,
        "ytick.labelsize": 7,
        "legend.fontsize": SMALL + 0.5,
        "legend.title_fontsize": SMALL + 0.5,
        "legend.handlelength": 2.8,
        "errorbar.capsize": 1.5,
        "lines.markersize": 3.2,
        "figure.dpi": 100,
        "savefig.dpi": 200,
        "font.family": "sans-serif",
        "mathtext.fontset": "dejavusans",
        "pdf.fonttype": 42,
    }


@contextmanager
def context() -> Iterator[None]:
    """Draw inside this: it sets fonts, lines and colours and puts back what was."""
    with plt.rc_context(_parameters()):
        yield


def panels(
    columns: int = 1, rows: int = 1, *, height: float = PANEL_HEIGHT, **subplots: Any
) -> tuple[Figure, Any]:
    """Return a figure as wide as a page (or 60 % of it, for one panel) and its axes."""
    width = TEXT_WIDTH if columns > 1 else 0.6 * TEXT_WIDTH
    size = (width, height * rows)
    return plt.subplots(rows, columns, figsize=size, layout="constrained", **subplots)


def looks(names: Values) -> dict[Any, dict[str, Any]]:
    """Give every name a colour and a marker of its own, in their order."""
    pairs = zip(itertools.cycle(COLORS), itertools.cycle(MARKERS), strict=False)
    return {
        name: {"color": color, "marker": marker}
        for name, (color, marker) in zip(names, pairs, strict=False)
    }


def activation_look(name: str) -> dict[str, Any]:
    """Return the colour and marker of an activation, the same in every figure.

    One that is not in `NAMED` takes, by a hash of its name, one of the pairs these leave over.
    """
    name = name.rpartition(":")[2]
    free = [pair for pair in itertools.product(COLORS, MARKERS) if pair not in NAMED.values()]
    color, marker = NAMED.get(name) or free[zlib.crc32(name.encode()) % len(free)]
    return {"color": color, "marker": marker}


def word(activation: str) -> str:
    """Return what figures and tables call an activation; of FILE.py:NAME the name."""
    if activation.startswith("angle:"):
        return activation
    return WORDS.get(activation, activation.rpartition(":")[2])


def ramp(values: Values) -> dict[Any, dict[str, Any]]:
    """Give every value of a quantity a colour from dark to light, and a marker."""
    shades = plt.get_cmap("viridis")(np.linspace(0, 0.85, max(len(values), 2)))
    return {
        value: {"color": shade, "marker": marker}
        for value, shade, marker in zip(values, shades, itertools.cycle(MARKERS), strict=False)
    }


class _Decimals(Locator):
    """At most seven ticks on a logarithmic axis: 1, 2, 5 and finer, or powers of ten."""

    def __call__(self) -> Sequence[float]:
        assert self.axis is not None
        low, high = self.axis.get_view_interval()
        return self.tick_values(low, high)

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        low, high = sorted((max(vmin, 1e-300), max(vmax, 1e-300)))
        decades = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
        fine = ((1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8), (1, 1.5, 2, 3, 4, 5, 7), (1, 2, 5), (1, 3))
        for parts, step in (*((parts, 1) for parts in fine), *(((1,), k) for k in range(1, 99))):
            ticks = np.outer(10.0 ** decades[decades % step == 0], parts).ravel()
            inside = ticks[(ticks >= low * 0.999) & (ticks <= high * 1.001)]
            if len(inside) <= 7:
                break
        return list(inside)


def _decimal(number: float | np.integer, _: Any = None) -> str:
    value = float(number)
    if 0.999e-3 <= abs(value) < 1e4:
        return f"{value:.6g}"
    power = int(np.floor(np.log10(abs(value)) + 1e-9)) if value else 0
    part = value / 10.0**power
    return f"$10^{{{power}}}$" if abs(part - 1) < 1e-6 else f"${part:.3g}\\cdot10^{{{power}}}$"


def log(axis: Axis) -> None:
    """Make an axis logarithmic, with plain decimals at its ticks."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})  # type: ignore[attr-defined]
    axis.set_major_locator(_Decimals())
    axis.set_major_formatter(FuncFormatter(_decimal))
    axis.set_minor_locator(NullLocator())


def log_axes(ax: Axes, x: Values | None = None, *, y: bool = True) -> None:
    """Make the x axis logarithmic, with a tick at every one of `x` if given, and the y axis too."""
    log(ax.xaxis)
    if x is not None:
        ticks = list(x)[:: max(1, -(-len(x) // 8))]
        apart = (ticks[-1] / ticks[0]) ** 0.08  # the width of a number, as a part of the axis
        kept = ticks[:1]
        for tick in ticks[1:]:
            kept += [tick] if tick >= apart * kept[-1] else []
        ax.xaxis.set_major_locator(FixedLocator(kept))
    if y:
        log(ax.yaxis)


def entry(ax: Axes, label: str, **look: Any) -> None:
    """Add an entry to the legend that is not a curve's own."""
    ax.plot([], [], label=label, **look)


def level(ax: Axes, y: float, text: str = "") -> None:
    """Draw a horizontal guide, with its value beside the panel."""
    ax.axhline(y, **GUIDE)
    if text:
        place: Any = ("axes fraction", "data")
        ax.annotate(text, (1.01, y), xycoords=place, va="center", fontsize=SMALL, color="0.35")


def headroom(ax: Axes, share: float = 0.3) -> None:
    """Leave this share of a linear panel free at the top, for a legend."""
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + (high - low) * share / (1 - share))


def legend_below(ax: Axes, columns: int = 2, *, under: float = -0.2) -> None:
    """Put the legend under the panel, where it hides no data."""
    look = {"columnspacing": 1.2, "handlelength": 1.8 if columns == 1 else 2.8}
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, under), ncols=columns, **look)


def legend_above(figure: Figure, ax: Axes, **look: Any) -> None:
    """Put the legend of one panel above all, in a row unless `ncols` is given."""
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", **{"ncols": len(labels), **look})


def label_ends(ax: Axes, lines: Sequence[tuple[float, str, str]], size: float = SMALL) -> None:
    """Write (y, text, colour) to the right of a panel, each beside its y, none over another."""
    if not lines:
        return
    figure_height = ax.figure.get_size_inches()[1]  # type: ignore[union-attr]
    gap = 1.25 * size / (72 * figure_height * max(ax.get_position().height, 0.2) * 0.8)
    place = ax.transData.transform([(1.0, y) for y, _, _ in lines])
    height = ax.transAxes.inverted().transform(place)[:, 1]
    order = np.argsort(height)
    sizes = np.array([gap * (1 + lines[i][1].count("\n")) for i in order])
    spread = height[order].copy()
    for _ in range(200):  # push neighbours apart, each by half of what they overlap
        overlap = (sizes[:-1] + sizes[1:]) / 2 - np.diff(spread)
        if (overlap < 1e-6).all():
            break
        push = np.maximum(overlap, 0) / 2
        spread[:-1] -= push
        spread[1:] += push
    for at, i in zip(spread, order, strict=True):
        _, text, color = lines[i]
        ax.text(1.02, at, text, color=color, fontsize=size, va="center", transform=ax.transAxes)


def letter(axes: Iterable[Axes]) -> None:
    """Put (a), (b), … before the titles of the panels."""
    for i, ax in enumerate(axes):
        title = ax.get_title(loc="left") or ax.get_title()
        ax.set_title(f"({chr(ord('a') + i)}) {title}".strip(), loc="left")
        ax.set_title("", loc="center")


def footnote(figure: Figure, *parts: str) -> None:
    """Say below the panels what they cannot show: number of draws, meaning of the bars."""
    text = "; ".join(part for part in parts if part)
    lines = textwrap.fill(text, round(23 * figure.get_size_inches()[0]))
    figure.supxlabel(lines, fontsize=SMALL, color="0.35", x=0.01, ha="left")


def finish(figure: Figure, axes: Values, *notes: str) -> Figure:
    """Letter the panels, say in a footnote what they cannot show, and return the figure."""
    letter(np.ravel(axes))  # type: ignore[arg-type]
    footnote(figure, *notes)
    return figure
