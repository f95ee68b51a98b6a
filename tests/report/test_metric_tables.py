"""Tables of one metric: cells, published numbers, other views on the page, and ranks."""

from __future__ import annotations

import math
from collections.abc import Callable

from lossbench.analysis.rank_bootstrap import rank_rows
from lossbench.analysis.statistics import Summary
from lossbench.analysis.tables import make_tables
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.report.display import DisplayCell
from lossbench.report.metric_tables import CLASSIC_TITLE, all_metric_tables, rank_table
from tests.analysis.made_up_tables import TWO, errors


def test_the_notes_of_ranks_say_what_they_are_worth() -> None:
    low, high = Summary((1.0, 1.1), seeds=(0, 1)), Summary((2.0, 2.1), seeds=(0, 1))
    cells = {("A", "a"): low, ("A", "b"): high, ("B", "a"): low, ("B", "b"): high, ("A", "c"): low}
    ranks = rank_rows(cells, ["A", "B"], higher=False)
    assert ranks is not None
    table = rank_table(ranks)
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["a", "1.00", "1.00 to 1.00", "1", "1"],
        ["b", "2.00", "2.00 to 2.00", "2", "2"],
    ]
    [note] = table.notes
    assert "Two columns are not enough" in note
    assert "parametric bootstrap over the seeds (2,000 draws of the means" in note
    assert "too narrow where rows differ by less than half a standard deviation" in note
    assert note.endswith("Not ranked, because a result is missing: c.")


def test_cells_have_their_count_and_views(make_plan: Callable[..., Plan], fill: Callable) -> None:
    plan = make_plan(f"reference: softmax\n{TWO}")
    results = fill(plan, errors([2.0, 2.1, 2.2], [1.0, math.nan, 1.2], [1.0, 1.1, 1.3]))
    values, verdicts, classic = all_metric_tables(make_tables(PlanWithResults(plan, results)))
    assert [column.heading for column in values.columns] == ["loss", "Test error"]
    assert values.has_verdicts
    (_, softmax), (_, some), (_, best) = values.rows
    assert (softmax.text, softmax.count, softmax.incomplete) == ("2.10 ± 0.10", "n=3", False)
    assert softmax.views is not None
    assert (softmax.views.interval, softmax.views.verdict) == ("95 % 1.85 to 2.35", "–")
    assert (some.count, some.incomplete) == ("n=2, 1 of 3 diverged", True)
    assert (best.emphasis, best.strong) == ("best", True)
    assert best.views is not None
    assert best.views.seeds == "1.00, 1.10, 1.30"
    assert verdicts.subordinate
    assert [row[0].text for row in verdicts.rows] == ["lgm(alpha=0)", "lgm(alpha=1)"]
    assert verdicts.rows[1][1].emphasis == best.views.outcome
    assert (classic.title, classic.folded, verdicts.folded) == (CLASSIC_TITLE, True, False)
    assert [row[0].text for row in classic.rows] == ["lgm(alpha=0)", "lgm(alpha=1)"]


def test_a_cell_without_trials_is_empty(make_plan: Callable[..., Plan], fill: Callable) -> None:
    plan = make_plan(
        "variants: {A: {model: {feature_dim: 2}}, B: {model: {feature_dim: 8}}}\nseeds: [0]\n"
        "selection: {holdout: 0.2}\nlosses: [{center: {weight: {grid: [0.1, 0.2]}}}]\n"
    )
    cells = {"A/center(weight=0.1)": [1], "A/center(weight=0.2)": [2]}
    cells |= {"B/center(weight=0.1)": [2], "B/center(weight=0.2)": [1]}
    found = PlanWithResults(plan, fill(plan, cells))
    _, test = [table for table in all_metric_tables(make_tables(found)) if table.rows]
    assert not test.has_verdicts
    assert [row[2 - index] for index, row in enumerate(test.rows)] == [DisplayCell()] * 2
