"""The findings of a check: for people, as JSON, JUnit XML and GitHub annotations."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from xml.etree import ElementTree

from rich.text import Text

from lossbench.analysis.number_format import (
    NOTHING,
    format_mean_std,
    format_signed,
    format_signed_interval,
    format_spec,
)
from lossbench.gate.baseline import Baseline, BaselineCell
from lossbench.gate.regression import Finding, Verdict, exit_code

_STYLES: dict[Verdict, str] = {
    "regression": "bold red",
    "undecided": "yellow",
    "new": "cyan",
    "improved": "green",
    "pass": "green",
    "identical": "green",
}
_HEADINGS = ("cell", "metric", "baseline", "here", "delta", "95 % interval", "noise", "verdict")
_LEFT = {"cell", "metric", "verdict"}


def terminal_text(findings: Sequence[Finding], baseline: Baseline, measured: Baseline) -> Text:
    """A line for each cell and metric, what is to be known, and the verdict."""
    lines = [_HEADINGS, *(_fields(finding) for finding in findings)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(_HEADINGS))]
    text = Text()
    for line, finding in zip(lines, (None, *findings), strict=True):
        padded = [
            field.ljust(width) if heading in _LEFT else field.rjust(width)
            for field, width, heading in zip(line, widths, _HEADINGS, strict=True)
        ]
        text.append("  ".join(padded[:-1]) + "  ", "bold" if finding is None else "")
        text.append(line[-1], "bold" if finding is None else _STYLES[finding.verdict])
        text.append("\n")
    for finding in _sorted(findings):
        if finding.verdict in ("regression", "undecided"):
            text.append(f"{finding.verdict}: {_told(finding)}\n", _STYLES[finding.verdict])
    for note in _notes(findings, baseline, measured):
        text.append(f"note: {note}\n")
    return text.append(f"{baseline.suite}: {summary(findings)}\n")


def _fields(finding: Finding) -> tuple[str, ...]:
    limit, spec = finding.limit, _spec(finding)
    return (
        finding.cell.name,
        finding.cell.metric,
        _value(finding.before, spec),
        _value(finding.after, spec),
        format_signed(finding.delta, spec),
        format_signed_interval(finding.interval, spec),
        f"±{limit:{spec}}" if limit is not None else NOTHING,
        finding.verdict,
    )


def _spec(finding: Finding) -> str:
    """Format specification of the values of both sides."""
    sides = [cell for cell in (finding.before, finding.after) if cell]
    return format_spec(finding.metric.unit, (value for cell in sides for value in cell.values))


def _value(cell: BaselineCell | None, spec: str) -> str:
    if cell is None:
        return NOTHING
    value = format_mean_std(cell.summary.mean, cell.summary.std, spec) + f" (n={cell.summary.n}"
    return value + (f", {len(cell.diverged)} diverged)" if cell.diverged else ")")


def _told(finding: Finding) -> str:
    """One finding as a sentence that stands alone."""
    spec = _spec(finding)
    values = f"{_value(finding.before, spec)} in the baseline, {_value(finding.after, spec)} here"
    return f"{finding.cell.name} {finding.cell.metric}: {finding.reason}. {values}"


def _notes(findings: Sequence[Finding], baseline: Baseline, measured: Baseline) -> list[str]:
    notes = []
    versions = {**baseline.environment, **measured.environment}
    for key in ("device", *versions):
        was, now = (
            b.device if key == "device" else b.environment.get(key, NOTHING)
            for b in (baseline, measured)
        )
        if was != now:
            notes.append(f"{key}: {was} in the baseline, {now} here")
    if any(
        f.matched and f.before and {*f.matched} < f.before.planned | f.cell.planned
        for f in findings
    ):
        notes.append("delta: over the seeds that both sides have; the means are over all")
    if any(f.verdict == "undecided" and f.interval is not None for f in findings):
        notes.append("undecided: more seeds, in the baseline and here, make the intervals shorter")
    return notes


def summary(findings: Sequence[Finding]) -> str:
    """`1 regression, 15 identical: regression`."""
    verdicts = [finding.verdict for finding in findings]
    counts = ", ".join(f"{verdicts.count(v)} {v}" for v in _STYLES if v in verdicts)
    return f"{counts}: {_OUTCOMES[exit_code(findings)]}"


_OUTCOMES = {0: "no regression", 1: "regression", 3: "too little evidence"}


def _sorted(findings: Sequence[Finding]) -> list[Finding]:
    """The gravest first."""
    order = list(_STYLES)
    return sorted(findings, key=lambda finding: order.index(finding.verdict))


def json_text(findings: Sequence[Finding], baseline: Baseline, measured: Baseline) -> str:
    """One object; `cells` has one object a cell and metric, one a line."""
    cells = ",\n".join(
        "  " + json.dumps(_json_cell(f), ensure_ascii=False, allow_nan=False) for f in findings
    )
    code = exit_code(findings)
    head = {"suite": baseline.suite, "exit_code": code, "outcome": _OUTCOMES[code]}
    head_lines = "".join(f" {json.dumps(k)}: {json.dumps(v)},\n" for k, v in head.items())
    return f'{{\n{head_lines} "cells": [\n{cells}\n ]\n}}\n'


def _json_cell(finding: Finding) -> dict[str, object]:
    cell, interval = finding.cell, finding.interval
    return {
        "variant": cell.variant,
        "row": cell.row,
        "loss": cell.loss,
        "params": cell.params,
        "metric": cell.metric,
        "unit": finding.metric.unit,
        "direction": finding.metric.direction,
        "min_effect": finding.metric.min_effect,
        "baseline": _json_side(finding.before),
        "measured": _json_side(finding.after),
        "matched_seeds": finding.matched,
        "delta": finding.delta,
        "interval": [interval.low, interval.high] if interval else None,
        "limit": finding.limit,
        "verdict": finding.verdict,
        "reason": finding.reason,
    }


def _json_side(cell: BaselineCell | None) -> dict[str, object] | None:
    if cell is None:
        return None
    side = {"seeds": cell.seeds, "values": cell.values, "diverged": cell.diverged}
    return {"mean": cell.summary.mean, "std": cell.summary.std, **side}


def junit(findings: Sequence[Finding], baseline: Baseline, measured: Baseline) -> str:
    """A test case a cell and metric: regressions fail, undecided and new ones are skipped."""
    skipped = [f for f in findings if f.verdict in ("undecided", "new")]
    failed = [f for f in findings if f.verdict == "regression"]
    counts = {
        "tests": str(len(findings)),
        "failures": str(len(failed)),
        "errors": "0",
        "skipped": str(len(skipped)),
    }
    root = ElementTree.Element("testsuites", counts)
    name = f"lossbench check {baseline.suite}"
    group = ElementTree.SubElement(root, "testsuite", {"name": name, **counts})
    for finding in findings:
        cell = finding.cell
        names = {
            "classname": f"{baseline.suite}.{cell.variant}",
            "name": f"{cell.row} {cell.metric}",
        }
        case = ElementTree.SubElement(group, "testcase", names)
        message = {"message": f"{finding.verdict}: {finding.reason}"}
        if finding in failed:
            ElementTree.SubElement(case, "failure", message).text = _told(finding)
        elif finding in skipped:
            ElementTree.SubElement(case, "skipped", message)
    ElementTree.indent(root)
    text = _NOT_IN_XML.sub("?", ElementTree.tostring(root, encoding="unicode"))
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


_NOT_IN_XML = re.compile(r"[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""A label may hold any text that YAML can; XML has no way to write these."""
_COMMANDS = {"regression": "error", "undecided": "warning", "new": "notice"}


def github(findings: Sequence[Finding], baseline: Baseline, measured: Baseline) -> str:
    """Workflow commands that GitHub shows as annotations, the gravest first; then the summary.

    GitHub shows ten errors and ten warnings of a step at most.
    """
    lines = []
    for finding in _sorted(findings):
        command = _COMMANDS.get(finding.verdict)
        if command:
            title = _property(f"{baseline.suite}: {finding.verdict} in {finding.cell.name}")
            lines.append(f"::{command} title={title}::{_data(_told(finding))}")
    # no command: the last line of the log
    return "\n".join([*lines, f"{baseline.suite}: {summary(findings)}", ""])


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


FORMATS: dict[str, Callable[[Sequence[Finding], Baseline, Baseline], str]] = {
    "json": json_text,
    "junit": junit,
    "github": github,
}
"""What `lossbench check --format` takes, beside `text`."""
