"""Many columns: only the first ones have figures of their own, which the report says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.report.build import build_report
from lossbench.report.figure_columns import (
    FIRST_COLUMNS,
    MANY_COLUMNS,
    columns_with_figures,
    describe_columns_without_figures,
)

LEFT_OUT = "Of 9 columns only the first 3 have figures of their own."


def suite_of(columns: int) -> str:
    listed = (f"c{i}: {{model: {{feature_dim: {i + 3}}}}}" for i in range(columns))
    return (
        f"variants: {{{', '.join(listed)}}}\nseeds: [0, 1]\nreference: softmax\n"
        "losses: [softmax, center]\n"
    )


def drawn(found: PlanWithResults, folder: Path, *, every: bool) -> set[str]:
    files = build_report(found, lambda *_: None, folder, "c", every_figure=every)
    return {path.stem for path in files if path.suffix == ".png"}


def test_few_columns_all_have_figures(make_plan: Callable[..., Plan]) -> None:
    plan = make_plan(suite_of(MANY_COLUMNS))
    columns = columns_with_figures(plan, every=False)
    assert columns == tuple(plan.suite.variants)
    assert describe_columns_without_figures(plan, columns) == ""


def test_of_many_columns_the_first_have_figures(
    make_plan: Callable[..., Plan], run_all: Callable, tmp_path: Path
) -> None:
    plan = make_plan(suite_of(MANY_COLUMNS + 1))
    found = PlanWithResults(plan, run_all(plan))
    first = [f"c{i}" for i in range(FIRST_COLUMNS)]
    expected = {f"{kind}-{name}" for kind in ("forest", "curves", "cost") for name in first}
    assert drawn(found, tmp_path, every=False) == expected | {"overview-error", "levels-error"}
    for name in ("report.md", "report.html"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert LEFT_OUT in text
        assert "c8" in text  # whose numbers are there
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count('<figure class="curves">') == FIRST_COLUMNS


def test_all_figures_on_request(
    make_plan: Callable[..., Plan], run_all: Callable, tmp_path: Path
) -> None:
    plan = make_plan(suite_of(MANY_COLUMNS + 1))
    found = PlanWithResults(plan, run_all(plan))
    names = drawn(found, tmp_path, every=True)
    assert {f"cost-{name}" for name in plan.suite.variants} < names
    assert "overview-error" in names
    assert LEFT_OUT not in (tmp_path / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("every", [False, True])
def test_the_sentence_has_all_columns_or_none(make_plan: Callable[..., Plan], every: bool) -> None:
    plan = make_plan(suite_of(MANY_COLUMNS + 1))
    sentence = describe_columns_without_figures(plan, columns_with_figures(plan, every=every))
    assert ("`--figures all`" in sentence) is not every
