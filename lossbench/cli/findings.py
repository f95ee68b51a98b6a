"""How `lossbench test-loss` and `lossbench plan --audit` print what they found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lossbench.conformance import CHECKS, Finding
from lossbench.planning.fairness import Difference
from lossbench.report.escaping import plain_sentence

_MARKS = {"ok": ("ok", "green"), "failed": ("FAILED", "bold red"), "none": ("-", "dim")}
_STYLES: Mapping[str, str] = {"fails": "bold red", "warning": "yellow", "listed": ""}


def print_findings(out: Console, findings: Sequence[Finding]) -> bool:
    """A line for each check; whether none failed."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("check", "", "what it asks, or why it fails"):
        table.add_column(heading)
    for finding in findings:
        asks = (CHECKS[finding.check].__doc__ or "").partition("\n")[0]
        table.add_row(finding.check, Text(*_MARKS[finding.status]), Text(finding.why or asks))
    out.print(table)
    failed = sum(finding.status == "failed" for finding in findings)
    asked = sum(finding.status != "none" for finding in findings)
    out.print(f"{asked - failed} of {asked} checks passed", highlight=False)
    return not failed


def print_audit(out: Console, differences: Sequence[Difference], measured: str) -> bool:
    """A line for each difference; whether none fails the suite."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for difference in differences:
        table.add_row(
            Text(difference.level, _STYLES[difference.level]), Text(plain_sentence(difference.text))
        )
    out.print(table)
    failed = sum(difference.level == "fails" for difference in differences)
    verdict = (
        f"audit failed: {failed} avoidable difference{'s' * (failed > 1)}"
        if failed
        else "audit passed: the rows differ in the loss, and in what is listed"
    )
    out.print(f"{verdict}; {measured}", highlight=False)
    return not failed
