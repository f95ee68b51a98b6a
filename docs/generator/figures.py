"""The figure of a loss, drawn from its code.

Three classes have two fixed points each. The parameters of the loss are fitted to them; then a
seventh point, of the first class, is moved over the plane. `losses.FIGURE_LEGEND` explains the
colours, arrows and lines.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import torch

matplotlib.use("agg")
from matplotlib.figure import Figure
from torch import Tensor

from lossbench.conformance.subject import set_sample_indices
from lossbench.losses import LossHead, TrainingFacts, create_loss

CLASSES = 3
COLORS = ["#1f77b4", "#d62728", "#2ca02c"]
HALF_WIDTH = 4.0
SIDE = 25
FIT_STEPS = 150
CLASS_COUNTS = [100, 30, 10]
"""Numbers of training images of the classes, for losses that depend on them."""


def fixed_points() -> tuple[Tensor, Tensor]:
    """(6, 2) two points per class around the corners of a triangle, and their labels."""
    angles = torch.tensor([math.pi / 2 + 2 * math.pi * k / CLASSES for k in range(CLASSES)])
    corners = 2.0 * torch.stack([angles.cos(), angles.sin()], 1)  # (3, 2)
    apart = 0.4 * torch.stack([-angles.sin(), angles.cos()], 1)
    return torch.cat([corners + apart, corners - apart]), torch.arange(CLASSES).repeat(2)


def fitted_head(name: str, params: Mapping[str, Any]) -> LossHead:
    """A head with its parameters trained on the fixed points."""
    torch.manual_seed(0)
    head = create_loss(name, num_classes=CLASSES, feature_dim=2, **params)
    head.prepare(TrainingFacts(torch.tensor(CLASS_COUNTS), epochs=1))
    features, labels = fixed_points()
    set_sample_indices(head, torch.arange(len(labels)))
    head.set_progress(0.999)
    parameters = list(head.parameters())
    with torch.no_grad():
        for parameter in parameters:
            if parameter.shape == (CLASSES, 2):  # else an angular margin may not converge
                parameter.copy_(features.reshape(2, CLASSES, 2).mean(0) / 2)
    optimizer = torch.optim.Adam(parameters, lr=0.05) if parameters else None
    for _ in range(FIT_STEPS):
        if optimizer is not None:
            optimizer.zero_grad()
            head(features, labels).backward()
            with torch.no_grad():
                head.before_step(features, labels)
            optimizer.step()
        with torch.no_grad():
            head.after_step(features, labels)
    head.fit_class_means(features, labels)
    return head


def draw(name: str, settings: Sequence[Mapping[str, Any]]) -> bytes:
    """PNG with one panel per setting of the loss's parameters."""
    torch.set_num_threads(1)
    figure = Figure(figsize=(3.6 * len(settings), 3.9), layout="constrained")
    axis = np.linspace(-HALF_WIDTH, HALF_WIDTH, SIDE)
    for panel, params in zip(
        figure.subplots(1, len(settings), squeeze=False)[0], settings, strict=True
    ):
        head = fitted_head(name, params)
        features, labels = fixed_points()
        # the moved point has the state of a point of the second class, as if it were mislabelled
        set_sample_indices(head, torch.tensor([1, *range(len(labels))]))
        labels = torch.cat([torch.tensor([0]), labels])
        grid = torch.tensor(np.stack(np.meshgrid(axis, axis), -1), dtype=torch.float32)
        points_on_grid = grid.reshape(-1, 2)
        with torch.no_grad():
            loss = torch.stack(
                [head(torch.cat([x[None], features]), labels) for x in points_on_grid]
            )
            scores = head.logits(points_on_grid).reshape(SIDE, SIDE, CLASSES)
        values = loss.reshape(SIDE, SIDE).numpy()
        filled = panel.contourf(axis, axis, values, levels=14, cmap="YlOrBr", alpha=0.85)
        figure.colorbar(filled, ax=panel, shrink=0.7, label="loss of the batch")
        upward, rightward = np.gradient(-values, axis, axis)
        thin = slice(1, None, 2)
        length = np.hypot(rightward, upward).max() or 1.0
        panel.quiver(
            axis[thin], axis[thin], (rightward / length)[thin, thin], (upward / length)[thin, thin],
            scale=9, width=0.006, color="#333333",
        )  # fmt: skip
        for k in range(CLASSES):
            others = scores[..., [other for other in range(CLASSES) if other != k]].amax(-1)
            ahead = (scores[..., k] - others).numpy()
            panel.contour(axis, axis, ahead, [0], colors="k", linewidths=1)
        features, labels = fixed_points()
        for k, color in enumerate(COLORS):
            points = features[labels == k]
            panel.plot(points[:, 0], points[:, 1], "o", color=color, markeredgecolor="white", ms=8)
        title = ", ".join(f"{key} = {value}" for key, value in params.items())
        panel.set_title(textwrap.fill(title, 36), size=9)
        panel.set_aspect("equal")
        panel.set_xticks([])
        panel.set_yticks([])
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110, bbox_inches="tight")
    return file.getvalue()
