"""The result of a check as text for the terminal, JSON, JUnit XML or GitHub annotations."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from xml.etree import ElementTree

from rich.text import Text

from lossbench.analysis.number_format import (
    NOTHING,
    format_mean_std,
    format_number,
    format_signed,
    format_signed_interval,
    format_spec,
)
from lossbench.gate.baseline import Baseline, BaselineCell
from lossbench.gate.regression import CheckedCell, CheckVerdict, exit_code

_STYLES: dict[CheckVerdict, str] = {
    "regression": "bold red",
    "undecided": "yellow",
    "new": "cyan",
    "improved": "green",
    "pass": "green",
    "identical": "green",
}
HEADINGS = (
    "cell",
    "metric",
    "baseline",
    "now",
    "difference",
    "95 % interval",
    "noise limit",
    "verdict",
)
TEXT_HEADINGS = frozenset({"cell", "metric", "verdict"})
"""Headings of columns without numbers."""


def terminal_text(cells: Sequence[CheckedCell], baseline: Baseline, measured: Baseline) -> Text:
    """One line per cell and metric, then the reasons, notes and the summary."""
    lines = [HEADINGS, *(cell_fields(cell) for cell in cells)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS))]
    text = Text()
    for line, cell in zip(lines, (None, *cells), strict=True):
        padded = [
            field.ljust(width) if heading in TEXT_HEADINGS else field.rjust(width)
            for field, width, heading in zip(line, widths, HEADINGS, strict=True)
        ]
        text.append("  ".join(padded[:-1]) + "  ", "bold" if cell is None else "")
        text.append(line[-1], "bold" if cell is None else _STYLES[cell.verdict])
        text.append("\n")
    for cell in worst_first(cells):
        if cell.verdict in ("regression", "undecided"):
            text.append(f"{cell.verdict}: {finding_sentence(cell)}\n", _STYLES[cell.verdict])
    for note in check_notes(cells, baseline, measured):
        text.append(f"note: {note}\n")
    return text.append(f"{baseline.suite}: {check_summary(cells)}\n")


def cell_fields(cell: CheckedCell) -> tuple[str, ...]:
    """Fields of a cell's line, in the order of the headings."""
    spec = _spec(cell)
    return (
        cell.cell.name,
        cell.cell.metric,
        _value(cell.before, spec),
        _value(cell.after, spec),
        format_signed(cell.delta, spec),
        format_signed_interval(cell.interval, spec),
        NOTHING if cell.noise_limit is None else f"±{format_number(cell.noise_limit, spec)}",
        cell.verdict,
    )


def _spec(cell: CheckedCell) -> str:
    """Format specification of the values of both sides."""
    sides = [side for side in (cell.before, cell.after) if side]
    return format_spec(cell.metric.unit, (value for side in sides for value in side.values))


def _value(cell: BaselineCell | None, spec: str) -> str:
    if cell is None:
        return NOTHING
    value = format_mean_std(cell.summary.mean, cell.summary.std, spec) + f" (n={cell.summary.n}"
    return value + (f", {len(cell.diverged)} diverged)" if cell.diverged else ")")


def finding_sentence(cell: CheckedCell) -> str:
    """Cell, reason and values in one line."""
    spec = _spec(cell)
    sides = ((cell.before, "in the baseline"), (cell.after, "now"))
    values = ", ".join(f"{_value(side, spec)} {when}" for side, when in sides if side)
    return f"{cell.cell.name} {cell.cell.metric}: {cell.reason}. {values}"


def check_notes(cells: Sequence[CheckedCell], baseline: Baseline, measured: Baseline) -> list[str]:
    """Differences of the environments, and how to read the lines."""
    notes = []
    versions = {**baseline.environment, **measured.environment}
    for key in ("device", *versions):
        was, now = (
            b.device if key == "device" else b.environment.get(key, NOTHING)
            for b in (baseline, measured)
        )
        if was != now:
            notes.append(f"{key}: {was} in the baseline, {now} now")
    if any(
        c.matched
        and c.before
        and {*c.matched} < c.before.seeds_with_result | c.cell.seeds_with_result
        for c in cells
    ):
        notes.append("difference: over the shared seeds; the means are over all seeds")
    if any(c.verdict == "undecided" and c.interval is not None for c in cells):
        notes.append("undecided: more seeds, in the baseline and now, make the intervals narrower")
    return notes


def check_summary(cells: Sequence[CheckedCell]) -> str:
    """Result of the check, as in `regression (1 regression, 15 identical)`."""
    verdicts = [cell.verdict for cell in cells]
    counts = ", ".join(f"{verdicts.count(v)} {v}" for v in _STYLES if v in verdicts)
    return f"{_OUTCOMES[exit_code(cells)]} ({counts})"


_OUTCOMES = {0: "no regression", 1: "regression", 3: "too little evidence"}


def worst_first(cells: Sequence[CheckedCell]) -> list[CheckedCell]:
    """Cells ordered by their verdicts."""
    order = list(_STYLES)
    return sorted(cells, key=lambda cell: order.index(cell.verdict))


def json_text(cells: Sequence[CheckedCell], baseline: Baseline, measured: Baseline) -> str:
    """A JSON object whose `cells` has one object per cell and metric, each on its own line."""
    lines = ",\n".join(
        "  " + json.dumps(_json_cell(c), ensure_ascii=False, allow_nan=False) for c in cells
    )
    code = exit_code(cells)
    head = {"suite": baseline.suite, "exit_code": code, "outcome": _OUTCOMES[code]}
    head_lines = "".join(f" {json.dumps(k)}: {json.dumps(v)},\n" for k, v in head.items())
    return f'{{\n{head_lines} "cells": [\n{lines}\n ]\n}}\n'


def _json_cell(checked: CheckedCell) -> dict[str, object]:
    cell, interval = checked.cell, checked.interval
    return {
        "variant": cell.variant,
        "row": cell.row,
        "loss": cell.loss,
        "params": cell.params,
        **({"tuned": cell.tuned} if cell.tuned else {}),
        "metric": cell.metric,
        "unit": checked.metric.unit,
        "direction": checked.metric.direction,
        "min_effect": checked.metric.min_effect,
        "baseline": _json_side(checked.before),
        "measured": _json_side(checked.after),
        "matched_seeds": checked.matched,
        "delta": checked.delta,
        "interval": [interval.low, interval.high] if interval else None,
        "limit": checked.noise_limit,
        "verdict": checked.verdict,
        "reason": checked.reason,
    }


def _json_side(cell: BaselineCell | None) -> dict[str, object] | None:
    if cell is None:
        return None
    side = {"seeds": cell.seeds, "values": cell.values, "diverged": cell.diverged}
    return {"mean": cell.summary.mean, "std": cell.summary.std, **side}


def junit_text(cells: Sequence[CheckedCell], baseline: Baseline, measured: Baseline) -> str:
    """One test case per cell and metric: a regression fails, undecided and new are skipped."""
    skipped = [c for c in cells if c.verdict in ("undecided", "new")]
    failed = [c for c in cells if c.verdict == "regression"]
    counts = {
        "tests": str(len(cells)),
        "failures": str(len(failed)),
        "errors": "0",
        "skipped": str(len(skipped)),
    }
    root = ElementTree.Element("testsuites", counts)
    name = f"lossbench check {baseline.suite}"
    group = ElementTree.SubElement(root, "testsuite", {"name": name, **counts})
    for checked in cells:
        cell = checked.cell
        names = {
            "classname": f"{baseline.suite}.{cell.variant}",
            "name": f"{cell.row} {cell.metric}",
        }
        case = ElementTree.SubElement(group, "testcase", names)
        message = {"message": f"{checked.verdict}: {checked.reason}"}
        if checked in failed:
            ElementTree.SubElement(case, "failure", message).text = finding_sentence(checked)
        elif checked in skipped:
            ElementTree.SubElement(case, "skipped", message)
    ElementTree.indent(root)
    text = _NOT_IN_XML.sub("?", ElementTree.tostring(root, encoding="unicode"))
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


_NOT_IN_XML = re.compile(r"[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that a label in YAML may have and XML cannot represent."""
_COMMANDS = {"regression": "error", "undecided": "warning", "new": "notice"}


def github_text(cells: Sequence[CheckedCell], baseline: Baseline, measured: Baseline) -> str:
    """Workflow commands that GitHub shows as annotations, worst first, and the summary.

    GitHub shows at most ten errors and ten warnings per step.
    """
    lines = []
    for cell in worst_first(cells):
        command = _COMMANDS.get(cell.verdict)
        if command:
            title = _escape_property(f"{baseline.suite}: {cell.verdict} in {cell.cell.name}")
            lines.append(f"::{command} title={title}::{_escape_data(finding_sentence(cell))}")
    # no command: the last line of the log
    return "\n".join([*lines, f"{baseline.suite}: {check_summary(cells)}", ""])


def _escape_data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape_data(text).replace(":", "%3A").replace(",", "%2C")


FORMATS: dict[str, Callable[[Sequence[CheckedCell], Baseline, Baseline], str | Text]] = {
    "text": terminal_text,
    "json": json_text,
    "junit": junit_text,
    "github": github_text,
}
"""Formats of `lossbench check --format`."""
