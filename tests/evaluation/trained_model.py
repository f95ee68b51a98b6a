"""A small model with random weights and images, for tests of evaluations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from lossbench.data.images import ArrayImages, View, normaliser
from lossbench.evaluation.base import Trained
from lossbench.losses import LossHead, create_loss

PIXELS, CLASSES, DIMENSIONS = 12, 4, 3
SCALE = normaliser(100.0, 50.0, torch.device("cpu"))


def make_model(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, 16), nn.Tanh(), nn.Linear(16, DIMENSIONS))


def make_head(name: str, **params: object) -> LossHead:
    torch.manual_seed(1)
    head = create_loss(name, num_classes=CLASSES, feature_dim=DIMENSIONS, **params)
    with torch.no_grad():
        for parameter in [*head.parameters(), *head.buffers()]:
            if parameter.ndim == 2:
                parameter.copy_(torch.randn_like(parameter))
    return head.eval()


def make_images(count: int = 20) -> tuple[Tensor, Tensor]:
    generator = Generator().manual_seed(2)
    pixels = torch.randint(0, 256, (count, 1, 3, 4), generator=generator, dtype=torch.uint8)
    return pixels, torch.randint(0, CLASSES, (count,), generator=generator)


def make_trained(head: LossHead) -> Trained:
    pixels, labels = make_images(60)
    images = ArrayImages(pixels.permute(0, 2, 3, 1), labels, View())
    return Trained(make_model(), head, SCALE, images, images, Path(), seed=3)


def with_scores(scores: Tensor, labels: Tensor, class_names: tuple[str, ...] = ()) -> Trained:
    """A trained model with these class scores (N, K) of its measured images."""
    trained = make_trained(make_head("softmax"))
    measured = ArrayImages(torch.zeros(len(labels), 3, 4, 1, dtype=torch.uint8), labels)
    trained = replace(trained, measured=measured, class_names=class_names)
    trained.__dict__["scores"] = scores  # in place of the cached property
    return trained
