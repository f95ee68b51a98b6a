"""Many metrics, detection and the geometry of the margin, from made-up results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lossbench.analysis.tables import make_tables
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.records import Artifact, Metric
from lossbench.report.build import build_report
from lossbench.report.combined_table import combine_metrics
from lossbench.report.figures.geometry import scores_to_distances
from lossbench.report.formats import markdown
from tests.report.synthetic_report import result_of

BODY = """
seeds: [0, 1]
reference: softmax
losses: [softmax, {lgm: {alpha: {grid: [0.0, 1.0]}}}]
published: {fgsm_0.3_error: table6_fgsm_error/eps=0.3}
"""
METRICS = (
    Metric(name="error", label="error", unit="% of images"),
    Metric(name="fgsm_0.3_error", label="error under FGSM, ε = 0.3", unit="% of images"),
    Metric(name="fgsm_0.3_eer", label="equal error rate, FGSM, ε = 0.3", unit="%"),
    Metric(name="fgsm_0.3_auroc", label="AUROC, FGSM", unit="%", higher_is_better=True),
)
ARTIFACT = Artifact(name="detection_fgsm_0.3", kind="detection", title="FGSM, ε = 0.3")


@pytest.fixture
def plan(make_plan: Callable[..., Plan]) -> Plan:
    return replace(make_plan(BODY), metrics=METRICS, artifacts=(ARTIFACT,))


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


def test_a_suite_of_one_variant_has_one_table_of_all_metrics(plan: Plan) -> None:
    tables = make_tables(PlanWithResults(plan, results_of(plan)))
    combined = combine_metrics(tables)
    assert combined is not None
    headings = [column.heading for column in combined.columns]
    assert headings == ["metric", "softmax", "lgm(alpha=0)", "lgm(alpha=1)"]
    assert [line[0].text for line in combined.rows] == [
        "Test error, % of test images",
        "Test error under FGSM, ε = 0.3, % of test images",
        "Test equal error rate, FGSM, ε = 0.3, %",
        "Test AUROC, FGSM, %",
    ]
    best = [[cell.emphasis for cell in line[1:]] for line in combined.rows]
    assert best == [["", "", "best"]] * 4  # of the AUROC the highest
    published = [cell.detail for cell in combined.rows[1][1:]]
    assert published == ["published 84.87", "", "published 81.62"]
    text = markdown(tables)
    assert "| Test AUROC, FGSM, % | 70.05 ± 0.07 | 80.05 ± 0.07 | **90.05 ± 0.07** |" in text
    assert "(published 84.87)" in text


def test_one_metric_or_several_variants_are_not_combined(make_plan: Callable[..., Plan]) -> None:
    one = make_plan(BODY.replace("published", "# published"))
    assert combine_metrics(make_tables(PlanWithResults(one, {}))) is None
    two = "variants: {a: {}, b: {model: {feature_dim: 3}}}"
    several = replace(make_plan(f"{two}\n{BODY}"), metrics=METRICS)
    assert combine_metrics(make_tables(PlanWithResults(several, {}))) is None


def test_everything_is_drawn(plan: Plan, tmp_path: Path) -> None:
    files = build_report(
        PlanWithResults(plan, results_of(plan)), read, tmp_path, "lossbench report"
    )
    names = {path.stem for path in files if path.suffix == ".png"}
    assert names >= {
        "posterior-fgsm_0.3-default",
        "likelihood-fgsm_0.3-default",
        "roc-fgsm_0.3-default",
        "fgsm-default",
        "geometry-default",
        "likelihood-default",
    }
    assert all(path.stat().st_size < 300_000 for path in files if path.suffix == ".png")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "All measurements; mean ± std over 2 seeds" in page
    assert "published 84.87" in page
    assert "of these fall on the map: softmax 2, lgm(alpha=0) 2, lgm(alpha=1) 2." in page


def test_distances_are_read_from_log_densities() -> None:
    """Of Gaussians with covariances of their own, from a grid that misses their means."""
    x, y = np.linspace(-3, 5, 40), np.linspace(-4, 4, 30)
    means = np.array([[0.13, 0.4], [2.2, -0.7]])
    precisions = np.array([[1.0, 0.25], [4.0, 0.5]])
    columns, rows = np.meshgrid(x, y)
    scores, distances = [], []
    for mean, precision in zip(means, precisions, strict=True):
        squared = precision[0] * (columns - mean[0]) ** 2 + precision[1] * (rows - mean[1]) ** 2
        distances.append(0.5 * squared)
        scores.append(-0.5 * squared + 0.5 * np.log(precision).sum() - np.log(2 * np.pi))
    found = scores_to_distances(np.stack(scores), x, y, means)
    np.testing.assert_allclose(found, np.stack(distances), atol=1e-9)
