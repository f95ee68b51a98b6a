"""Uncertainty from the test set as a reader sees it."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from lossbench.analysis.predictions import analyze_predictions
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.report.build import build_report
from lossbench.report.uncertainty_table import uncertainty_table
from tests.analysis.stored_predictions import BODY, IMAGES, predictions


def test_mcnemar_tests_are_counted_by_their_direction(
    make_plan: Callable[..., Plan], run_all: Callable
) -> None:
    plan = make_plan(BODY)
    stage = PlanWithResults(plan, run_all(plan)).test_stage
    analysis = analyze_predictions(stage, "softmax", predictions(plan))
    assert analysis is not None
    rows = uncertainty_table(analysis, has_variants=False).rows
    assert [(row[0].text, row[3].text, row[3].detail) for row in rows] == [
        ("softmax", "–", ""),
        ("center", "0 better, 0 worse", "of 3 seeds"),
        ("lgm", "3 better, 0 worse", "of 3 seeds"),
    ]


def test_page_markdown_and_json_have_the_verdicts_and_the_test_sets_part(
    make_plan: Callable[..., Plan], run_all: Callable, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(
        "lossbench.report.build.draw_figures", lambda *_: nullcontext(list)
    )  # slow, no matter here
    plan = make_plan(f"variants: {{A: {{}}, B: {{model: {{feature_dim: 3}}}}}}\n{BODY}")
    build_report(
        PlanWithResults(plan, run_all(plan)), predictions(plan), tmp_path, "lossbench report"
    )
    content = json.loads((tmp_path / "verdicts.json").read_text(encoding="utf-8"))
    assert (content["suite"], content["reference"]) == ("synthetic", "softmax")
    [metric] = content["metrics"]
    assert metric["comparisons"] == 4
    assert [(v["variant"], v["row"]) for v in metric["verdicts"]] == [
        (variant, row) for variant in "AB" for row in ("center", "lgm")
    ]
    assert metric["verdicts"][0]["verdict"] == "undecided"  # no row varies by itself
    assert metric["verdicts"][0]["smallest_exact_p"] == {"sign_flips": 0.25, "unmatched": 0.1}
    assert [rank["row"] for rank in metric["ranks"]] == ["lgm", "center", "softmax"]
    cells = content["test_set"]["cells"]
    assert [len(c["mcnemar"]) for c in cells] == [0, 3, 3] * 2
    lgm = cells[2]
    assert lgm["difference_interval"][0] < lgm["difference"] < lgm["difference_interval"][1] < 0

    page, text = (
        (tmp_path / "report.html").read_text(encoding="utf-8"),
        (tmp_path / "report.md").read_text(encoding="utf-8"),
    )
    for words in (
        "Difference to softmax, paired by seed, in percentage points",
        "undecided (no spread between seeds is known)",
        "Average rank",
        "Uncertainty from the test set",
        f"2,000 resamples of the {IMAGES} test images",
        f"{lgm['difference']:.2f}".replace("-", "−"),
    ):
        assert words in page
        assert words in text
    assert 'href="#test-set"' in page
    bare = tmp_path / "bare"
    build_report(
        PlanWithResults(plan, run_all(plan)), lambda identity, name: None, bare, "lossbench report"
    )
    assert 'id="test-set"' not in (bare / "report.html").read_text(encoding="utf-8")
    assert json.loads((bare / "verdicts.json").read_text(encoding="utf-8"))["test_set"] is None
