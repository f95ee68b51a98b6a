"""Verdicts in words, and as tables for Markdown and the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from lossbench.analysis.comparison import Floor, Verdict, Verdicts, exact_note
from lossbench.analysis.number_format import (
    NOTHING,
    PERCENT_SPEC,
    difference_unit,
    format_signed,
    format_signed_interval,
    is_percentage,
)
from lossbench.analysis.predictions import Examined, TestSet
from lossbench.analysis.rank_bootstrap import Rank, Ranks
from lossbench.analysis.statistics import ALPHA, POWER
from lossbench.analysis.tables import Table
from lossbench.report.markup import markdown_sentence, markdown_text, pipes, plain_sentence

STYLES = {"better": "bold green", "worse": "red", "undecided": "", "none": "yellow"}
TEST_SET_TITLE = "How much is the test set's"
TEST_SET_HEADINGS = (
    "error (95 % over images)",
    "difference (95 % over images)",
    "McNemar",
    "spread from the test set",
)
HEADINGS = ("difference", "95 % interval", "p (Holm)", "verdict", "seeds to decide")


def p_text(p: float | None) -> str:
    if p is None:
        return NOTHING
    return "< 0.001" if p < 0.001 else f"{min(p, 1):.2g}" if p < 0.1 else f"{p:.2f}"


def verdict_cell(verdict: Verdict | None, spec: str = PERCENT_SPEC) -> str:
    """A verdict as a cell of the table: `better, −0.31`; the reference row has none."""
    if verdict is None:
        return NOTHING
    gap = verdict.difference.mean
    return verdict.outcome if gap is None else f"{verdict.outcome}, {format_signed(gap, spec)}"


def verdict_title(verdicts: Verdicts, unit: str) -> str:
    differences = difference_unit(unit)
    of = f", {differences}" if differences else ""
    return f"Against {verdicts.reference}, matched by seed{of}"


def verdict_notes(table: Table) -> list[str]:
    """What the verdicts rest on, and what the table could not have seen."""
    verdicts = table.verdicts
    if verdicts is None:
        return []
    if not verdicts.listed:
        return [f"No verdicts: no column has just one row {verdicts.reference} beside others."]
    if not verdicts.comparisons:
        return ["No verdicts: a spread needs two seeds that finished in both rows."]
    rule = f"A verdict needs p ≤ {ALPHA:g}, from a paired t test"
    if verdicts.comparisons > 1:
        rule += (
            f" corrected for {verdicts.comparisons} comparisons of this metric (Holm). Intervals "
            "are not corrected: one may exclude 0 and not suffice"
        )
    lines = [f"{rule}."]
    if verdicts.floors:
        floors = "; ".join(
            f"{_where(table, floor.variant)}{_gap(table, floor)} ({floor.n} seeds, spread "
            f"{floor.std:{table.spec}} of the differences, pooled over {_rows(floor.rows)})"
            for floor in verdicts.floors
        )
        unit = difference_unit(table.unit)
        lines.append(
            f"Resolution: smallest true gap that gets its verdict in {100 * POWER:.0f} % of such "
            f"tables{f', in {unit}' if unit else ''}: {floors}."
        )
    note = exact_note(max(v.difference.n for v in verdicts.listed))
    return [*lines, note] if note else lines


def _gap(table: Table, floor: Floor) -> str:
    """The smallest gap that gets its verdict; percentages cannot differ by more than 100."""
    if is_percentage(table.unit) and floor.gap > 100:
        return "none, since not even 100 would"
    return f"{floor.gap:{table.spec}}"


def _where(table: Table, variant: str) -> str:
    return f"{variant} " if table.has_columns else ""


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


def _fields(table: Table, verdict: Verdict) -> list[str]:
    several = table.has_columns
    return [*([verdict.variant] if several else []), verdict.row]


def notes_once(tables: Sequence[Table]) -> list[list[str]]:
    """The notes of each table that no table before it has: most are the same for all metrics."""
    seen: set[str] = set()
    listed = []
    for table in tables:
        listed.append([note for note in verdict_notes(table) if note not in seen])
        seen |= set(listed[-1])
    return listed


def markdown_verdicts(table: Table, notes: Sequence[str]) -> list[str]:
    """Lines of Markdown: the verdicts, the given notes, and the ranks."""
    lines: list[str] = []
    if table.verdicts is not None and table.verdicts.listed:
        first = ["variant", "loss"] if table.has_columns else ["loss"]
        lines += [f"*{markdown_text(verdict_title(table.verdicts, table.unit))}*", ""]
        lines += [pipes([*first, *HEADINGS])]
        lines += [pipes([*("---" for _ in first), "---:", "---:", "---:", "---", "---:"])]
        for v in table.verdicts.listed:
            text = markdown_text(v.text)
            text = f"**{text}**" if v.outcome in ("better", "worse") else text
            gap, spec = v.difference, table.spec
            values = [
                format_signed(gap.mean, spec),
                format_signed_interval(gap.interval, spec),
                p_text(v.p_holm),
            ]
            names = map(markdown_text, _fields(table, v))
            lines.append(pipes([*names, *values, text, v.seeds or NOTHING]))
        lines.append("")
    lines += [f"{markdown_sentence(note)}\n" for note in notes]
    return [*lines, *(_markdown_ranks(table.ranks) if table.ranks else [])]


def _markdown_ranks(ranks: Ranks) -> list[str]:
    lines = ["*Average rank*", "", pipes(["loss", "rank", "95 % interval", *ranks.variants])]
    lines.append(pipes(["---", *("---:" for _ in range(2 + len(ranks.variants)))]))
    for rank in ranks.listed:
        lines.append(pipes([markdown_text(rank.row), *rank_fields(rank)]))
    return [*lines, "", markdown_sentence(ranks.note), ""]


def rank_fields(rank: Rank) -> list[str]:
    """Average, interval, and the rank in each column."""
    interval = f"{rank.interval.low:.2f} to {rank.interval.high:.2f}" if rank.interval else NOTHING
    return [f"{rank.mean:.2f}", interval, *(f"{value:g}" for value in rank.by_variant.values())]


def markdown_test_set(test_set: TestSet, has_columns: bool) -> list[str]:
    """Lines of Markdown: what the stored predictions tell."""
    first = ["variant", "loss"] if has_columns else ["loss"]
    lines = [f"## {TEST_SET_TITLE}", "", pipes([*first, *TEST_SET_HEADINGS])]
    lines.append(pipes([*("---" for _ in first), *("---:" for _ in TEST_SET_HEADINGS)]))
    for entry in test_set.listed:
        names = [entry.variant, entry.row][-len(first) :]
        fields = [f"{value} ({small})" if small else value for value, small in fields_of(entry)]
        lines.append(pipes([*map(markdown_text, names), *fields]))
    return [*lines, "", *(f"{markdown_sentence(note)}\n" for note in test_set.notes)]


def fields_of(entry: Examined) -> list[tuple[str, str]]:
    """What stands under `TEST_SET_HEADINGS`: each a number and what it rests on, or nothing."""
    over, gap, spread = entry.interval, entry.difference_interval, entry.spread
    return [
        (f"{entry.error:.2f}", f"{over.low:.2f} to {over.high:.2f}" if over else ""),
        (format_signed(entry.difference), format_signed_interval(gap) if gap else ""),
        (entry.mcnemar_text, f"of {entry.mcnemar_seeds}") if entry.mcnemar else (NOTHING, ""),
        (
            f"{spread.test_set:.2f} of {spread.std:.2f}",
            f"{100 * spread.share:.0f} %, {100 * spread.interval.low:.0f} to "
            f"{100 * spread.interval.high:.0f}",
        )
        if spread
        else (NOTHING, ""),
    ]


def terminal_verdicts(table: Table, notes: Sequence[str]) -> Sequence[RenderableType]:
    """The verdicts and the given notes, for `rich.print`."""
    told = [Text(plain_sentence(line), style="dim") for line in notes]
    if table.verdicts is None or not table.verdicts.listed:
        return told
    drawn = RichTable(header_style="bold", box=None, pad_edge=False)
    if table.has_columns:
        drawn.add_column("variant", no_wrap=True)
    drawn.add_column("loss", overflow="fold")
    drawn.add_column("difference [95 %]", justify="right")
    drawn.add_column("verdict")
    drawn.add_column("seeds to\ndecide", justify="right")
    for v in table.verdicts.listed:
        gap = format_signed(v.difference.mean, table.spec)
        if v.difference.interval:
            gap += f" [{format_signed_interval(v.difference.interval, table.spec)}]"
        text = Text(v.text, style=STYLES[v.outcome])
        drawn.add_row(*map(Text, _fields(table, v)), Text(gap), text, Text(v.seeds))
    title = Text(f"\n{verdict_title(table.verdicts, table.unit)}", style="bold")
    return [title, drawn, *told]
