"""Training: what the spectrum predicts, and what networks do."""

from ntk_eoc.training.checkpoint import train_with_checkpoints
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
from ntk_eoc.training.trainer import Problem, train

__all__ = [
    "Problem",
    "Regression",
    "descent",
    "eigenmodes",
    "ensemble_variance_test",
    "ensemble_variance_train",
    "flow",
    "largest_stable_step",
    "linearise",
    "predict_test",
    "predict_train",
    "regress",
    "ridgeless",
    "steps_to_loss",
    "train",
    "train_with_checkpoints",
]
