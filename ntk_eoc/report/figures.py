"""Figures to files."""

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
    figure.savefig(files[0], metadata={"Software": None})
    figure.savefig(files[1], metadata={"CreationDate": None, "Producer": None})
    plt.close(figure)
    return files


def draw(
    how: Callable[[Any], Figure | dict[str, Figure]], records: Any, folder: Path, name: str
) -> list[Path]:
    """Draw records in the house style and save every figure under `folder`.

    A single figure is called `name`, one of several `name`_KEY.
    """
    with style.context():
        drawn = how(records)
        figures = drawn if isinstance(drawn, dict) else {"": drawn}
        return [
            path
            for key, figure in figures.items()
            for path in save(figure, folder / "_".join(filter(None, (name, key))))
        ]
