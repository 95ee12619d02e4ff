"""A figure as a piece of HTML: its curves as SVG, and what they show in words."""

import base64
import io
import re
from html import escape
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

LARGEST = 300_000  # bytes of SVG; a figure of more marks than that becomes a picture of pixels
_IDS = re.compile(r'(\bid="|href="#|url\(#)')
_MATH = {r"\infty": "∞", r"\theta": "θ", r"\Delta": "Δ", r"\phi": "φ", r"\varphi": "φ"} | {
    r"\lambda": "λ", r"\kappa": "κ", r"\gamma": "γ", r"\rho": "ρ", r"\beta": "β", r"\chi": "χ",
    r"\sigma": "σ", r"\pi": "π", r"\tau": "τ", r"\mu": "μ", r"\approx": "≈", r"\propto": "∝",
    r"\sqrt": "√", r"\times": "×", r"\cdot": "·", r"\pm": "±", r"\leq": "≤", r"\geq": "≥",
    r"\ast": "*", r"\neq": "≠", r"\|": "‖", r"\,": " ", r"\;": " ", r"\!": "", r"\quad": " ",
    r"\log": "log", r"\max": "max",
}  # fmt: skip


def html(figure: Figure, name: str) -> str:
    """Return a figure as SVG for a page, or as PNG if the SVG is larger than `LARGEST`; close it.

    Args:
        figure: Drawn in the house style.
        name: Unlike that of any other figure of the page: ids in the SVG begin with it.
    """
    words = alternative(figure)
    text = io.StringIO()
    with plt.rc_context({"svg.hashsalt": name, "svg.fonttype": "path"}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    drawing = text.getvalue()
    wide = round(figure.get_size_inches()[0] * 96 * 1.25)
    if len(drawing.encode()) > LARGEST:
        drawing = _pixels(figure, words, wide)
    else:
        drawing = _inline(drawing, name, words, wide)
    plt.close(figure)
    return drawing


def _inline(svg: str, name: str, words: str, wide: int) -> str:
    """The <svg> element alone, without a size of its own, its ids prefixed."""
    body = svg[svg.index("<svg") :]
    head, rest = body.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    assert box is not None
    rest = re.sub(r"<metadata>.*?</metadata>", "", rest, flags=re.DOTALL)
    rest = re.sub(r"<!--.*?-->\s*", "", rest, flags=re.DOTALL)
    rest = _IDS.sub(lambda match: f"{match[1]}{name}-", rest)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'{box[0]} style="max-width:{wide}px" role="img" aria-label="{escape(words)}">{rest}'
    )


def _pixels(figure: Figure, words: str, wide: int) -> str:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=160, metadata={"Software": None})
    code = base64.b64encode(data.getvalue()).decode()
    return (
        f'<img src="data:image/png;base64,{code}" style="max-width:{wide}px" alt="{escape(words)}">'
    )


def alternative(figure: Figure) -> str:
    """Say what a figure shows: for each panel its title, axes and curves."""
    told = [_panel(ax) for ax in figure.axes if ax.get_visible() and ax.axison]
    return " ".join(filter(None, told)) or "A figure without labels."


def _panel(ax: Axes) -> str:
    title = " ".join(filter(None, (ax.get_title(loc) for loc in ("left", "center", "right"))))
    x, y = ax.get_xlabel(), ax.get_ylabel()
    scales = "".join(
        f", {name} logarithmic" for name in ("x", "y") if getattr(ax, f"get_{name}scale")() == "log"
    )
    parts = [title, f"{y} against {x}{scales}" if x and y else (x or y)]
    labels = [str(label) for label in ax.get_legend_handles_labels()[1]]
    parts += [f"Curves: {', '.join(labels)}"] if labels else []
    return plain(". ".join(filter(None, parts)) + "." if any(parts) else "")


def plain(text: Any) -> str:
    """Return a label with the formulas of mathtext in plain letters."""
    found = str(text)
    for command in sorted(_MATH, key=len, reverse=True):
        found = found.replace(command, _MATH[command])
    found = re.sub(r"√\{(\w)\}", r"√\1", found)
    found = re.sub(r"\\[td]?frac\{([^{}]*)\}\{([^{}]*)\}", r"(\1)/(\2)", found)
    found = re.sub(r"\\[td]?frac(\w)(\w)", r"\1/\2", found)
    found = re.sub(r"\\(?:mathrm|mathbf|mathcal|hat|bar|tilde|rm|it|left|right)\b", "", found)
    return " ".join(re.sub(r"[${}\\]", "", found).split())
