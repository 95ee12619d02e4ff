"""The expectations over a neuron of a hidden layer: exact where φ has them, else over neurons."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from ntk_eoc.activations import AbsLinear
from ntk_eoc.checks import require
from ntk_eoc.eoc import Init
from ntk_eoc.finite_width.gaps import (
    GapMoments,
    Pairs,
    arc_gaps,
    gap_behind,
    gap_moments,
    sampled_gaps,
)
from ntk_eoc.finite_width.limit_path import LimitPath
from ntk_eoc.finite_width.neurons import neuron_lattice
from ntk_eoc.finite_width.pair_moments import PairMoments, orthant_moments, sampled_moments

_FAR = 2.0  # neurons whose mean φ̂² or φ̂_s² is so many times too large or small missed something
_NEAR = 0.005  # of 1 − |ρ'|, an angle of 0.1: beyond it 10⁻¹² is lost in the differences


class _Expectations(NamedTuple):
    """How expectations over a neuron of one layer are found.

    Attributes:
        moments: Of all pairs.
        gaps: E of d⁴, u²d², u'²d², u u'd² and v v'd² of some pairs, [r, p] each.
    """

    moments: PairMoments
    gaps: Callable[[Pairs], tuple[np.ndarray, ...]]


def neuron_moments(
    init: Init, path: LimitPath, j: int, count: int, seed: int
) -> tuple[PairMoments, GapMoments]:
    """Return the moments of hidden layer of index j and of its gaps, exact or one row a shift.

    Raises:
        ValueError: If the neurons miss a part of φ that shows in E φ̂² or E φ̂_s².
    """
    known = _expectations(init, path, j, count, seed)
    gap = gap_behind(path, j)
    found = gap_moments(gap, known.moments)
    least = np.minimum(path.delta[j + 1], 2 - path.delta[j + 1])
    rows, columns = np.nonzero(np.triu((least > 0) & (least < _NEAR), 1))
    if rows.size == 0 or not init.activation.kinks:
        return known.moments, found
    near = known.gaps(Pairs(rows, columns, gap.weight[rows, columns], gap.sign[rows, columns]))
    for whole, part in zip(found, (near[0], near[1], near[3], near[4]), strict=True):
        whole[:, rows, columns] = whole[:, columns, rows] = part
    found.u2_d2[:, columns, rows] = near[2]
    return known.moments, found


def _expectations(init: Init, path: LimitPath, j: int, count: int, seed: int) -> _Expectations:
    act, q, delta = init.activation, path.q[j], path.delta[j]
    if isinstance(act, AbsLinear):
        exact = orthant_moments(act, init.sigma_w, q, delta)
        return _Expectations(exact, partial(arc_gaps, init, q, delta))
    covariance, lattice = jnp.asarray(path.covariance[j]), neuron_lattice(count, len(q), seed, j)
    moments = PairMoments(*map(np.asarray, sampled_moments(init, covariance, *lattice)))
    _refuse_if_missed(moments, path, j, count)

    def gaps(pairs: Pairs) -> tuple[np.ndarray, ...]:
        # Padded to a power of two by a pair that does not matter: few shapes are compiled.
        padded = np.zeros((4, 1 << (pairs.rows.size - 1).bit_length()))
        padded[:, : pairs.rows.size] = pairs
        at, which = (jnp.asarray(a, t) for a, t in ((padded[:2], int), (padded[2:], float)))
        found = sampled_gaps(init, covariance, *lattice, Pairs(*at, *which))
        return tuple(np.asarray(part)[:, : pairs.rows.size] for part in found)

    return _Expectations(moments, gaps)


def _refuse_if_missed(moments: PairMoments, path: LimitPath, j: int, count: int) -> None:
    square = moments.u2.mean(axis=0), path.dual.value[j].diagonal()
    slope = moments.v_v.mean(axis=0).diagonal(), path.slope.value[j].diagonal()
    for seen, known in (square, slope):
        missed = (known > _FAR * seen) | (seen > _FAR * known)
        require(
            not missed.any(),
            "neurons",
            f"more, or ‖x‖²/d smaller: layer {j + 1} has variance {path.q[j].max():.3g}, and its "
            "neurons miss where φ bends",
            count,
        )
