"""A suite of many metrics with detection and geometry, and its made-up results."""

from __future__ import annotations

import numpy as np

from lossbench.planning.plan import Plan
from lossbench.records import Artifact, Metric
from tests.report.synthetic_report import result_of

BODY = """
seeds: [0, 1]
reference: softmax
losses: [softmax, {lgm: {alpha: {grid: [0.0, 1.0]}}}]
published: {fgsm_0.3_error: table6_fgsm_error/eps=0.3}
"""


METRICS = (
    Metric(name="error", label="error", unit="% of images"),
    Metric(
        name="fgsm_0.3_error",
        label="error under FGSM, ε = 0.3",
        unit="% of images",
        attack="fgsm",
        epsilon=0.3,
    ),
    Metric(name="fgsm_0.3_eer", label="equal error rate, FGSM, ε = 0.3", unit="%"),
    Metric(name="fgsm_0.3_auroc", label="AUROC, FGSM", unit="%", higher_is_better=True),
)


ARTIFACT = Artifact(
    name="detection_fgsm_0.3",
    kind="detection",
    title="FGSM, ε = 0.3",
    key="fgsm_0.3",
    eer_metric="fgsm_0.3_eer",
)


def results_of(plan: Plan) -> dict[str, object]:
    levels = {row.label: float(i) for i, row in enumerate(plan.rows)}
    found = {}
    for trial in plan.trials:
        level = levels[trial.row] + 0.01 * trial.seed
        metrics = {
            "error": 3 - level,
            "fgsm_0.3_error": 80 - level,
            "fgsm_0.3_eer": 20 - 5 * level,
            "fgsm_0.3_auroc": 70 + 10 * level,
        }
        found[trial.identity] = result_of(trial, 3 - level, metrics=metrics)
    return found


def read(identity: str, name: str) -> dict[str, np.ndarray] | None:
    random = np.random.default_rng(0)
    if name == "detection_fgsm_0.3":
        return {
            "posterior_normal": random.beta(9, 1, 300),
            "posterior_other": random.beta(2, 2, 300),
            "likelihood_normal": random.beta(5, 2, 300),
            "likelihood_other": random.beta(1, 5, 300),
            "false_accept": np.linspace(0, 1, 50),
            "true_accept": np.linspace(0, 1, 50) ** 0.2,
        }
    if name != "embedding":
        return None
    labels = np.arange(200) % 2
    means = np.array([[0.0, 0.0], [4.0, 0.0]])
    x, y = np.linspace(-3, 7, 160), np.linspace(-5, 5, 160)
    grid = np.stack(np.meshgrid(x, y), -1)
    scores = np.stack([-0.5 * np.square(grid - mean).sum(-1) for mean in means])
    return {
        "features": means[labels] + random.normal(0, 0.5, (200, 2)),
        "labels": labels,
        "class_means": means,
        "grid_x": x,
        "grid_y": y,
        "log_density": np.logaddexp(*scores),
        "class_log_density": scores,
        "adversarial": np.array([[2.0, 0.0], [1.0, 1.0], [50.0, 0.0]]),
        "epsilon": np.array(0.3),
    }
