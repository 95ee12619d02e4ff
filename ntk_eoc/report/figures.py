"""Figures to files."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from ntk_eoc.report import style


def save(figure: Figure, path: Path) -> list[Path]:
    """Write PATH.png and PATH.pdf, close the figure, and return both paths.

    No date is written, so that equal records give equal files.
    """
    files = [path.with_name(path.name + suffix) for suffix in (".png", ".pdf")]
    files[0].parent.mkdir(parents=True, exist_ok=True)
    # It warns of the date of a font of matplotlib's each time a PDF is written.
    logging.getLogger("fontTools").setLevel(logging.ERROR)
    figure.savefig(files[0], metadata={"Software": None})
    figure.savefig(files[1], metadata={"CreationDate": None, "Producer": None})
    plt.close(figure)
    return files


def draw(
    how: Callable[[Any], Figure | dict[str, Figure]],
    records: Any,
    folder: Path,
    name: str,
    note: str = "",
) -> list[Path]:
    """Draw records in the house style and save every figure under `folder`; return the paths.

    Args:
        how: The experiment's `draw`: a figure, saved as `name`, or several, as `name`_KEY.
        records: What it draws.
        folder: Made if it is not there.
        name: Of the files.
        note: Written below each figure: what the records lack.
    """
    with style.context():
        drawn = how(records)
        paths = []
        for key, figure in (drawn if isinstance(drawn, dict) else {"": drawn}).items():
            if note:
                figure.text(
                    0.995, 0.004, note, ha="right", va="bottom", fontsize=6, color="#D55E00"
                )
            paths += save(figure, folder / "_".join(filter(None, (name, key))))
        return paths
