"""Classification metrics from class scores."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from lossbench.data.images import Normaliser
from lossbench.losses import LossHead
from lossbench.registry import Registry

Metric = Callable[[Tensor, Tensor], float]
METRICS: Registry[Metric] = Registry("metric")


@METRICS.register("error")
def error() -> Metric:
    """Top-1 error rate, in percent."""
    return lambda scores, labels: _top_error(scores, labels, 1)


@METRICS.register("top5_error")
def top5_error() -> Metric:
    """Share of images whose class is not among the five best scores, in percent."""
    return lambda scores, labels: _top_error(scores, labels, 5)


def _top_error(scores: Tensor, labels: Tensor, k: int) -> float:
    best = scores.topk(min(k, scores.shape[1]), dim=1).indices  # (N, k)
    hits = (best == labels[:, None]).any(1)
    return 100.0 * (len(labels) - int(hits.sum())) / len(labels)


@torch.no_grad()
def extract_features(
    model: nn.Module, normalise: Normaliser, images: Tensor, batch_size: int = 1000
) -> Tensor:
    """Features (N, D) of images (N, H, W, C), without augmentation, by a model in eval mode."""
    return torch.cat(
        [model(normalise(part.permute(0, 3, 1, 2))) for part in images.split(batch_size)]
    )


@torch.no_grad()
def predictions(head: LossHead, features: Tensor, labels: Tensor) -> dict[str, np.ndarray]:
    """Labels, predicted classes and their posterior, as arrays to keep."""
    posterior, predicted = head.logits(features).softmax(1).max(1)
    kept = {"labels": labels, "predicted": predicted, "posterior": posterior}
    return {name: value.cpu().numpy() for name, value in kept.items()}


def is_chance(predicted: Tensor, labels: Tensor, num_classes: int) -> bool:
    """Whether predictions are no better than guessing: a training that collapsed.

    That is so when every image gets the same answer though the labels differ, or when the share
    of right answers is at most 1/K with two standard errors allowed for luck (in tiny test sets
    half of 1/K, where two standard errors would cover everything).

    Args:
        predicted: (N,)
        labels: (N,)
        num_classes: K.
    """
    constant = bool((predicted == predicted[0]).all()) and not bool((labels == labels[0]).all())
    guess = 1 / num_classes
    luck = min(2 * math.sqrt(guess * (1 - guess) / len(labels)), guess / 2)
    return constant or float((predicted == labels).double().mean()) <= guess + luck
