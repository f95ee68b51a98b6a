"""Record of a report's suite file, by which replacing another suite's report is refused."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lossbench.errors import RequestError
from lossbench.planning.changes import suite_content
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.planning.trial import short_digest

RECORDS = ("verdicts.json", "ranking.json")
"""Files of a report and of a ranking that contain the record, under the key `made_from`."""


def describe_changes(plan: Plan) -> str:
    """`first.yaml, changed: recipe.epochs=20; only lgm*`; empty without changes."""
    if not plan.changes:
        return ""
    return f"{Path(plan.suite.origin.path).name}, changed: {'; '.join(plan.changes)}"


def describe_more_seeds(plan: Plan) -> str:
    """`2 more seeds are stored: --seeds 0,1,2,3,4 shows them`; empty without any."""
    count = len(plan.more_seeds)
    if not count:
        return ""
    all_seeds = ",".join(map(str, sorted([*plan.suite.seeds, *plan.more_seeds])))
    stored = "1 more seed is stored" if count == 1 else f"{count} more seeds are stored"
    return f"{stored}: --seeds {all_seeds} shows {'it' if count == 1 else 'them'}"


def provenance_lines(found: PlanWithResults, command: str = "") -> list[str]:
    """Origin of the numbers for a comment: suite, data, code, command, date of the last result.

    Args:
        found: Plan of the suite with its results.
        command: Command of the user; empty if it is unknown.
    """
    plan = found.plan
    results = [found.results[t.identity] for t in found.trials if t.identity in found.results]
    codes = Counter(
        f"lossbench {result.environment.get('lossbench', 'unknown')}, code digest "
        f"{result.environment.get('code', 'unknown')}"
        for result in results
    )
    last_ms = max((r.history[-1].timestamp_ms for r in results if r.history), default=None)
    lines = [f"{line}." for line in (describe_changes(plan), describe_more_seeds(plan)) if line]
    lines.append(f"suite: {plan.suite.suite}")
    lines += [f"data: {text}" for text in plan.by_column(lambda name: [_data_text(plan, name)])]
    lines += [f"data: {note}" for note in plan.notes]
    lines += [f"weights: {note}" for note in plan.weight_notes]
    lines += [f"code: {code} ({count} of {len(results)} trials)" for code, count in codes.items()]
    if command:
        lines.append(f"command: {command}")
    if last_ms is not None:
        when = datetime.fromtimestamp(last_ms / 1000, UTC)
        lines.append(f"last result: {when:%Y-%m-%d %H:%M} UTC")
    return lines


def _data_text(plan: Plan, variant: str) -> str:
    name = plan.settings[variant].dataset.name.rpartition("/")[2]  # without this machine's folders
    column = plan.columns[variant]
    return f"{name}, digest {column.validation_digest or column.data_digest}"


def provenance(plan: Plan, folder: Path) -> dict[str, Any]:
    """Record of the suite for a report in this folder."""
    return {
        "file": os.path.relpath(Path(plan.suite.origin.path).resolve(), folder.resolve()),
        "changes": list(plan.changes),
        "content": _digest(plan),
    }


def require_own_folder(plans: Sequence[Plan], folder: Path) -> None:
    """Refuse to replace the report of another suite file.

    A file that no longer exists, or that has the same content, does not count.

    Raises:
        RequestError: The folder contains the report of another suite file.
    """
    others = _other_files(plans, folder)
    if others:
        own = " and ".join(plan.suite.origin.path for plan in plans)
        raise RequestError(
            f"{folder}: contains the report of {' and '.join(others)}, another suite with the same "
            f"name as {own}; change `suite:` in one of them, or give another folder with --output "
            "DIR"
        )


def describe_replaced(plans: Sequence[Plan], folder: Path) -> str:
    """Description of a report with other content that is replaced; empty for none."""
    before = _recorded(folder)
    others = _other_files(plans, folder)
    if others:
        return f"replaces the report of {' and '.join(others)}"
    if before and {record.get("content") for record in before} != set(map(_digest, plans)):
        return "replaces the report of an earlier state of the suite or its data"
    return ""


def _other_files(plans: Sequence[Plan], folder: Path) -> list[str]:
    """Existing suite files, other than those of the plans, whose report is in the folder."""
    own = {Path(plan.suite.origin.path).resolve() for plan in plans}
    digests = set(map(_digest, plans))
    files = [
        (folder.resolve() / str(record.get("file"))).resolve()
        for record in _recorded(folder)
        if record.get("content") not in digests
    ]
    return [_display_path(file) for file in files if file not in own and file.is_file()]


def _recorded(folder: Path) -> list[Mapping[str, Any]]:
    """Records of the report in a folder; empty if there is no readable one."""
    for name in RECORDS:
        try:
            content = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        records = content.get("made_from") if isinstance(content, dict) else None
        if isinstance(records, list):
            return [record for record in records if isinstance(record, dict)]
    return []


def _digest(plan: Plan) -> str:
    content = suite_content(plan.suite)
    del content["dataset"]["name"]  # its digest identifies the data
    for variant in content["variants"].values():
        variant.get("dataset", {}).pop("name", None)
    digests = dict.fromkeys(plan.columns[name].data_digest for name in plan.suite.variants)
    text = json.dumps([content, " ".join(digests), plan.changes], sort_keys=True)
    return short_digest(text)


def _display_path(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
