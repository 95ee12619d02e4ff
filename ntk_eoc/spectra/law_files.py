"""A law of eigenvalues in a file of plain arrays, which holds no code."""

import zipfile
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ntk_eoc.spectra.laws import SpectralLaw
from ntk_eoc.spectra.piecewise import PiecewiseDensity, interpolate

KIND = "ntk_eoc spectral law 1"
_PANELS = tuple(one.name for one in fields(PiecewiseDensity))


def save(law: SpectralLaw, path: str | Path) -> Path:
    """Write a law to a .npz file: its atoms, and its density as polynomials on panels.

    `load` gives a law of the same atoms, masses, moments and distribution function, bit for bit;
    its density is read from the polynomials, to about ten digits of its largest values, seven next
    to an end of the support. What the law was made from is not kept: a loaded Marchenko–Pastur law
    is an ordinary one.

    Returns:
        The path.

    Raises:
        ValueError: If the path does not end in .npz.
    """
    path = Path(path)
    _check(path)
    arrays: dict[str, Any] = {
        "kind": KIND,
        "points": law.points,
        "masses": law.masses,
        "pieces": law.pieces,
        "doubt": law.doubt,
        "known": np.array(law.known or (), np.float64),
    }
    if len(law.panels.origin):
        arrays |= {f"panels_{name}": getattr(law.panels, name) for name in _PANELS}
    np.savez(path, **arrays)
    return path


def load(path: str | Path) -> SpectralLaw:
    """Return the law that `save` wrote.

    Raises:
        ValueError: If the file is not one of `save`.
        FileNotFoundError: If there is none.
    """
    path = Path(path)
    _check(path)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as held:
            arrays = dict(held)
        if str(arrays["kind"]) != KIND:
            raise ValueError(f"its kind is {arrays['kind']}")
        parts = [arrays[f"panels_{name}"] for name in _PANELS if "panels_origin" in arrays]
        known = tuple(arrays["known"].tolist()) or None
        points, masses, pieces = (arrays[name] for name in ("points", "masses", "pieces"))
        doubt = float(arrays["doubt"])
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"`path` must be a file that SpectralLaw.save wrote, got '{path}': {error}."
        ) from None
    if not parts:
        return SpectralLaw(points, masses, pieces, None, doubt, known)
    panels = PiecewiseDensity(*parts)
    density = partial(interpolate, panels)
    loaded = SpectralLaw(points, masses, pieces, density, doubt, known)
    loaded.__dict__["panels"] = panels  # the very same, not those of the interpolated density
    return loaded


def _check(path: Path) -> None:
    if path.suffix != ".npz":
        raise ValueError(f"`path` must end in .npz, got '{path}'.")
