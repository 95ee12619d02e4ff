"""The limit kernel of unit inputs at any depth, as one polynomial of the angle.

With τ = 4Δ_φ u l/(3π), u = sin(e/2) and e = min(θ, π − θ), depth enters κ_l mostly through τ
(`docs/spectrum.md`), so that the defect l − κ_l, divided by its leading behaviour, is smooth in
w = log(1 + v/v_0), v = tan(e/4), v_0 ∝ 1/(Δ_φ l): a few dozen Chebyshev coefficients carry it to
the last digits, at depth 10 and at depth 10⁵ alike. The coefficients are found in float64 on the
host, whatever the precision of JAX, by `angular_recursion.host_recursion`.
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ntk_eoc.chebyshev import clenshaw, nodes, to_coefficients
from ntk_eoc.checks import require, require_count
from ntk_eoc.kernels.angles import safe_sqrt
from ntk_eoc.kernels.angular_recursion import Vector, host_recursion

SMALLEST_DELTA = 1e-6  # below, Δ_φ's own scale would need a longer table
SMALLEST_DEPTH = 3
TOLERANCE = {"float64": 4e-13, "float32": 1e-6}  # relative, between the nodes
# Few sizes, so that one compiled program serves every depth.
SIZES: dict[str, tuple[int, ...]] = {"float64": (48, 64, 96, 128, 192), "float32": (24, 32, 48, 64)}
_V_END = math.tan(math.pi / 8)  # v at a right angle


class KappaTable(NamedTuple):
    """Chebyshev coefficients of l − κ_l and u_{l−1}, for acute (row 0) and obtuse (1) angles.

    Attributes:
        defect: Coefficients of (l − κ_l)/shape.
        distance: Coefficients of u_{l−1}/shape.
        depth: l.
        v_0: Where w = log(1 + v/v_0) turns from linear to logarithmic.
        length: w at a right angle.
        floor: s = √(v² + floor²) is v on the acute side; on the obtuse one the floor keeps the
            distance that opposite inputs have after one layer.
        knee: s at τ ≈ 1.
        corner: s where the defect turns from linear to quadratic, as it is for Δ_φ → 0.
    """

    defect: Float[Any, "2 c"]
    distance: Float[Any, "2 c"]
    depth: Float[Any, ""]
    v_0: Float[Any, "2"]
    length: Float[Any, "2"]
    floor: Float[Any, ""]
    knee: Float[Any, ""]
    corner: Float[Any, ""]


def _scales(delta_phi: float, depth: int) -> KappaTable:
    """A table without coefficients: the scales on which the kernel varies."""
    knee = min(3 * math.pi / (8 * delta_phi * depth), 1.0)
    corner = min(delta_phi * depth / 2, 1.0)
    floor = math.sqrt((1 - delta_phi) / (4 * delta_phi))
    v_0 = np.array([min(knee, corner), min(knee, floor) if floor > 0 else knee])
    empty = np.zeros((2, 0))
    scalars = (np.asarray(s) for s in (floor, knee, corner))
    return KappaTable(empty, empty, np.asarray(float(depth)), v_0, np.log1p(_V_END / v_0), *scalars)


def _shapes(table: KappaTable, v: Any, s: Any) -> tuple[Any, Any]:
    """Leading behaviour of l − κ_l and of u_{l−1}."""
    shape = s / (s + table.knee)
    return shape * (s + table.corner), shape


def _samples(delta_phi: float, depth: int, t: Vector) -> tuple[Vector, Vector]:
    """(l − κ_l)/shape and u_{l−1}/shape at the points t of [−1, 1], [2, points] each."""
    table = _scales(delta_phi, depth)
    w = (t[None, :] + 1) / 2 * table.length[:, None]
    v = np.minimum(table.v_0[:, None] * np.expm1(w), _V_END)
    s = np.stack([v[0], np.sqrt(v[1] ** 2 + table.floor**2)])
    least = 2 * (2 * v / (1 + v * v)) ** 2  # 2 sin²(e/2), with v = tan(e/4)
    delta = np.stack([least[0], 2 - least[1]])
    eta = np.stack([2 - least[0], least[1]])
    last = host_recursion(delta_phi, delta, eta, depth)
    defect_shape, distance_shape = _shapes(table, v, s)
    return last.defect / defect_shape, np.sqrt(last.delta / 2) / distance_shape


@lru_cache(maxsize=256)
def _fit(delta_phi: float, depth: int) -> tuple[Vector, Vector, Vector, Vector, Vector]:
    """Coefficients of both functions, and points between the nodes with the values there."""
    for n in (64, 192):
        between = np.cos(math.pi * np.arange(n) / n)  # v = 0 itself, where 0/0 stands, left out
        defect, distance = _samples(delta_phi, depth, np.concatenate([nodes(n), between]))
        fits = tuple(values[:, :n] @ to_coefficients(n).T for values in (defect, distance))
        found = (*fits, between, defect[:, n:], distance[:, n:])
        if _error(found, n) <= TOLERANCE["float64"]:
            return found
    raise ArithmeticError(
        f"the table for delta_phi {delta_phi!r} and depth {depth} misses its tolerance: relative "
        f"error {_error(found, n):.1e}, allowed {TOLERANCE['float64']:.1e}."
    )


def _error(found: tuple[Vector, Vector, Vector, Vector, Vector], size: int) -> float:
    """Largest relative error of `size` coefficients between the nodes."""
    defect, distance, t, *truth = found
    basis = np.cos(np.arange(size)[:, None] * np.arccos(t)[None, :])
    fits = (defect[:, :size] @ basis, distance[:, :size] @ basis)
    return max(float(np.max(np.abs(f / v - 1))) for f, v in zip(fits, truth, strict=True))


@lru_cache(maxsize=256)
def kappa_table(delta_phi: float, depth: int, dtype: str = "float64") -> KappaTable:
    """Tabulate l − κ_l and u_{l−1} over all angles, for the precision `dtype`.

    The size is the least whose relative error, checked between the nodes against the recursion,
    is within `TOLERANCE`. Cached; about a second at depth 10⁴, in proportion to the depth.

    Args:
        delta_phi: Δ_φ in [SMALLEST_DELTA, 1].
        depth: l >= SMALLEST_DEPTH.
        dtype: "float64" or "float32": of the evaluation; the table is built in float64.

    Raises:
        ValueError: If an argument is out of range.
        ArithmeticError: If no size reaches the tolerance.
    """
    allowed = f"in [{SMALLEST_DELTA:g}, 1]"
    require(SMALLEST_DELTA <= delta_phi <= 1, "delta_phi", allowed, delta_phi)
    require_count("depth", depth, least=SMALLEST_DEPTH)
    require(dtype in TOLERANCE, "dtype", "float32 or float64", dtype)
    found = _fit(delta_phi, depth)
    sizes = [n for n in SIZES[dtype] if n <= found[0].shape[1]]
    size = next((n for n in sizes if _error(found, n) <= TOLERANCE[dtype]), sizes[-1])
    coefficients = (found[0][:, :size], found[1][:, :size])
    scales = _scales(delta_phi, depth)[2:]
    return KappaTable(*(np.asarray(a, dtype) for a in (*coefficients, *scales)))


def _place(table: KappaTable, least: Array, acute: Array) -> tuple[Array, Array, Array]:
    """Position t in [−1, 1], v and s of each pair."""
    v = safe_sqrt(least) / (math.sqrt(2) + jnp.sqrt(2 - least))
    v_0 = jnp.where(acute, table.v_0[0], table.v_0[1])
    scale = jnp.where(acute, 2 / table.length[0], 2 / table.length[1])
    t = jnp.log1p(v / v_0) * scale - 1
    return t, v, jnp.where(acute, v, safe_sqrt(v * v + table.floor * table.floor))


def _sum(coefficients: Array, acute: Array, t: Array) -> Array:
    """Σ_j c_j T_j(t), with the row of coefficients on each pair's side of a right angle."""
    return clenshaw([jnp.where(acute, near, far) for near, far in coefficients.T], t)


def table_defect(
    table: KappaTable, least: Float[Array, "..."], acute: Bool[Array, "..."]
) -> Float[Array, "..."]:
    """Return l − κ_l, elementwise.

    Args:
        table: From `kappa_table`, in the dtype of `least`.
        least: 1 − |cos θ|.
        acute: Whether θ <= π/2.
    """
    t, v, s = _place(table, least, acute)
    return _sum(table.defect, acute, t) * _shapes(table, v, s)[0]


def table_distance(
    table: KappaTable, least: Float[Array, "..."], acute: Bool[Array, "..."]
) -> Float[Array, "..."]:
    """Return u_{l−1} = sin(θ_{l−1}/2), the cosine distance after l − 1 layers, elementwise.

    Arguments as in `table_defect`.
    """
    t, v, s = _place(table, least, acute)
    return _sum(table.distance, acute, t) * _shapes(table, v, s)[1]
