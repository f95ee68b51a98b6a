"""The result of a check as Markdown, for the summary of a CI job or a comment."""

from __future__ import annotations

from collections.abc import Sequence

from lossbench.gate.baseline import Baseline
from lossbench.gate.formats import (
    HEADINGS,
    TEXT_HEADINGS,
    cell_fields,
    check_notes,
    check_summary,
    finding_sentence,
    worst_first,
)
from lossbench.gate.regression import CheckedCell
from lossbench.report.escaping import markdown_sentence, markdown_text

_FINDINGS = ("regression", "undecided")


def markdown_check(cells: Sequence[CheckedCell], baseline: Baseline, measured: Baseline) -> str:
    """A heading with the outcome, the findings, notes, and a table with one line per cell.

    Cells with the values of the baseline are counted in the heading and left out of the table.
    """
    lines = [
        f"### lossbench check {markdown_text(f'{baseline.suite}: {check_summary(cells)}')}",
        "",
    ]
    findings = [cell for cell in worst_first(cells) if cell.verdict in _FINDINGS]
    notes = check_notes(cells, baseline, measured)
    listed = [(f"**{cell.verdict}**", finding_sentence(cell)) for cell in findings]
    listed += [("note", note) for note in notes]
    # a label may contain line breaks
    lines += [f"- {kind}: {markdown_sentence(' '.join(text.split()))}" for kind, text in listed]
    lines += [""] if listed else []
    changed = [cell for cell in worst_first(cells) if cell.verdict != "identical"]
    if changed:
        lines.append(_line(HEADINGS))
        lines.append(_line(["---" if h in TEXT_HEADINGS else "---:" for h in HEADINGS]))
        for cell in changed:
            *values, verdict = map(markdown_text, cell_fields(cell))
            lines.append(_line([*values, f"**{verdict}**" if cell in findings else verdict]))
        lines.append("")
    return "\n".join(lines)


def _line(fields: Sequence[str]) -> str:
    return f"| {' | '.join(' '.join(field.split()) for field in fields)} |"
