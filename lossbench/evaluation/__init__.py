"""What is measured on a trained model. Importing this package fills the registry."""

from lossbench.evaluation import accuracy as accuracy
from lossbench.evaluation import robustness as robustness
from lossbench.evaluation import verification as verification
from lossbench.evaluation.base import EVALUATIONS, Evaluation

__all__ = ["EVALUATIONS", "Evaluation"]
