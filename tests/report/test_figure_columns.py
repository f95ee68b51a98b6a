"""Many columns: only the first ones have figures of their own, which the report says; in the
terminal, only these have answers and verdicts."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.report.build import build_report
from lossbench.report.figure_columns import (
    FIRST_COLUMNS,
    MANY_COLUMNS,
    columns_with_figures,
    describe_columns_without_figures,
)
from lossbench.report.terminal import terminal_table

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


def in_terminal(found: PlanWithResults, *, every: bool) -> list[str]:
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(terminal_table(found, every_column=every))
    return [line.rstrip() for line in console.export_text().splitlines()]


def answered_and_plotted(lines: list[str], names: list[str]) -> tuple[list[str], list[str]]:
    """Columns with an answer, and columns with a forest plot, which its name is the heading of."""
    answered = [n for n in names if any(line.startswith(f"{n}: ") for line in lines)]
    return answered, [n for n in names if n in lines]


def test_the_terminal_shows_the_verdicts_of_the_first_of_many_columns(
    make_plan: Callable[..., Plan], run_all: Callable
) -> None:
    plan = make_plan(suite_of(MANY_COLUMNS + 1))
    names, found = list(plan.suite.variants), PlanWithResults(plan, run_all(plan))
    lines = in_terminal(found, every=False)
    assert answered_and_plotted(lines, names) == (names[:FIRST_COLUMNS], names[:FIRST_COLUMNS])
    whole = in_terminal(found, every=True)
    assert answered_and_plotted(whole, names) == (names, names)
    left_out = names[FIRST_COLUMNS:]
    beaten = sum(line.startswith(f"{n}: center beats") for line in whole for n in left_out)
    assert (
        f"{len(left_out)} more columns are in the report, in {beaten or 'none'} of which a loss is "
        "shown to beat the reference; --figures all prints them, too."
    ) in lines
    assert not any("more columns" in line for line in whole)


def test_the_terminal_counts_no_winners_without_a_reference(
    make_plan: Callable[..., Plan], run_all: Callable
) -> None:
    plan = make_plan(suite_of(MANY_COLUMNS + 1).replace("reference: softmax\n", ""))
    lines = in_terminal(PlanWithResults(plan, run_all(plan)), every=False)
    assert "6 more columns are in the report; --figures all prints them, too." in lines
