"""The Gaussian law of √m (K(θ) − K∞), layer by layer.

To leading order neurons are independent, and K(θ) − K∞ is the sum over hidden layers j of the mean
of the centred influences of its m_j neurons (`influences`): a Gaussian matrix.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ntk_eoc.activations import Activation
from ntk_eoc.checks import require, require_count, require_widths
from ntk_eoc.eoc import Init, at_edge
from ntk_eoc.finite_width.influences import (
    Layer,
    covariance_terms,
    influence_layer,
    share,
)
from ntk_eoc.finite_width.limit_path import limit_path, relative_error
from ntk_eoc.finite_width.neuron_moments import neuron_moments
from ntk_eoc.finite_width.neurons import neuron_lattice, stated_error
from ntk_eoc.finite_width.sensitivities import gradients

NEURONS = 2**14
LARGEST = 1e24  # of ‖x‖²/d: its powers are numbers still


@dataclass(frozen=True, eq=False)
class Fluctuations:
    """The law of K(θ) − K∞ to leading order: a Gaussian matrix, a sum over hidden layers.

    Attributes:
        init: Initialisation.
        outputs: k = m_l.
        limit: K∞.
        parts: What each hidden layer's influences are made of.
        shares: Estimates of v_j, [l − 1, shifts]: layer j adds v_j/m_j to E‖K − K∞‖_F², K the
            papers' matrix (divided by n). One column where v_j is exact.
        neurons: Neurons of a layer that stand for its law, over all shifts.
        seed: Of the random shifts.
        rounding: Relative error of all the rest.
    """

    init: Init
    outputs: int
    limit: Float[np.ndarray, "n n"]
    parts: tuple[Layer, ...]
    shares: Float[np.ndarray, "h shifts"]
    neurons: int
    seed: int
    rounding: float

    def __repr__(self) -> str:
        name, shares = self.init.activation.name, ", ".join(f"{v:.4g}" for v in self.layers)
        sizes = f"l = {self.depth}, n = {len(self.limit)}, k = {self.outputs}"
        return f"<Fluctuations of {name}, {sizes}: v_j = {shares or 'none, K(θ) = K∞'}>"

    @property
    def depth(self) -> int:
        """Number l of weight layers; with l = 1 there is nothing random in K(θ)."""
        return len(self.parts) + 1

    @property
    def layers(self) -> Float[np.ndarray, "h"]:
        """v_j of the hidden layers: E‖K − K∞‖_F² = Σ_j v_j/m_j."""
        return self.shares.mean(axis=1)

    def frobenius(self, widths: Sequence[int]) -> "Predicted":
        """Return √E‖K − K∞‖_F² of the papers' matrix, with its numerical error."""
        inverse = 1 / hidden_widths(self, widths)
        square = float(inverse @ self.layers)
        if square == 0:
            return Predicted(0.0, 0.0)
        errors = float(np.linalg.norm(inverse * stated_error(self.shares.T, self.neurons)))
        value = square**0.5
        return Predicted(value, float(np.hypot(errors / (2 * value), self.rounding * value)))

    @cached_property
    def _covariances(self) -> tuple[np.ndarray, np.ndarray]:
        """Of each hidden layer, [h, 3, n², n²] and its error: see `_covariance`."""
        found = [_covariance(self, number) for number in range(len(self.parts))]
        n2 = self.limit.size
        if not found:
            return np.zeros((0, 3, n2, n2)), np.zeros((0, 3, n2, n2))
        return np.stack([value for value, _ in found]), np.stack([error for _, error in found])

    def covariance(
        self, widths: Sequence[int], entries: tuple[int, int, int, int] = (0, 0, 0, 0)
    ) -> Float[np.ndarray, "n n n n"]:
        """Return Cov(K_ab(x_i, x_j), K_cd(x_p, x_q)), not divided by n, of outputs (a, b, c, d)."""
        return self._combined(widths, entries).value

    def covariance_error(
        self, widths: Sequence[int], entries: tuple[int, int, int, int] = (0, 0, 0, 0)
    ) -> Float[np.ndarray, "n n n n"]:
        """Return the numerical error of `covariance`."""
        return self._combined(widths, entries).error

    def _combined(
        self, widths: Sequence[int], entries: tuple[int, int, int, int]
    ) -> "PredictedArray":
        require(len(entries) == 4, "entries", "four outputs (a, b, c, d)", entries)
        a, b, c, d = (require_count("entries", output, least=0) for output in entries)
        require(max(a, b, c, d) < self.outputs, "entries", f"outputs < {self.outputs}", entries)
        inverse = 1 / hidden_widths(self, widths)
        present = np.array([a == b and c == d, a == c and b == d, a == d and b == c], dtype=float)
        value = np.einsum("h,t,htxy->xy", inverse, present, self._covariances[0])
        squares = np.einsum("h,t,htxy->xy", inverse**2, present, self._covariances[1] ** 2)
        n, errors = len(self.limit), np.sqrt(squares) + self.rounding * np.abs(value)
        return PredictedArray(value.reshape(n, n, n, n), errors.reshape(n, n, n, n))

    def draw(
        self, key: Array, widths: Sequence[int], count: int
    ) -> Float[np.ndarray, "count n n k k"]:
        """Draw Gaussian matrices with the covariance of K(θ) − K∞, not divided by n."""
        from ntk_eoc.finite_width.draws import draw

        return draw(self, key, widths, count)


class Predicted(NamedTuple):
    """A predicted number.

    Attributes:
        value: The number.
        error: Its numerical error: five standard errors over the shifts of the lattice where there
            is one, more where it has few points, and rounding.
    """

    value: float
    error: float


class PredictedArray(NamedTuple):
    """A predicted array; see `Predicted`."""

    value: np.ndarray
    error: np.ndarray


def fluctuations(
    init: Init | Activation | str,
    x: Float[ArrayLike, "n d"],
    depth: int,
    outputs: int = 1,
    *,
    neurons: int = NEURONS,
    seed: int = 0,
) -> Fluctuations:
    """Return the law of K(θ) − K∞ to leading order in 1/m, layer by layer.

    Cov(K(x, x'), K(y, y')) = Σ_j (1/m_j) Cov(c_j(x, x'), c_j(y, y')) + O(1/m²): the cost does not
    know the widths. Any activation, on or off the edge, with or without biases; any norms,
    parallel and repeated inputs. For φ(s) = a s + b|s| the shares are exact; otherwise
    expectations over a neuron are randomised quasi-Monte Carlo, with its error.

    Args:
        init: Activation and scales; of an activation or its name, its edge of chaos.
        x: Inputs.
        depth: Number l of weight layers; with l = 1, K(θ) = K∞ and the law is 0.
        outputs: k = m_l.
        neurons: Neurons that stand for the law of a layer; the error falls about like 1/neurons.
        seed: Of the random shifts.

    Raises:
        TypeError, ValueError: If a count is not positive, `x` is not [n, d] or `neurons` are so few
            that none meets what φ does at these inputs.
        RuntimeError: If JAX's float64 is off.

    Source: `docs/finite_width.md`.
    """
    init, seed = at_edge(init), require_count("seed", seed, least=0)
    depth, outputs = require_count("depth", depth), require_count("outputs", outputs)
    neurons = require_count("neurons", neurons, least=64)
    x = checked_inputs("fluctuations", "x", x)
    path = limit_path(init, x, depth)
    swept = gradients(path)
    parts = tuple(influence_layer(path, gradient, j) for j, gradient in enumerate(swept))
    rows = []
    for j, part in enumerate(parts):
        moments, gaps = neuron_moments(init, path, j, neurons, seed)
        rows.append(share(part, moments, gaps, outputs))
    shares = np.stack(rows) if rows else np.zeros((0, 1))
    rounding = relative_error(init, path)
    return Fluctuations(init, outputs, path.kernel[-1], parts, shares, neurons, seed, rounding)


def checked_inputs(function: str, name: str, x: Float[ArrayLike, "n d"]) -> np.ndarray:
    """Return inputs as a float64 NumPy matrix.

    Raises:
        ValueError: If they are not a finite [n, d].
        RuntimeError: If JAX's float64 is off.
    """
    if jnp.zeros(()).dtype != jnp.float64:
        raise RuntimeError(
            f"`{function}` needs float64, but x64 is off: call "
            'jax.config.update("jax_enable_x64", True) at the start of the program.'
        )
    try:
        found = np.asarray(x)
        require(not np.iscomplexobj(found), name, "real", found.dtype.name)
        values = found.astype(np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"`{name}` must be an array [n, d] of numbers, got {x!r}.") from None
    require(values.ndim == 2 and values.size > 0, name, "[n, d] with n, d >= 1", values.shape)
    require(bool(np.isfinite(values).all()), name, "finite", "NaN or infinity")
    largest = float((values**2).mean(axis=1).max())
    require(largest <= LARGEST, name, f"of ‖x‖²/d <= {LARGEST:g}", f"{largest:g}")
    return values


def hidden_widths(f: Fluctuations, widths: Sequence[int]) -> Float[np.ndarray, "h"]:
    """Return m_1 … m_{l−1} of (m_1, …, m_l), checked against depth and outputs."""
    sizes = require_widths(widths)
    require(len(sizes) == f.depth, "widths", f"(m_1, …, m_l) with l = {f.depth}", tuple(widths))
    require(sizes[-1] == f.outputs, "widths[-1]", f"the {f.outputs} outputs", sizes[-1])
    return np.array(sizes[:-1], dtype=np.float64)


def _covariance(f: Fluctuations, j: int) -> tuple[np.ndarray, np.ndarray]:
    """m_j Cov of K_ab(x, x') and K_cd(y, y') in three terms [3, n², n²], and their errors.

    They are present where (a, c) = (b, d), where (a, b) = (c, d) and where (a, b) = (d, c): the
    covariance over z, and the two ways in which signals b pair up, by Wick's theorem.
    """
    part, n = f.parts[j], len(f.limit)
    points, shifts = neuron_lattice(f.neurons, n, f.seed, j)
    layer = Layer(*(jnp.asarray(a) for a in part))
    smooth, slopes = (np.asarray(a) for a in covariance_terms(f.init, layer, points, shifts))
    direct = np.einsum("ip,jq->ijpq", part.signal, part.signal).reshape(1, n * n, n * n)
    crossed = np.einsum("iq,jp->ijpq", part.signal, part.signal).reshape(1, n * n, n * n)
    terms = np.stack([smooth, slopes * direct, slopes * crossed], axis=1)
    return terms.mean(axis=0), stated_error(terms, f.neurons)
