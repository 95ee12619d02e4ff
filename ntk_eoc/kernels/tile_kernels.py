"""K∞ of a tile of pairs, for any activation: by angles where that is possible, else by layers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ntk_eoc.checks import require
from ntk_eoc.eoc import Init, scale_invariant
from ntk_eoc.gaussian import ActivationError
from ntk_eoc.kernels.angle_table import TOLERANCE, angle_table, kernel_by_table
from ntk_eoc.kernels.angles import norms
from ntk_eoc.kernels.dual_recursion import dual_recursion
from ntk_eoc.kernels.infinite import ntk_of_angles
from ntk_eoc.kernels.pair_tiles import PairFunction, Points, tile_angles

TileFunction = Callable[[Any, Points, Points, Array], Array]


def kernel_of_tiles(init: Init, x: Array, depth: int) -> tuple[TileFunction, Any]:
    """Return the kernel of a tile, and its parameters."""
    if scale_invariant(init) is not None:
        f, params = ntk_of_angles(init, depth, x.dtype)
        return ByAngles(f), params
    lengths = np.asarray(norms(x), np.float64)
    if one_norm(lengths, x.dtype) and lengths[0] > 0:
        table = angle_table(init, float(np.mean(lengths) ** 2 / x.shape[1]), depth)
        if table.error <= TOLERANCE:
            params = jax.tree.map(lambda a: jnp.asarray(a, x.dtype), table)
            return ByAngles(kernel_by_table), params
        if init.activation.closed_form is None:
            raise ActivationError(
                f"the limit kernel of {init.activation.name!r} is no polynomial of the angle: the "
                f"relative error of its table is {float(table.error):.1e}."
            )
    allowed = "of one norm for an activation without closed forms (see `normalise`)"
    several = f"norms {lengths.min():.6g} to {lengths.max():.6g}"
    require(init.activation.closed_form is not None, "x", allowed, several)
    return _ByLayers(depth), init


def one_norm(lengths: np.ndarray, dtype: Any) -> bool:
    """Return whether the norms of inputs of that dtype are one norm, up to rounding."""
    rounding = 1e-12 if dtype == np.float64 else 16 * float(jnp.finfo(dtype).eps)
    return bool(np.ptp(lengths) <= rounding * lengths.max())


@dataclass(frozen=True)
class ByAngles:
    """A function of angles, of a tile; equal ones share their programs."""

    f: PairFunction

    def __call__(self, params: Any, p: Points, q: Points, same: Array) -> Array:
        """Return the kernel of the pairs of a tile."""
        return self.f(params, tile_angles(p, q, same))


@dataclass(frozen=True)
class _ByLayers:
    """The recursion of closed forms, of a tile."""

    depth: int

    def __call__(self, init: Init, p: Points, q: Points, same: Array) -> Array:
        del same  # the angles of repeated points are exact
        x1, x2 = (points.rows.x * points.rows.scale[:, None] for points in (p, q))
        return dual_recursion(init, x1, x2, self.depth).pairs.kernel
