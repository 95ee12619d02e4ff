"""Gaussian integrals of activations that need not be smooth, with error estimates."""

from ntk_eoc.gaussian.evaluate import ActivationError
from ntk_eoc.gaussian.integrals import Integral, dual, dual_prime, gaussian_mean
from ntk_eoc.gaussian.panels import Panels, plan

__all__ = [
    "ActivationError",
    "Integral",
    "Panels",
    "dual",
    "dual_prime",
    "gaussian_mean",
    "plan",
]
