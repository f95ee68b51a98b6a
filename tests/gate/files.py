"""Baseline files of made-up results: write one, compare results with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from rich.text import Text

from lossbench.gate.baseline_file import read_baseline
from lossbench.gate.comparability import require_comparable
from lossbench.gate.formats import FORMATS
from lossbench.gate.from_results import baseline_from_results
from lossbench.gate.regression import check_cells, exit_code
from lossbench.gate.update import update_baseline
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from tests.report.synthetic_report import Results

BODY = """
variants: {A: {model: {feature_dim: 2}}, B: {model: {feature_dim: 8}}}
losses: [softmax, center, {lgm: {alpha: {grid: [0.1, 0.3]}}}]
"""
STEADY: Mapping[str, list[float | None]] = {
    f"{variant}/{row}": [5.0, 5.2 + i / 100, 5.4]
    for variant in "AB"
    for i, row in enumerate(("softmax", "center", "lgm(alpha=0.1)", "lgm(alpha=0.3)"))
}
COMMAND = "lossbench run suite.yaml"
MakePlan = Callable[..., Plan]
Fill = Callable[..., Results]


def update(
    plan: Plan,
    results: Results,
    path: Path,
    *min_effects: str,
    only: str | None = None,
    accept: bool = False,
) -> list[str]:
    plan = plan.narrowed(only) if only else plan
    old = read_baseline(path) if path.exists() else None
    measured = baseline_from_results(PlanWithResults(plan, results), COMMAND)
    return update_baseline(path, old, measured, only, min_effects, accept=accept)


def check(
    plan: Plan, results: Results, path: Path, form: str = "text", only: str | None = None
) -> tuple[str, int]:
    """Printed text and exit code of a check."""
    plan = plan.narrowed(only) if only else plan
    baseline = read_baseline(path)
    require_comparable(baseline, plan, only, path)
    measured = baseline_from_results(PlanWithResults(plan, results), COMMAND)
    cells = check_cells(baseline, measured, only)
    text = FORMATS[form](cells, baseline, measured)
    return text.plain if isinstance(text, Text) else text, exit_code(cells)
