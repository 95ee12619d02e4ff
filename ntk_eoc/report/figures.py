"""Figures and tables of a run to files."""

import hashlib
import io
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from ntk_eoc.report import style, tables
from ntk_eoc.sweeps.files import write_whole


def save(figure: Figure, path: Path) -> list[Path]:
    """Write PATH.png and PATH.pdf, each whole or not at all; close the figure, return both paths.

    No date is written, so that equal records give equal files.
    """
    files = [path.with_name(path.name + suffix) for suffix in (".png", ".pdf")]
    files[0].parent.mkdir(parents=True, exist_ok=True)
    # It warns of the date of a font of matplotlib's each time a PDF is written.
    logging.getLogger("fontTools").setLevel(logging.ERROR)
    undated = ({"Software": None}, {"CreationDate": None, "Producer": None})
    for file, metadata in zip(files, undated, strict=True):
        drawn = io.BytesIO()
        figure.savefig(drawn, format=file.suffix[1:], metadata=metadata)
        write_whole(file, drawn.getvalue())
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


def tabulate(
    how: Callable[[Any], dict[str, tables.Table]],
    records: Any,
    folder: Path,
    name: str,
    note: str = "",
) -> list[Path]:
    """Write an experiment's tables as Markdown and CSV under `folder`; return the paths.

    Args:
        how: The experiment's `tables`: name → table.
        records: What they are made of.
        folder: Made if it is not there.
        name: Of the config; tables are called `name`_KEY.
        note: What the records lack.
    """
    made = how(records)
    origin = "; ".join(filter(None, (f"{len(records)} records {_digest(records)}", note)))
    return tables.write(made, folder, name, f"{name}.toml", origin) if made else []


def _digest(records: Any) -> str:
    """A hash of the arrays of all records."""
    found = hashlib.sha256()
    for record in records:
        for key in sorted(record.arrays):
            found.update(key.encode() + np.ascontiguousarray(record.arrays[key]).tobytes())
    return found.hexdigest()[:12]
