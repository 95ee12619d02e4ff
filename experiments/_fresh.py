"""What the experiments on fresh networks share: the point of a sweep, its limit, its draws."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from _names import accepted_by, one_of
from matplotlib.axes import Axes
from pydantic import Field, model_validator

import ntk_eoc as ne
from ntk_eoc import data
from ntk_eoc.estimates import mean
from ntk_eoc.network import SCHEDULES
from ntk_eoc.sweeps import config
from ntk_eoc.sweeps.batches import map_batched

Schedule = Annotated[str, one_of("schedule", SCHEDULES)]


class Cell(config.Cell):
    """A block of fresh networks of one shape, on one data set, drawn without weights."""

    activation: Annotated[str, accepted_by(lambda name: by_name(name))]
    data: str = "sphere:64"
    n: int = Field(ge=1)
    data_seed: int = Field(default=0, ge=0)
    schedule: Schedule = "quadratic"
    m: int = Field(ge=1)
    depth: int = Field(ge=1)
    outputs: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _data_exists(self) -> "Cell":
        data.load(self.data, self.n, self.data_seed)
        return self


def by_name(name: str) -> ne.AbsLinear:
    """Return the scale-invariant activation of a name, or "angle:t": (a, b) = (cos t°, sin t°)."""
    if name.startswith("angle:"):
        try:
            angle = math.radians(float(name.removeprefix("angle:")))
        except ValueError:
            raise ValueError(f'`activation` must be like "angle:45", got {name!r}.') from None
        return ne.abs_linear(math.cos(angle), math.sin(angle), name)
    act = ne.activation(name)
    if not isinstance(act, ne.AbsLinear):
        raise ValueError(
            f"`activation` must be scale-invariant for the bound of [C], got {name!r}."
        )
    if act.delta == 0:
        raise ValueError(f"`activation` must have a kink for the bound of [C], got {name!r}.")
    return act


def hidden_widths(cell: Cell) -> tuple[int, ...]:
    """(m_1, …, m_{l−1})."""
    return ne.widths(cell.schedule, cell.m, cell.depth, cell.outputs)[:-1]


def cost(cell: Cell) -> float:
    """Gaussians to draw and to multiply."""
    columns = cell.n * (1 + cell.outputs)
    return cell.seeds * float(sum(hidden_widths(cell))) * columns * (1 + columns / 16)


@lru_cache(maxsize=8)
def inputs(name: str, n: int, seed: int) -> np.ndarray:
    """The points of a data set, float64."""
    return data.load(name, n, seed).x


def point_of(cell: Any) -> Any:
    """The cell without its choice of seeds: what all its blocks share, compiled once."""
    return cell.model_copy(update={"first_seed": 0, "seeds": 0})


@lru_cache(maxsize=8)
def limit(point: Any) -> np.ndarray:
    """K∞ [n, n, k, k] in float64, whatever the cell's dtype."""
    x = jnp.asarray(inputs(point.data, point.n, point.data_seed))
    kernel = ne.ntk_infinite(ne.edge_of_chaos(by_name(point.activation)), x, x, point.depth)
    return np.asarray(ne.with_outputs(kernel, point.outputs), dtype=np.float64)


def draws(cell: Any, of: Callable[[Any], Any] = lambda kernel: kernel) -> Any:
    """`of` K(θ) [n, n, k, k] for every seed of the cell, stacked."""
    return map_batched(_one(point_of(cell), of), cell.seed_keys(), cell.batch)


@lru_cache(maxsize=8)
def _one(point: Any, of: Callable[[Any], Any]) -> Callable[[jax.Array], Any]:
    init = ne.edge_of_chaos(by_name(point.activation))
    x = jnp.asarray(inputs(point.data, point.n, point.data_seed))
    widths = (*hidden_widths(point), point.outputs)
    return lambda key: of(ne.ntk_sampled(key, init, x, widths, dtype=point.dtype))


def errorbars(
    ax: Axes, x: Sequence[Any], groups: Sequence[np.ndarray], scale: Any = 1.0, **look: Any
) -> None:
    """Plot means with their standard errors."""
    estimates = [mean(group) for group in groups]
    y = np.array([e.mean for e in estimates]) * scale
    ax.errorbar(x, y, np.array([e.error for e in estimates]) * scale, **look)
