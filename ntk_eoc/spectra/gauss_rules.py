"""Gauss rules: the k atoms that stand for a law against every polynomial of degree below 2k."""

import numpy as np
from jaxtyping import Float

from ntk_eoc.spectra.laws import SpectralLaw

Rule = tuple[Float[np.ndarray, "k"], Float[np.ndarray, "k"]]
DECIDED = 1e3  # a coefficient is known where it is this many times above the noise


def gauss_rule(law: SpectralLaw, k: int) -> Rule:
    """Return nodes and weights of the k-point rule of a law, its atoms where these are fewer."""
    x = np.concatenate([law.points, law.panels.x.ravel()])
    w = np.concatenate([law.masses, law.panels.mass.ravel()])
    if len(x) <= k:
        return x, w
    basis, start = np.zeros((k, len(x))), np.sqrt(w / w.sum())
    diagonal, off = np.zeros(k), np.zeros(k)
    basis[0] = start
    for i in range(k):
        image_of = x * basis[i]
        diagonal[i] = basis[i] @ image_of
        for _ in range(2):
            image_of = image_of - basis[: i + 1].T @ (basis[: i + 1] @ image_of)
        off[i] = np.linalg.norm(image_of)
        if i + 1 < k:
            basis[i + 1] = image_of / off[i]
    return _nodes(diagonal, off[:-1] ** 2, 1.0)


def _nodes(diagonal: Float[np.ndarray, "k"], squares: Float[np.ndarray, "j"], mass: float) -> Rule:
    """The rule of a Jacobi matrix with the squares of its off-diagonal given."""
    off = np.sqrt(squares)
    nodes, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1))
    return nodes, mass * vectors[0] ** 2


def rule_of_moments(moments: Float[np.ndarray, "r"], noise: Float[np.ndarray, "r"]) -> Rule:
    """Return the rule of a measure on [−1, 1] from ∫U_j, U_j Chebyshev's second polynomials.

    The modified Chebyshev algorithm (Sack & Donovan 1971, Wheeler 1974), stable where the power
    moments are hopeless. It ends where the next coefficient is lost in the noise, or would put a
    node outside of the interval: what is left then integrates as well as the moments are known.

    Args:
        moments: ∫ U_j, j = 0 … r − 1, r = 2k.
        noise: Their absolute errors.
    """
    k = len(moments) // 2
    scale = 2.0 ** np.arange(2 * k)  # U_j/2^j is monic: p_{j+1} = x p_j − p_{j−1}/4
    diagonal, squares = np.zeros(k), np.zeros(k)
    before, now = np.zeros(2 * k), moments / scale
    diagonal[0] = now[1] / now[0]
    for i in range(1, k):
        j = np.arange(i, 2 * k - i)
        after = np.zeros(2 * k)
        after[j] = now[j + 1] - diagonal[i - 1] * now[j] - squares[i - 1] * before[j]
        after[j] += now[j - 1] / 4
        if after[i] * 4.0**i <= DECIDED * noise[2 * i]:
            k = i
            break
        squares[i] = after[i] / now[i - 1]
        diagonal[i] = after[i + 1] / after[i] - now[i] / now[i - 1]
        before, now = now, after
    for size in range(k, 0, -1):
        rule = _nodes(diagonal[:size], squares[1:size], float(moments[0]))
        if np.all(np.abs(rule[0]) <= 1 + 1e-12):
            return rule
    raise AssertionError("a one-point rule has its node inside")
