"""What the experiments on fresh networks share: the point of a sweep, its limit, its draws."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import _cells
import jax
import jax.numpy as jnp
import numpy as np
from _cells import Schedule, init_of, inputs, point_of
from pydantic import Field

import ntk_eoc as ne
from ntk_eoc.finite_width.draws import norms
from ntk_eoc.kernels.blocks import Ensemble
from ntk_eoc.kernels.sampled import draw_ntk, ntk_ensemble
from ntk_eoc.spectra.deviation import Deviation, deviation
from ntk_eoc.sweeps.batches import map_batched

SCHEDULES = {"quadratic": "$k^2m$", "linear": "$km$", "constant": "$m$", "cubic": "$k^3m$"}
"""The hidden widths m_k in formulas."""


class Cell(_cells.Cell):
    """A block of fresh networks of one shape, on one data set, drawn without weights."""

    schedule: Schedule = "quadratic"
    m: int = Field(ge=1)
    depth: int = Field(ge=1)
    outputs: int = Field(default=1, ge=1)


def hidden_widths(cell: Any) -> tuple[int, ...]:
    """(m_1, …, m_{l−1})."""
    return ne.widths(cell.schedule, cell.m, cell.depth, cell.outputs)[:-1]


def cost(cell: Any) -> float:
    """Gaussians to draw and to multiply."""
    columns = cell.n * (1 + cell.outputs)
    return cell.seeds * float(sum(hidden_widths(cell))) * columns * (1 + columns / 16)


@lru_cache(maxsize=8)
def limit(point: Any) -> np.ndarray:
    """K∞ [n, n, k, k] in float64, whatever the cell's dtype."""
    x = jnp.asarray(inputs(point))
    kernel = ne.ntk_infinite(init_of(point), x, x, point.depth)
    return np.asarray(ne.with_outputs(kernel, point.outputs), dtype=np.float64)


def draws(cell: Any, of: Callable[[Any], Any] = ne.ntk_matrix) -> Any:
    """`of` K(θ) [n, n, k, k] for every seed of the cell, stacked; the NTK matrix unless given.

    The widths are data of one program, which every cell meets again that draws alike otherwise.
    """
    widths = (*hidden_widths(cell), cell.outputs)
    return map_batched(one(of), cell.seed_keys(), cell.batch, ensemble(cell, widths))


@lru_cache(maxsize=8)
def one(of: Callable[[Any], Any]) -> Callable[[jax.Array, Ensemble], Any]:
    """From a key to `of` K(θ) of one network of an ensemble."""
    return lambda key, networks: of(draw_ntk(key, networks))


def ensemble(cell: Any, widths: Sequence[int]) -> Ensemble:
    """Return the fresh networks of these widths on the cell's inputs."""
    x = jnp.asarray(inputs(point_of(cell)))
    return ntk_ensemble(init_of(cell), x, widths, dtype=cell.dtype)


LAW_DRAWS = 2000
"""Gaussian matrices behind a predicted mean: they place it to a percent."""


def predicted_norm(point: Any) -> float:
    """Mean ‖K(θ) − K∞‖ by the law of `ntk_eoc.fluctuations`, with nothing fitted."""
    return _norm_at_one(point_of(point).model_copy(update={"m": 1})) / point.m**0.5


@lru_cache(maxsize=64)
def _norm_at_one(point: Any) -> float:
    law = ne.fluctuations(init_of(point), inputs(point), point.depth, point.outputs)
    widths = (*hidden_widths(point), point.outputs)
    return float(norms(law, jax.random.key(0), widths, LAW_DRAWS).operator.mean())


def deviations(cell: Any, matrices: np.ndarray) -> Deviation:
    """How far NTK matrices of the cell's networks are from their limit, [s] each."""
    limit_matrix = np.asarray(ne.ntk_matrix(limit(point_of(cell))))
    return deviation(matrices, limit_matrix, cell.n)
