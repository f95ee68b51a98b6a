"""Tables of one metric: the table of ranks."""

from __future__ import annotations

from lossbench.analysis.rank_bootstrap import rank_rows
from lossbench.analysis.statistics import Summary
from lossbench.report.metric_tables import rank_table


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
    assert "2 seeds make them too narrow" in note
    assert note.endswith("Not ranked, because a result is missing: c.")
