"""Measurements on a trained model. Importing this package fills the registry."""

from lossbench.evaluation import accuracy as accuracy
from lossbench.evaluation import attacks as attacks
from lossbench.evaluation import balanced_error as balanced_error
from lossbench.evaluation import best_epoch as best_epoch
from lossbench.evaluation import calibration as calibration
from lossbench.evaluation import class_separation as class_separation
from lossbench.evaluation import corruption as corruption
from lossbench.evaluation import knn as knn
from lossbench.evaluation import other_images as other_images
from lossbench.evaluation import retrieval as retrieval
from lossbench.evaluation import transfer as transfer
from lossbench.evaluation import verification as verification
from lossbench.evaluation.base import EVALUATIONS, Evaluation, Measurement, Trained
from lossbench.records import Metric

__all__ = ["EVALUATIONS", "Evaluation", "Measurement", "Metric", "Trained"]
