"""A plugin with a component of each kind, and a suite that uses all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

PLUGIN = """\
import math

import torch
from torch import nn
from torch.nn import functional as F

from lossbench.data.augmentation import AUGMENTATIONS
from lossbench.evaluation import EVALUATIONS, Evaluation, Measurement, Metric
from lossbench.losses import LOSSES, LossHead
from lossbench.models import MODELS
from lossbench.training.optimizers import OPTIMIZERS
from lossbench.training.schedules import SCHEDULES


@LOSSES.register("my_loss")
class MyHead(LossHead):
    def __init__(self, num_classes, feature_dim, *, heat: float = 1.0):
        super().__init__(num_classes, feature_dim)
        self.linear, self.heat = nn.Linear(feature_dim, num_classes), heat

    def terms(self, features, labels):
        return {"ce": F.cross_entropy(self.logits(features), labels)}

    def logits(self, features):
        return self.linear(features) / self.heat


@MODELS.register("my_model")
class MyModel(nn.Module):
    def __init__(self, image_shape, *, width: int = 16):
        super().__init__()
        self.feature_dim = width
        self.layer = nn.Linear(math.prod(image_shape), width)

    def forward(self, images):
        return self.layer(images.flatten(1)).relu()


@AUGMENTATIONS.register("my_augmentation")
def my_augmentation(crop, *, level: int = 16):
    def augment(images, generator):
        noise = torch.randint(-level, level + 1, images.shape, generator=generator)
        return (images.cpu() + noise).clamp(0, 255).to(images)

    return augment


@OPTIMIZERS.register("my_optimizer")
class MyOptimizer(torch.optim.Optimizer):
    def __init__(self, params, lr=0.1, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter -= group["lr"] * parameter.grad


@SCHEDULES.register("my_schedule")
def my_schedule(epochs, *, power: float = 1.0):
    return lambda epoch: (1 - epoch / epochs) ** power


@EVALUATIONS.register("my_metric")
class MyMetric(Evaluation):
    def metrics(self):
        return (Metric(name="my_metric", label="largest score"),)

    def __call__(self, trained):
        return Measurement({"my_metric": trained.scores.max()})
"""

SUITE = """\
suite: every_kind
dataset: digits
model: {name: my_model, width: 8}
augment: [my_augmentation: {level: 8}]
recipe:
  epochs: 2
  batch_size: 64
  optimizer: {name: my_optimizer, lr: 0.01, betas: [0.5, 0.6]}
  schedule: {name: my_schedule, power: 2}
seeds: [0]
losses: [softmax, my_loss: {heat: 2}]
evaluate: [error, my_metric]
"""


def write_every_kind(folder: Path, *edits: tuple[str, str]) -> tuple[Path, Path]:
    """Write the suite and the plugin, with texts of the plugin replaced; return their paths."""
    text = PLUGIN
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new)
    suite, plugin = folder / "every_kind.yaml", folder / "my_parts.py"
    suite.write_text(SUITE, encoding="utf-8")
    plugin.write_text(text, encoding="utf-8")
    return suite, plugin


Run = Callable[..., tuple[int, str, str]]
