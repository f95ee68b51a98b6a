"""Forest plot in the terminal."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from lossbench.analysis.statistics import Interval
from lossbench.analysis.tables import Table, make_tables
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.report.forest import ForestPanel, TextForest, forest_panels, wrap_label
from tests.analysis.made_up_tables import NAN
from tests.report.synthetic_report import with_own_metric

LABELS = ["center", "l_softmax", "contrastive", "triplet", "lgm"]
ERRORS = {
    "softmax": [5.0, 5.2, 4.9],
    "center": [5.05, 5.15, 4.9],
    "l_softmax": [6.3, 6.4, 6.2],
    "contrastive": [3.0, 3.25, 2.85],
    "triplet": [NAN, NAN, NAN],
    "lgm": [4.8, 5.0, 4.9],
}


@pytest.fixture
def table(make_plan: Callable[..., Plan], fill: Callable) -> Table:
    plan = make_plan(
        f"reference: softmax\nmin_effect: {{error: 0.9}}\nlosses: [softmax, {', '.join(LABELS)}]\n"
    )
    results = fill(plan, {f"default/{row}": values for row, values in ERRORS.items()})
    [table] = make_tables(PlanWithResults(plan, results))
    return table


def lines_of(panel: ForestPanel, width: int, encoding: str = "utf-8", **more: Any) -> list[str]:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(width=width, file=file, record=True, force_terminal=False)
    console.print(TextForest(panel, {}, **more))
    return console.export_text().splitlines()


def test_marks_are_at_their_places(table: Table) -> None:
    [panel] = forest_panels(table)
    head, *lines, axis, remark = lines_of(panel, 80)
    marks = {v.row: v.outcome for v in panel.verdicts}
    assert [line.split()[0] for line in lines] == LABELS  # the table's order
    assert set(marks.values()) == {"better", "worse", "equivalent", "none"}
    zero = axis.index(" 0 ") + 1
    assert all(line[zero] in "│┼●■◆├┤─" for line in lines)
    for verdict, line in zip(panel.verdicts, lines, strict=True):
        found = [i for i, sign in enumerate(line[:50]) if sign in "●■◆○"]
        if verdict.outcome == "none":
            assert found == []
            continue
        [at] = found
        assert line[at] == {"better": "●", "worse": "■", "equivalent": "◆"}[verdict.outcome]
        assert verdict.interval is not None
        assert (line.index("├") < zero) == (verdict.interval.low < 0)
        assert line.index("├") < at < line.index("┤")
        assert f" {verdict.outcome} " in line
    assert head.index("← better") < zero < head.index("worse →")
    assert "± 0.90" in axis
    assert remark == "triplet: all 3 seeds diverged"


@pytest.mark.parametrize("width", [120, 80, 60, 40, 24])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_any_width_and_encoding(table: Table, width: int, encoding: str) -> None:
    [panel] = forest_panels(table)
    lines = lines_of(panel, width, encoding)
    assert all(len(line) <= width for line in lines)
    text = "\n".join(lines)
    names = [line.split()[0] for line in lines[1:]]
    assert width < 40 or names[:5] == LABELS
    assert text.isascii() == (encoding == "ascii")
    mark = "●" if encoding == "utf-8" else "*"
    [line] = [line for line in lines if mark in line]
    assert line.startswith("contras")
    assert "better" in line
    assert ("-2.00" in line.replace("−", "-")) == (width >= 80)


@pytest.mark.parametrize(
    ("label", "size", "lines"),
    [
        ("softmax", 10, ["softmax"]),
        ("lgm(alpha=1,lambda=0.1)", 14, ["lgm(alpha=1,", "lambda=0.1)"]),
        ("lgm(alpha=1,lambda=0.1)", 6, ["lgm(", "alpha=", "1,", "lambda", "=0.1)"]),
        ("損失関数", 4, ["損失", "関数"]),
    ],
)
def test_labels_break_after_commas(label: str, size: int, lines: list[str]) -> None:
    assert wrap_label(label, size) == lines


def test_higher_is_better_turns_the_sides(make_plan: Callable[..., Plan]) -> None:
    plan, results = with_own_metric(
        make_plan("reference: softmax\nlosses: [softmax, center, lgm]\n"), "s", 1.0, higher=True
    )
    [table] = make_tables(PlanWithResults(plan, results))
    [panel] = forest_panels(table)
    head = lines_of(panel, 90, higher_is_better=True)[0]
    assert head.split()[:4] == ["←", "worse", "better", "→"]


def test_a_very_long_interval_does_not_hide_the_others(
    make_plan: Callable[..., Plan], fill: Callable
) -> None:
    alphas = [round(0.1 * i, 1) for i in range(10)]
    plan = make_plan(
        "seeds: [0, 1, 2, 3]\nreference: softmax\n"
        f"losses: [softmax, {{lgm: {{alpha: {{grid: {alphas}}}}}}}]\n"
    )
    generator = np.random.default_rng(1)
    values = {f"default/{row.label}": [*generator.normal(3, 0.1, 4)] for row in plan.rows}
    values["default/lgm(alpha=0.5)"] = [0.0, 9.0, 2.0, 7.0]
    [table] = make_tables(PlanWithResults(plan, fill(plan, values)))
    [panel] = forest_panels(table)
    wild = next(v for v in panel.verdicts if v.row == "lgm(alpha=0.5)")
    assert wild.interval is not None
    assert wild.interval.low < panel.shown.low < 0 < panel.shown.high < wild.interval.high
    assert panel.shown.high > (wild.difference.mean or 0)
    [line] = [line for line in lines_of(panel, 80) if line.startswith("lgm(alpha=0.5)")]
    assert "◂" in line
    assert "▸" in line


def test_equal_rows_and_untested_ones(make_plan: Callable[..., Plan], fill: Callable) -> None:
    plan = make_plan("reference: softmax\nlosses: [softmax, center]\n")
    equal = {"default/softmax": [1.0, 2.0, 3.0], "default/center": [1.0, 2.0, 3.0]}
    [table] = make_tables(PlanWithResults(plan, fill(plan, equal)))
    [panel] = forest_panels(table)
    assert panel.shown == Interval(-1, 1)
    assert "○" in lines_of(panel, 60)[1]
    alone = {"default/softmax": [1.0, None, None], "default/center": [1.0, None, None]}
    [table] = make_tables(PlanWithResults(plan, fill(plan, alone)))
    assert forest_panels(table) == []
