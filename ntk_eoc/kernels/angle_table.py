"""The limit kernel of inputs of one norm, for any activation: a polynomial of their angle.

With e = min(θ, π − θ) and v = tan(e/4), K∞ is smooth in w = log(1 + v/v_0) on either side of a
right angle, also where a kink of φ or the depth bends it near 0 and π; v_0 is about 1/depth. It is
evaluated once at Chebyshev nodes, in float64, by `ntk_infinite`.
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ntk_eoc.chebyshev import clenshaw, nodes, to_coefficients
from ntk_eoc.eoc import Init
from ntk_eoc.kernels.angles import Angles, safe_sqrt
from ntk_eoc.kernels.infinite import ntk_infinite
from ntk_eoc.precision import in_float64

TOLERANCE = 1e-11  # relative to the largest entry, between the nodes
SIZES = (48, 160)
_V_END = math.tan(math.pi / 8)  # v at a right angle


class AngleTable(NamedTuple):
    """Chebyshev coefficients of K∞ at acute (row 0) and obtuse (row 1) angles.

    Attributes:
        coefficients: Of K∞.
        v_0: Where w = log(1 + v/v_0) turns from linear to logarithmic.
        error: Largest error between the nodes, relative to the largest entry.
    """

    coefficients: Float[Any, "2 c"]
    v_0: Float[Any, ""]
    error: Float[Any, ""]


@lru_cache(maxsize=64)
@in_float64
def angle_table(init: Init, q: float, depth: int) -> AngleTable:
    """Tabulate K∞ of inputs with ‖x‖²/d = q over all angles; its `error` says how well."""
    v_0 = 1 / depth
    for n in SIZES:
        t = np.concatenate([nodes(n), np.cos(np.pi * np.arange(n + 1) / n)])
        v = v_0 * np.expm1((t + 1) / 2 * np.log1p(_V_END / v_0))
        e = 4 * np.arctan(np.minimum(v, _V_END))
        theta = np.concatenate([e, math.pi - e])
        x = math.sqrt(2 * q) * np.stack([np.cos(theta), np.sin(theta)], 1)
        found = np.asarray(ntk_infinite(init, math.sqrt(2 * q) * np.array([[1.0, 0.0]]), x, depth))
        values = found.reshape(2, -1)
        coefficients = values[:, :n] @ to_coefficients(n).T
        basis = np.cos(np.arange(n)[:, None] * np.arccos(t[n:])[None])
        error = np.abs(coefficients @ basis - values[:, n:]).max() / np.abs(values).max()
        if error <= TOLERANCE:
            break
    return AngleTable(coefficients, np.asarray(v_0), np.asarray(error))


def kernel_by_table(table: AngleTable, angles: Angles) -> Float[Array, "..."]:
    """Return K∞ of pairs, elementwise; the table in the dtype of the angles."""
    least, acute = jnp.minimum(angles.delta, angles.eta), angles.delta <= angles.eta
    v = safe_sqrt(least) / (math.sqrt(2) + jnp.sqrt(2 - least))
    t = jnp.log1p(v / table.v_0) * (2 / jnp.log1p(_V_END / table.v_0)) - 1
    rows = [jnp.where(acute, near, far) for near, far in table.coefficients.T]
    return clenshaw(rows, t)
