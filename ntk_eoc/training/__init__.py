"""Training: what the spectrum predicts, and what networks do."""

from ntk_eoc.training.checkpoint import train_with_checkpoints
from ntk_eoc.training.krylov import ByProducts, predict_by_products
from ntk_eoc.training.linearised import linearise
from ntk_eoc.training.modes import descent, eigenmodes, flow, largest_stable_step
from ntk_eoc.training.predictions import (
    ensemble_variance_test,
    ensemble_variance_train,
    predict_test,
    predict_train,
    ridgeless,
    steps_to_loss,
)
from ntk_eoc.training.regression import Regression, regress
from ntk_eoc.training.ridge import Ridge, ridge_regression
from ntk_eoc.training.trainer import Problem, train

__all__ = [
    "ByProducts",
    "Problem",
    "Regression",
    "Ridge",
    "descent",
    "eigenmodes",
    "ensemble_variance_test",
    "ensemble_variance_train",
    "flow",
    "largest_stable_step",
    "linearise",
    "predict_by_products",
    "predict_test",
    "predict_train",
    "regress",
    "ridge_regression",
    "ridgeless",
    "steps_to_loss",
    "train",
    "train_with_checkpoints",
]
