"""Losses, one paper one file. Importing this package fills the registry."""

from lossbench.losses import softmax as softmax
from lossbench.losses.base import LOSSES, DensityHead, LossHead, ParameterGroup, create_loss

__all__ = ["LOSSES", "DensityHead", "LossHead", "ParameterGroup", "create_loss"]
