"""A ranking in words: its answer, warnings and notes."""

from __future__ import annotations

from collections.abc import Iterator

from lossbench.analysis.ranking import Ranking, join_some
from lossbench.analysis.statistics import ALPHA
from lossbench.report.provenance import describe_changes, describe_more_seeds
from lossbench.report.value_text import counted, format_count


def ranking_answer(ranking: Ranking) -> str:
    """Average rank of the first loss, and the losses that it is significantly better than."""
    best, n = ranking.listed[0], len(ranking.columns)
    head = f"average rank {best.mean:.2f} of {len(ranking.listed)} in {counted(n, 'column')}"
    beaten = [pair.other for pair in ranking.significant_pairs if pair.better == best.label]
    if beaten:
        return f"{head}; better than {', '.join(beaten)}"
    if n < ranking.columns_to_decide:
        return f"{head}; too few columns for a significant difference between any two losses"
    return f"{head}; no significant difference from any other loss"


def ranking_warnings(ranking: Ranking) -> Iterator[str]:
    """Yield notes on missing trials, left-out columns and differences from the suite files."""
    yield from ranking.left_out
    for plan in ranking.plans:
        if plan.changes:
            yield describe_changes(plan)
        if plan.more_seeds:
            yield f"{plan.suite.suite}: {describe_more_seeds(plan)}"
    if ranking.unranked:
        n = len(ranking.columns)
        listed = [f"{label} ({count} of {n})" for label, count in ranking.unranked.items()]
        yield (
            "not ranked, because a result with the same parameters is missing in some column: "
            f"{join_some(listed)}"
        )
    incomplete = [
        f"{column.label}: {row.label} {format_count(row.cells[i].summary)}"
        for i, column in enumerate(ranking.columns)
        for row in ranking.listed
        if not row.cells[i].summary.complete
    ]
    if incomplete:
        yield f"incomplete: {join_some(incomplete)}"


def ranking_notes(ranking: Ranking) -> Iterator[str]:
    """How the numbers were computed, and what they are worth."""
    n, rows = len(ranking.columns), len(ranking.listed)
    pairs, needed = rows * (rows - 1) // 2, ranking.columns_to_decide
    yield (
        "Rank of the mean over the seeds in each column, averaged; 1 is best, ties share their "
        "rank, and rows of which every seed diverged share the last rank. No row was chosen by its "
        "results on a test set."
    )
    if n < needed:
        which = "the pair" if pairs == 1 else "any pair"
        smallest = 2.0 ** (1 - n)
        yield (
            f"No difference between {which} of losses can be significant here: with "
            f"{counted(n, 'column')} the smallest p of a signed-rank test is {smallest:.2g}, and "
            f"corrected for {counted(pairs, 'pair')} {min(1.0, smallest * pairs):.2g}. At least "
            f"{needed} columns are needed."
        )
    yield (
        "Pairs: exact Wilcoxon signed-rank test over the columns, corrected for all pairs (Holm); "
        f"significant if p ≤ {ALPHA:g}. Friedman: test of whether all losses rank alike (Demšar, "
        "JMLR 2006)."
    )
    suites = len({column.suite for column in ranking.columns})
    if n > suites:
        yield (
            f"The {n} columns are from {counted(suites, 'suite')}: columns of one suite share "
            "images or trainings and are not independent, so their p values are too small. The "
            "signed-rank test depends on the size of differences, and units differ between metrics."
        )
    if ranking.changed:
        yield (
            "These losses have one row in every column, but with different parameters, as named or "
            f"chosen by the suites: {', '.join(ranking.changed)}."
        )
