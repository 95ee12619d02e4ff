"""The expansions of [S] in depth: inverse cosine distances, entries, and the spectrum by them.

Let w_k = ((1 − ρ_{k−1})/2)^{−1/2} be the inverse cosine distance of two inputs in layer k, w = w_1
that of the inputs themselves. [S] takes all pairs of a data set for one at an inverse distance W:
then K∞/n is (l/4 + ξ)/n off and l/n on the diagonal, and its spectrum follows. The errors are
printed with O(·); `docs/spectrum.md` has the constants that would be needed.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq

from ntk_eoc.checks import require, require_count, require_number

Number = float | Float[np.ndarray, "..."]


class DeepSpectrum(NamedTuple):
    """The eigenvalues of K∞/n for one inverse distance W of all pairs.

    Attributes:
        largest: (1 + 3/n) l/4 + (1 − 1/n) ξ.
        rest: (¾ l − ξ)/n, the n − 1 others; it is no eigenvalue where it is not positive.
        condition: 1 + n/3 + (16/9) n ξ/(l − 4ξ/3), their quotient; infinite there.
    """

    largest: float
    rest: float
    condition: float


def expanded_distance(delta_phi: Number, w: Number, layer: Number) -> Float[np.ndarray, "..."]:
    """Return w + (4Δ/3π)(k − 1) + (2Δ/π) log(3πw/(4Δ) + k − 1), w_k up to O(1).

    Args:
        delta_phi: Δ_φ in (0, 1].
        w: Inverse cosine distance of the inputs, >= 1.
        layer: k >= 1; the inputs are layer 1.

    Source: [S].
    """
    step = 4 * np.asarray(delta_phi) / (3 * math.pi)
    return w + step * (layer - 1) + 1.5 * step * np.log(w / step + layer - 1)


def entry_above(delta_phi: Number, w_last: Number) -> Float[np.ndarray, "..."]:
    """Return (3π/16Δ) w_l − 1/8 >= κ_l: the exact side of [S]'s bound of an entry.

    Args:
        delta_phi: Δ_φ in (0, 1].
        w_last: w_l, the inverse cosine distance in layer l.
    """
    return 3 * math.pi / (16 * np.asarray(delta_phi)) * w_last - 1 / 8


def excess(delta_phi: float, w: float, depth: int) -> float:
    """Return ξ = (3/8)(πW/(2Δ) + log(3πW/(4Δ) + l − 1) − 1), κ_l − l/4 at the inverse distance W.

    Raises:
        ValueError: If Δ is not in (0, 1], W < 0 or l < 1.

    Source: [S].
    """
    require(0 < require_number("delta_phi", delta_phi) <= 1, "delta_phi", "in (0, 1]", delta_phi)
    require(require_number("w", w) >= 0, "w", ">= 0", w)
    argument = 3 * math.pi * w / (4 * delta_phi) + require_count("depth", depth) - 1
    logarithm = math.log(argument) if argument > 0 else -math.inf
    return 3 / 8 * (math.pi * w / (2 * delta_phi) + logarithm - 1)


def deep_spectrum(delta_phi: float, w: float, depth: int, n: int) -> DeepSpectrum:
    """Return [S]'s approximation of the spectrum of K∞/n, n points at the inverse distance W.

    Raises:
        ValueError: As `excess`, or if n < 2.
    """
    xi, n = excess(delta_phi, w, depth), require_count("n", n, least=2)
    rest = 0.75 * depth - xi
    condition = 1 + n / 3 + 16 / 9 * n * xi / (depth - 4 * xi / 3) if rest > 0 else math.inf
    return DeepSpectrum((1 + 3 / n) * depth / 4 + (1 - 1 / n) * xi, rest / n, condition)


def fitted_distance(delta_phi: float, depth: int, n: int, condition: float) -> float:
    """Return the W at which `deep_spectrum` has this condition number; NaN where none >= 0 has.

    Raises:
        ValueError: As `deep_spectrum`.
    """
    ratio = (condition - 1) / require_count("n", n, least=2)  # (l/4 + ξ)/(¾ l − ξ)
    target = (0.75 * ratio - 0.25) * require_count("depth", depth) / (1 + ratio)

    def off(w: float) -> float:
        return excess(delta_phi, w, depth) - target

    high = 2 * delta_phi / math.pi * (8 / 3 * abs(target) + 1 + 2 * math.log(depth + 1)) + 1
    return math.nan if off(0.0) > 0 else float(brentq(off, 0.0, high, xtol=1e-12))
