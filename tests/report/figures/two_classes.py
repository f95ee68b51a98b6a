"""Panels of two classes, with everything that can be drawn of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from lossbench.planning.plan import Plan
from lossbench.report.figures import embeddings
from lossbench.report.figures.stored_arrays import StoredArrays
from tests.report.figures.drawing import stage_of
from tests.report.synthetic_report import make_arrays


def panels_of(plan: Plan, names: list[str] | None) -> list[StoredArrays]:
    """Panels of the first variant; `names` are those of the classes."""
    x, y = np.linspace(-17, 17, 60), np.linspace(-16, 16, 60)
    grid = np.stack(np.meshgrid(x, y), -1)

    def read(identity: str, name: str) -> dict[str, Any]:
        trial = next(trial for trial in plan.trials if trial.identity == identity)
        arrays = make_arrays(trial, classes=2, points=50)
        scores = [-0.5 * np.square(grid - mean).sum(-1) for mean in arrays["class_means"]]
        arrays |= {"grid_x": x, "grid_y": y, "class_log_density": np.stack(scores)}
        arrays["log_density"] = np.logaddexp(*scores)
        return arrays if names is None else {**arrays, "class_names": np.array(names)}

    return embeddings.find_embeddings(stage_of(plan), "default", plan.rows, read)
