"""What cells are made of: names checked where a config enters, and networks on a data set."""

import math
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, Field, model_serializer, model_validator

import ntk_eoc as ne
from ntk_eoc import data, layer_widths
from ntk_eoc.checks import unknown_name
from ntk_eoc.eoc import special_points
from ntk_eoc.spectra import two_layer
from ntk_eoc.sweeps import config

WORDS = {
    "digits": "whitened digits",
    "identity": "1",
    "two_valued": "½, 3/2",
    "uniform": "U[½, 3/2]",
    "rademacher": "±1",
    "split": "1, √30",
}
"""What figures call laws of inputs and of output weights, where that is not their name."""


def accepted_by(make: Callable[[str], Any]) -> AfterValidator:
    """A name that `make` takes; what it raises is the message."""

    def check(name: str) -> str:
        make(name)
        return name

    return AfterValidator(check)


def one_of(field: str, known: Iterable[str]) -> AfterValidator:
    """A name out of a table."""
    known = list(known)

    def check(name: str) -> str:
        if name not in known:
            raise ValueError(unknown_name(field, name, known))
        return name

    return AfterValidator(check)


def activation(name: str) -> ne.Activation:
    """Return the activation of a name, or of "angle:t": a s + b|s|, (a, b) = (cos t°, sin t°)."""
    if not name.startswith("angle:"):
        return ne.activation(name)
    try:
        angle = math.radians(float(name.removeprefix("angle:")))
    except ValueError:
        raise ValueError(f'`activation` must be like "angle:45", got {name!r}.') from None
    return ne.abs_linear(math.cos(angle), math.sin(angle), name)


def with_a_bound(name: str) -> ne.AbsLinear:
    """Return an activation that the bound of [C] is about: scale-invariant, with a kink."""
    act = activation(name)
    if not isinstance(act, ne.AbsLinear):
        raise ValueError(
            f"`activation` must be scale-invariant for the bound of [C], got {name!r}."
        )
    if act.delta == 0:
        raise ValueError(f"`activation` must have a kink for the bound of [C], got {name!r}.")
    return act


Activation = Annotated[str, accepted_by(activation)]
Schedule = Annotated[str, one_of("schedule", layer_widths.POWERS)]
OutputWeights = Annotated[str, one_of("output_weights", two_layer.WEIGHTS)]
INPUTS = (*two_layer.ENTRIES, "digits")
Inputs = Annotated[str, one_of("inputs", INPUTS)]


class Cell(config.Cell):
    """Networks of one activation at a point of its edge of chaos, on one data set.

    The point is the one with this `sigma_b` or this `q`; with neither, the one where χ_∥ = 1 too,
    and q = 1 where there is none. Inputs have ‖x‖²/d = q.
    """

    activation: Activation
    sigma_b: float | None = Field(default=None, ge=0)
    q: float | None = Field(default=None, gt=0)
    data: str = "sphere:64"
    n: int = Field(ge=1)
    data_seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _can_be_built(self) -> "Cell":
        init_of(self)
        data.load(self.data, self.n, self.data_seed)
        return self

    @model_serializer(mode="wrap")
    def _without_unset(self, handler: Any) -> dict[str, Any]:
        # A cell's draws are a hash of its fields: a field that nobody set does not touch them.
        unset = {name for name in ("sigma_b", "q") if getattr(self, name) is None}
        return {name: value for name, value in handler(self).items() if name not in unset}


def init_of(cell: Any) -> ne.Init:
    """Return the cell's point of the edge of chaos."""
    return _edge(cell.activation, cell.sigma_b, cell.q)


@lru_cache(maxsize=64)
def _edge(name: str, sigma_b: float | None, q: float | None) -> ne.Init:
    act = activation(name)
    if sigma_b is not None or q is not None:
        return ne.edge_of_chaos(act, sigma_b=sigma_b, q=q)
    # Not q = 1 for all: at the gelu's or the silu's, χ_∥ > 1 blows rounding up in the deep.
    points = special_points(act)
    return points[0] if points else ne.edge_of_chaos(act, q=1.0)


def inputs(cell: Any, n: int | None = None) -> np.ndarray:
    """Return n points of the cell's data set, float64, at the norm of its edge."""
    x = data.load(cell.data, n or cell.n, cell.data_seed).x
    return np.asarray(x, np.float64) * math.sqrt(init_of(cell).q)


def point_of(cell: Any) -> Any:
    """Return the cell without its choice of seeds: what all its blocks share, compiled once."""
    return cell.model_copy(update={"first_seed": 0, "seeds": 0})


def angles_of(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return points of R² on the edge at q = 1: one, and others at these angles to it."""
    one, others = np.array([[1.0, 0.0]]), np.stack([np.cos(u), np.sin(u)], axis=1)
    return math.sqrt(2) * one, math.sqrt(2) * others


def columns(names: Iterable[str], rows: Iterable[Iterable[Any]]) -> dict[str, np.ndarray]:
    """Return what was measured row by row, by the names of the columns."""
    return {k: np.array(c) for k, c in zip(names, zip(*rows, strict=True), strict=True)}


def of_delta(delta: float) -> ne.AbsLinear:
    """Return the activation √(1 − Δ) s + √Δ |s|."""
    return ne.abs_linear(math.sqrt(1 - delta), math.sqrt(delta))
