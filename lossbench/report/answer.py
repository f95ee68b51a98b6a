"""The answer of a table: which losses beat the reference, in one sentence per column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lossbench.analysis.comparison import Verdict, VerdictKind
from lossbench.analysis.number_format import (
    difference_unit,
    format_number,
    is_percentage,
    with_unit,
)
from lossbench.analysis.power import MAX_SEEDS, POWER
from lossbench.analysis.tables import Cell, Table
from lossbench.report.metric_groups import group_tables
from lossbench.report.value_text import (
    counted,
    format_count,
    format_value,
    join_names,
    label_with_unit,
)
from lossbench.report.verdict_text import (
    absent_seeds,
    corrected_for,
    find_verdict,
    margin_source,
    verdict_reason,
    why_no_verdicts,
)

MAX_ROWS_NAMED = 8
"""With more rows than these, rows that do not beat the reference are counted, not named."""


@dataclass(frozen=True)
class Answer:
    """The answer for one column.

    Attributes:
        variant: Name of the column; empty where there is one only.
        lead: Row with which the sentence begins, which is emphasised; empty for none.
        text: The rest of the sentence, without a full stop.
        outcome: Outcome of the verdict on that row; `none` where there is none.
    """

    variant: str
    lead: str
    text: str
    outcome: VerdictKind = "none"

    @property
    def sentence(self) -> str:
        """`2-D: lgm(alpha=1) beats softmax by 2.62 percentage points [1.38, 3.87].`"""
        column = f"{self.variant}: " if self.variant else ""
        return f"{column}{' '.join(filter(None, (self.lead, self.text)))}."


@dataclass(frozen=True)
class Answers:
    """The answers for the headline metric.

    Attributes:
        metric: Label and unit of the metric.
        listed: One answer per column.
        note: Meaning of the brackets and of the numbers of seeds; empty without any.
    """

    metric: str = ""
    listed: tuple[Answer, ...] = ()
    note: str = ""


def headline_table(tables: Sequence[Table]) -> Table | None:
    """Table of the first metric on the test set, in the report's order; None without one."""
    ordered = group_tables(tables).tables
    return next((table for table in ordered if not table.held_out), None)


def make_answers(tables: Sequence[Table]) -> Answers:
    """Answers for the headline metric, or what the held-out part has chosen so far."""
    table = headline_table(tables) or next(iter(tables), None)
    if table is None:
        return Answers()
    listed = tuple(_answer(table, variant) for variant in table.variants)
    return Answers(label_with_unit(table), listed, _note(table))


def _answer(table: Table, variant: str) -> Answer:
    column = variant if table.has_variants else ""
    here = [cell for cell in table.cells.values() if cell.variant == variant]
    if table.held_out:
        chosen = [cell.row.label for cell in here if cell.chosen]
        text = f"no result on the test set yet; chosen so far: {', '.join(chosen) or 'nothing'}"
        return Answer(column, "", text)
    verdicts = table.verdicts.by_column.get(variant, []) if table.verdicts else []
    if any(verdict.outcome != "none" for verdict in verdicts):
        return _compared(table, column, verdicts)
    return _without_test(table, column, here, verdicts)


def _compared(table: Table, column: str, verdicts: Sequence[Verdict]) -> Answer:
    """The best row that beats the reference, and the outcomes of all other rows."""
    by_size = sorted(verdicts, key=lambda verdict: -abs(verdict.difference.mean or 0.0))
    better, worse, equivalent, undecided, untested = (
        [verdict for verdict in by_size if verdict.outcome == outcome]
        for outcome in ("better", "worse", "equivalent", "undecided", "none")
    )
    reference, rows = verdicts[0].reference, len(verdicts)
    parts = []
    if better[1:]:
        parts.append(f"{_named(better[1:])} {'beats' if len(better) == 2 else 'beat'} it, too")
    if worse:
        parts.append(f"{_named(worse, rows)} {_are(worse)} worse")
    if equivalent:
        same = f"{_named(equivalent, rows)} {_are(equivalent)} equivalent to {reference}"
        parts.append(f"{same} ({_margin(table, equivalent)})")
    if undecided:
        parts.append(f"{_named(undecided, rows)} {_are(undecided)} undecided{_seeds(undecided)}")
    for reason in dict.fromkeys(verdict_reason(verdict) for verdict in untested):
        for_it = [v for v in untested if verdict_reason(v) == reason]
        parts.append(f"{_named(for_it, rows)} {_has(for_it)} no verdict ({reason})")
    if better:
        best = better[0]
        absent = f"({absent}) " if (absent := _absent(best)) else ""
        first = f"{absent}beats {reference} by {_improvement(table, best)}"
        return Answer(column, best.row, "; ".join([first, *parts]), "better")
    shown = "is shown to beat" if undecided or untested else "beats"
    return Answer(column, "", f"no loss {shown} {reference}: {'; '.join(parts)}")


def _named(verdicts: Sequence[Verdict], of: int = 0) -> str:
    """Names of rows; their number alone if they are several of a long table's `of` rows."""
    if of > MAX_ROWS_NAMED and len(verdicts) > 2:
        return counted(len(verdicts), "row")
    names = [f"{v.row} ({absent})" if (absent := _absent(v)) else v.row for v in verdicts]
    return join_names(names)


def _absent(verdict: Verdict) -> str:
    """`1 of 3 diverged`; empty for a complete row, or if that is why it has no verdict."""
    return absent_seeds(verdict.summary) if verdict.outcome != "none" else ""


def _are(verdicts: Sequence[Verdict]) -> str:
    return "is" if len(verdicts) == 1 else "are"


def _has(verdicts: Sequence[Verdict]) -> str:
    return "has" if len(verdicts) == 1 else "have"


def _improvement(table: Table, verdict: Verdict) -> str:
    """`2.62 percentage points [1.38, 3.87]`, positive in the better direction."""
    interval, mean = verdict.interval, verdict.difference.mean
    assert interval is not None
    assert mean is not None  # both are there in a test
    ends = (
        [interval.low, interval.high] if table.higher_is_better else [-interval.high, -interval.low]
    )
    low, high = (format_number(end, table.spec) for end in ends)
    amount = with_unit(format_number(abs(mean), table.spec), difference_unit(table.unit))
    return f"{amount} [{low}, {high}]"


def _margin(table: Table, verdicts: Sequence[Verdict]) -> str:
    """`they differ by less than 0.97 percentage points, the resolution of the test set`."""
    margin = with_unit(format_number(verdicts[0].margin, table.spec), difference_unit(table.unit))
    who = "it differs" if len(verdicts) == 1 else "they differ"
    return f"{who} by less than {margin}, {margin_source(table)}"


def _seeds(undecided: Sequence[Verdict]) -> str:
    """` (about 7 more seeds would probably decide them all)`; empty if no spread is known."""
    known = [verdict for verdict in undecided if verdict.spread is not None]
    them = "it" if len(undecided) == 1 else "them all"
    if any(verdict.seeds_to_decide is None for verdict in known):
        return f" ({MAX_SEEDS:,} seeds would probably not decide {them})"
    more = max((_more_seeds(verdict) for verdict in known), default=0)
    if not more:
        return f" ({verdict_reason(undecided[0])})"
    return f" (about {counted(more, 'more seed')} would probably decide {them})"


def _more_seeds(verdict: Verdict) -> int:
    assert verdict.seeds_to_decide is not None
    return max(verdict.seeds_to_decide - verdict.difference.n, 1)


def _without_test(
    table: Table, column: str, here: Sequence[Cell], verdicts: Sequence[Verdict]
) -> Answer:
    """The row with the best mean, and why there is no verdict."""
    if not here:
        return Answer(column, "", "no row: nothing is chosen on the held-out part")
    complete = [cell for cell in here if cell.summary.complete]
    best = [cell for cell in here if cell.best]
    if not best:
        if len(here) == 1 and complete:
            value = _with_unit(table, format_value(here[0]))
            return Answer(column, here[0].row.label, f"is the only row: {value}")
        text = f"no best row yet: {len(complete)} of {len(here)} rows have results of all seeds"
        return Answer(column, "", text)
    left_out = [f"{c.row.label} ({format_count(c.summary)})" for c in here if c not in complete]
    left = f"; not compared: {join_names(left_out)}" if left_out else ""
    lead = join_names([cell.row.label for cell in best])
    if len(best) > 1:
        value = _with_unit(table, format_number(best[0].summary.mean, table.spec))
        text = f"have the same best mean at the shown precision, {value}"
    else:
        text = f"has the best mean, {_with_unit(table, format_value(best[0]))}"
    return Answer(column, lead, f"{text}, without a test: {_why(table, best[0], verdicts)}{left}")


def _why(table: Table, best: Cell, verdicts: Sequence[Verdict]) -> str:
    """Why no row of a column has a verdict."""
    if table.verdicts is None:
        return "the suite names no reference row"
    if not verdicts:
        reference = table.verdicts.reference
        if not table.verdicts.listed:
            return why_no_verdicts(table, reference)
        return f"there is not exactly one row {reference} to compare with"
    own = find_verdict(table, best.variant, best.row.label)
    return verdict_reason(own or verdicts[0])


def _with_unit(table: Table, value: str) -> str:
    """`1.17 ± 0.02 %`; the heading has the whole unit, `% of test images`."""
    return with_unit(value, "%" if is_percentage(table.unit) else table.unit)


def _note(table: Table) -> str:
    return " ".join(_notes(table))


def _notes(table: Table) -> Iterator[str]:
    if table.verdicts is None:
        return
    outcomes = {verdict.outcome for verdict in table.verdicts.listed}
    if "better" in outcomes:
        corrected = corrected_for(table)
        yield f"In brackets: 95 % interval{f', corrected for {corrected}' if corrected else ''}."
    if any(verdict.seeds_to_decide for verdict in table.verdicts.listed):
        yield (
            f"Numbers of seeds are estimates: {100 * POWER:.0f} % power if the measured "
            "differences are the true ones."
        )
