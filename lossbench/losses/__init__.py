"""Losses, one file per loss, and their helpers. Importing this package fills the registry."""

from lossbench.losses import arcface as arcface
from lossbench.losses import balanced_softmax as balanced_softmax
from lossbench.losses import center as center
from lossbench.losses import contrastive as contrastive
from lossbench.losses import cosface as cosface
from lossbench.losses import cosine_softmax as cosine_softmax
from lossbench.losses import elr as elr
from lossbench.losses import feature_dropout as feature_dropout
from lossbench.losses import final_layer_decay as final_layer_decay
from lossbench.losses import focal as focal
from lossbench.losses import gce as gce
from lossbench.losses import label_smoothing as label_smoothing
from lossbench.losses import large_margin_softmax as large_margin_softmax
from lossbench.losses import ldam as ldam
from lossbench.losses import lgm as lgm
from lossbench.losses import logit_adjustment as logit_adjustment
from lossbench.losses import logit_norm as logit_norm
from lossbench.losses import logit_penalty as logit_penalty
from lossbench.losses import metric_learning as metric_learning
from lossbench.losses import nce_rce as nce_rce
from lossbench.losses import poly1 as poly1
from lossbench.losses import sce as sce
from lossbench.losses import sigmoid as sigmoid
from lossbench.losses import softmax as softmax
from lossbench.losses import sphereface as sphereface
from lossbench.losses import squared_error as squared_error
from lossbench.losses import triplet as triplet
from lossbench.losses.base import (
    LOSSES,
    DensityHead,
    LossHead,
    ParameterGroup,
    ScoreHead,
    TermsAndScores,
    TrainingFacts,
    create_loss,
    in_float32,
    shares_scores,
    total,
)

__all__ = [
    "LOSSES",
    "DensityHead",
    "LossHead",
    "ParameterGroup",
    "ScoreHead",
    "TermsAndScores",
    "TrainingFacts",
    "create_loss",
    "in_float32",
    "shares_scores",
    "total",
]
