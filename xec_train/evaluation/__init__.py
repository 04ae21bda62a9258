"""Evaluation of trained models on events with truth: predictions, figures, plots, a page."""

from xec_train.evaluation.config import EvaluationConfig
from xec_train.evaluation.files import evaluate_files
from xec_train.evaluation.run import Evaluation, evaluate_model, evaluate_networks

__all__ = [
    "Evaluation",
    "EvaluationConfig",
    "evaluate_files",
    "evaluate_model",
    "evaluate_networks",
]
