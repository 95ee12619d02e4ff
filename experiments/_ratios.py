"""Two-layer NTKs in the quadratic scaling: their size (n, d, p), from two ratios and one length."""

from collections.abc import Iterator
from typing import Any

from _cells import Activation
from pydantic import Field

import ntk_eoc as ne
from ntk_eoc.spectra import two_layer
from ntk_eoc.sweeps import config


class OfInputs(config.Cell):
    """Matrices of inputs in d dimensions, of one activation."""

    d: int = Field(ge=4)
    gamma1: float = Field(gt=0)
    gamma2: float = Field(gt=0)
    activation: Activation

    @property
    def size(self) -> tuple[int, int, int]:
        """(n, d, p): p/d nearest to γ₂, n/(dp) to γ₁."""
        n, p = two_layer.sizes(self.d, self.gamma1, self.gamma2)
        return n, self.d, p


class OfSide(config.Cell):
    """Matrices of which dp, the number of features, is given."""

    gamma1: float = Field(gt=0)
    gamma2: float = Field(gt=0)
    side: int = Field(ge=8, description="√(dp)")

    @property
    def size(self) -> tuple[int, int, int]:
        """(n, d, p): dp nearest to side², p/d to γ₂, n/(dp) to γ₁."""
        d = max(2, round(self.side / self.gamma2**0.5))
        n, p = two_layer.sizes(d, self.gamma1, self.gamma2)
        return n, d, p


def draws(cell: Any, act: ne.Activation, **how: Any) -> Iterator[two_layer.TwoLayer]:
    """Draw the two-layer NTK of each of the cell's seeds, as `two_layer.draw` is told."""
    for key in cell.seed_keys():
        yield two_layer.draw(key, act, cell.size, dtype=cell.dtype, **how)


def cost(cell: Any) -> float:
    """Flops of the dense eigenvalues, by which a sweep begins with its longest cells."""
    n, d, p = cell.size
    return float(cell.seeds * float(min(n, d * p)) ** 3)
