"""The events behind the theorem of [C] in one network, by its weights.

B from layer b down to a is the product of slopes and weights of the layers a + 1 … b over √m_b;
events of all its ends are in the order of `ends`.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

import ntk_eoc as ne

PARALLEL = 1e-12


class Events(NamedTuple):
    """What a network's layers and matrices B are, each event over its bound without C and m.

    Attributes:
        norms: ‖x_k‖/‖x‖ of hidden layers.
        cosines: ρ of their outputs.
        E3: |‖B‖_F² − 1|, the largest over points.
        E3_norm: ‖B‖ where it reaches over more than one layer, the largest over points.
        E4: |⟨B, B'⟩ − Π ϱ'|, the largest over pairs.
        explicit: What a layer knows of the forward pass over the bound of [C] (`dependence`).
        sharp: The same over the sharp bound.
    """

    norms: Float[np.ndarray, "h n"]
    cosines: Float[np.ndarray, "h pairs"]
    E3: Float[np.ndarray, "ends"]
    E3_norm: Float[np.ndarray, "farther"]
    E4: Float[np.ndarray, "ends"]
    explicit: Float[np.ndarray, "ends pairs"]
    sharp: Float[np.ndarray, "ends pairs"]


def ends(depth: int) -> list[tuple[int, int]]:
    """(a, b) in the order in which the layers are passed."""
    return [(a, b) for b in range(2, depth) for a in range(1, b)]


def over(part: np.ndarray, whole: Any) -> np.ndarray:
    """The quotient; 0 where a layer is dead, as at m = 4 one in sixteen of ReLU is."""
    return part / np.where(whole == 0, np.inf, whole)


def dependence(
    u: Float[np.ndarray, "n p"], b: Float[np.ndarray, "n p q"], norms: Float[np.ndarray, "n"]
) -> tuple[np.ndarray, np.ndarray]:
    """What a fresh layer on unit inputs u adds to ⟨B, B'⟩, over both bounds, [pairs] each.

    E φ̂_s φ̂_s' w wᵀ over a neuron's weights w is ϱ'(ρ) I but on the span of two inputs at angle θ,
    where it gains (2Δ/π) sin θ (f fᵀ − e eᵀ), e along u − u', f along u + u': hence

        |E ⟨B, B'⟩ − ϱ'(ρ) ⟨B, B'⟩_prev| ≤ (4/π) Δ √(1 − ρ²) ‖B‖ ‖B'‖,

    the sharp bound; that of [C], (8/π) Δ √((1 − ρ)/(1 + ρ)) ‖B‖ ‖B'‖, is 2/(1 + ρ) times it.
    """
    pairs = np.triu_indices(len(u), 1)
    less, more = u[:, None] - u[None, :], u[:, None] + u[None, :]
    far, near = np.linalg.norm(less, axis=-1), np.linalg.norm(more, axis=-1)  # 2 sin, 2 cos of θ/2
    e, f = over(less, far[..., None]) @ b, over(more, near[..., None]) @ b  # [i, j]: of the b of i
    gain = (f * f.swapaxes(0, 1)).sum(axis=-1) + (e * e.swapaxes(0, 1)).sum(axis=-1)  # e_ji = −e_ij
    gain = np.where(far > PARALLEL, np.abs(gain), 0.0)  # both bounds are 0 at θ = 0
    sharp = over(gain, 2 * np.outer(norms, norms))
    return (sharp * near**2 / 4)[pairs], sharp[pairs]


def _norms(b: Float[np.ndarray, "n p q"]) -> Float[np.ndarray, "n"]:
    turned = b.swapaxes(1, 2)
    grams = turned @ b if b.shape[1] > b.shape[2] else b @ turned
    return np.sqrt(np.linalg.eigvalsh(grams)[:, -1])


def events(
    init: ne.Init,
    x: Float[np.ndarray, "n d"],
    weights: list[np.ndarray],
    slopes: Float[np.ndarray, "h pairs"],
    scale: float,
) -> Events:
    """Return the events of one network of φ(s) = a s + b|s|.

    Args:
        init: Activation and scales.
        x: Inputs, ‖x‖² = d.
        weights: Of the hidden layers.
        slopes: ϱ' of layers 1, 2, … in the limit.
        scale: ε without C.
    """
    act: Any = init.activation
    pairs, out = np.triu_indices(len(x), 1), x.T / x.shape[1] ** 0.5
    matrices: dict[int, np.ndarray] = {}  # lower end a → B of every point
    found: list[list[Any]] = [[] for _ in Events._fields]
    norms, cosines, squares, operator, products, explicit, sharp = found
    for h, w in enumerate(weights, start=1):
        z, units = w @ out, over(out, np.linalg.norm(out, axis=0))
        for a, b in matrices.items():
            sizes = _norms(b)
            for kept, ratio in zip((explicit, sharp), dependence(units.T, b, sizes), strict=True):
                kept.append(ratio)
            if h > a + 1:
                operator.append(sizes.max() / (act.kappa**2 * np.log((h - 1) / a)))
        slope = init.sigma_w * (act.a + act.b * np.sign(z)) / len(w) ** 0.5
        matrices = {a: slope.T[:, :, None] * (w @ b) for a, b in matrices.items()}
        for a, b in matrices.items():
            rows, wide = b.reshape(len(x), -1), np.log((h + 1) / a) * scale
            gram = rows @ rows.T
            squares.append(np.abs(gram.diagonal() - 1).max() / wide)
            products.append(np.abs(gram[pairs] - slopes[a:h].prod(axis=0)).max() / wide)
        matrices[h] = np.broadcast_to(np.eye(len(w)) / len(w) ** 0.5, (len(x), len(w), len(w)))
        out = init.sigma_w * (act.a * z + act.b * np.abs(z)) / len(w) ** 0.5
        norms.append(np.linalg.norm(out, axis=0))
        cosines.append(over(out.T @ out, np.outer(norms[-1], norms[-1]))[pairs])
    return Events(*(np.array(each) for each in found))
