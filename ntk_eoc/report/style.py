"""How every figure looks: readable in print, in grey and by the colour-blind."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib.pyplot as plt
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    LogFormatterSciNotation,
    NullLocator,
    StrMethodFormatter,
)
from tueplots import axes as tue_axes
from tueplots import fontsizes

# Okabe and Ito's palette, black last; markers and line styles repeat the distinction.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES = ("-", "--", "-.", ":")
GUIDE: dict[str, Any] = {"color": "0.3", "linewidth": 1.0, "linestyle": ":", "zorder": 1}

TEXT_WIDTH = 6.75  # inches, a two-column page
PANEL_HEIGHT = 2.35


def _parameters() -> Any:
    return {
        **fontsizes.icml2024(default_smaller=0),
        **tue_axes.lines(),
        **tue_axes.legend(frameon=False),
        **tue_axes.spines(top=False, right=False),
        "axes.prop_cycle": cycler(color=COLORS),
        "errorbar.capsize": 1.5,
        "lines.markersize": 3.2,
        "legend.handlelength": 1.8,
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


def looks(names: Sequence[Any]) -> dict[Any, dict[str, Any]]:
    """Give every name a colour and a marker of its own."""
    pairs = zip(itertools.cycle(COLORS), itertools.cycle(MARKERS), strict=False)
    return {
        name: {"color": color, "marker": marker}
        for name, (color, marker) in zip(names, pairs, strict=False)
    }


def log_axes(ax: Axes, x: Sequence[float], *, y: bool = True) -> None:
    """Make the x axis logarithmic with a tick at every one of `x`, and the y axis too."""
    ax.set_xscale("log")
    step = max(1, -(-len(x) // 8))
    ax.xaxis.set_major_locator(FixedLocator(list(x)[::step]))
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    if y:
        ax.set_yscale("log")
        # Few decades: the ticks between powers of ten carry numbers too.
        ax.yaxis.set_minor_formatter(LogFormatterSciNotation(minor_thresholds=(1.5, 0.6)))


def legend_below(ax: Axes, columns: int = 2) -> None:
    """Put the legend under the panel, where it hides no data."""
    under = (0.5, -0.2)
    ax.legend(loc="upper center", bbox_to_anchor=under, ncols=columns, fontsize=6, handlelength=2.6)


def letter(axes: Sequence[Axes]) -> None:
    """Put (a), (b), … above the panels."""
    for i, ax in enumerate(axes):
        ax.set_title(f"({chr(ord('a') + i)}) {ax.get_title()}".strip(), loc="left")
        ax.set_title("", loc="center")


def footnote(figure: Figure, text: str) -> None:
    """Say below the panels what they cannot show: missing cells, number of draws."""
    figure.supxlabel(text, fontsize=6, color="0.35", x=0.01, ha="left")
