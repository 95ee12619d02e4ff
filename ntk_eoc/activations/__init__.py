"""Activations: one Python function each, with what the theory needs to know of it."""

from ntk_eoc.activations.core import AbsLinear, Activation, Elementwise, abs_linear
from ntk_eoc.activations.duals import ClosedForm, Dual
from ntk_eoc.activations.named import NAMED, activation, as_activation

__all__ = [
    "NAMED",
    "AbsLinear",
    "Activation",
    "ClosedForm",
    "Dual",
    "Elementwise",
    "abs_linear",
    "activation",
    "as_activation",
]
