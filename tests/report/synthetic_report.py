"""Made-up results and arrays, from generators seeded by the trial."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from rich.console import Console

from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.planning.trial import Trial
from lossbench.records import EpochRecord, Metric, TrialResult
from lossbench.report import terminal_table
from tests.synthetic_measurements import measurements_of

DEFAULTS: dict[str, dict[str, Any]] = {
    "softmax": {},
    "center": {"weight": 0.003, "center_rate": 0.5},
    "l_softmax": {"margin": 4},
    "contrastive": {"weight": 0.1, "margin": 1.0, "softmax_weight": 1.0},
    "triplet": {"weight": 0.1, "margin": 0.2, "softmax_weight": 1.0},
    "lgm": {"alpha": 1.0, "lambda": 0.1, "covariance": "identity"},
}
HEAD = """
suite: synthetic
dataset: digits
model: {name: digits_cnn}
recipe: {epochs: 8, batch_size: 64, optimizer: {name: sgd, lr: 0.01}}
"""
GRID = """
variants: {A: {model: {feature_dim: 2}}, B: {model: {feature_dim: 8}}}
evaluate: [error]
selection: {holdout: 0.2}
losses:
  - softmax
  - center: {weight: {grid: [0.001, 0.003, 0.01]}}
  - lgm: {alpha: {grid: [0.1, 0.3, 1.0]}, lambda: {grid: [0.01, 0.1, 1.0]}}
"""

Results = dict[str, TrialResult]


def result_of(trial: Trial, error: float, *, status: str = "finished", **other: Any) -> TrialResult:
    """A result whose last error is `error` percent."""
    measured = "holdout_error" if trial.holdout else "test_error"
    rng = np.random.default_rng(int(trial.identity, 16))
    speed = rng.uniform(0.5, 0.8)
    epochs = trial.recipe.epochs
    if status == "diverged":
        curve, loss = [90.0] * (epochs // 2), [2.3 * 1.9**e for e in range(epochs // 2)]
    else:
        steps = range(epochs)
        curve = [error + (80 - error) * speed**e * rng.uniform(0.9, 1.1) for e in steps[:-1]]
        curve.append(error)
        loss = [float(2.3 * speed**e + 0.02 * rng.uniform(0.5, 1.5)) for e in steps]
    history = tuple(
        EpochRecord(epoch=i + 1, timestamp_ms=i, metrics={measured: float(e), "train_loss": x})
        for i, (e, x) in enumerate(zip(curve, loss, strict=True))
    )
    fields: dict[str, Any] = {
        "identity": trial.identity,
        "status": status,
        "reason": "the loss was not finite in epoch 4" if status == "diverged" else "",
        "metrics": dict.fromkeys((e.name for e in trial.evaluate), error)
        if status == "finished"
        else {},
        "history": history,
        "wall_time_sec": float(rng.uniform(10, 14)),
        "peak_memory_mib": float(rng.uniform(300, 420)),
        "device": "cpu",
        "environment": {"python": "3.11.2", "torch": "2.13.0"},
    }
    fields |= other
    if status == "finished":
        measured_now = measurements_of(
            trial, fields["metrics"], lacking=fields.get("unmeasured", ())
        )
        fields = {"measurements": measured_now, "weights_digest": trial.identity, **fields}
    return TrialResult(**fields)


def make_arrays(trial: Trial, classes: int = 10, points: int = 600) -> dict[str, np.ndarray]:
    """A made-up 2-D embedding; rows of `lgm` have a density on a grid, too."""
    rng = np.random.default_rng(trial.seed + len(trial.row))
    labels = rng.integers(0, classes, points)
    angle = 2 * np.pi * np.arange(classes) / classes
    means = 12 * np.stack([np.cos(angle), np.sin(angle)], axis=1)  # (K, 2)
    if trial.loss.name == "lgm":
        features = means[labels] + rng.normal(0, 1, (points, 2))
    else:
        features = means[labels] * rng.gamma(4, 0.25, (points, 1)) + rng.normal(0, 0.7, (points, 2))
    arrays = {"features": features.astype(np.float32), "labels": labels, "class_means": means}
    if trial.loss.name == "lgm":
        x, y = np.linspace(-17, 17, 160), np.linspace(-16, 16, 160)
        grid = np.stack(np.meshgrid(x, y), axis=-1)[:, :, None]  # (G, G, 1, 2), row = y
        log_each = -0.5 * ((grid - means) ** 2).sum(-1) - np.log(2 * np.pi)  # (G, G, K)
        log_density = np.logaddexp.reduce(log_each, axis=-1) - np.log(classes)
        arrays |= {"grid_x": x, "grid_y": y, "log_density": log_density}
    return arrays


def with_own_metric(
    plan: Plan, unit: str, scale: float, *, higher: bool = False
) -> tuple[Plan, Results]:
    """A plan whose only metric is one of the user's own, and its results."""
    metric = Metric(name="mine", label="my metric", unit=unit, higher_is_better=higher)
    rng = np.random.default_rng(0)
    levels = {row.label: i for i, row in enumerate(plan.rows)}
    results = {
        trial.identity: result_of(
            trial,
            5.0,
            metrics={"mine": scale * (1 + levels[trial.row] + 0.05 * float(rng.normal()))},
        )
        for trial in plan.trials
    }
    return replace(plan, metrics=(metric,)), results


def in_terminal(plan: Plan, results: Mapping[str, TrialResult]) -> str:
    """Tables as a terminal of 120 columns shows them."""
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(terminal_table(PlanWithResults(plan, results)))
    return console.export_text()
