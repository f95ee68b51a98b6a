"""Which suite file a report comes from, so that no report replaces that of another one."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lossbench.errors import RequestError
from lossbench.planning.plan import Plan
from lossbench.suite.schema import Suite

RECORDS = ("verdicts.json", "ranking.json")
"""Files of a report and of a ranking that have the record, under the key `made_from`."""


def find_changes(
    suite: Suite, written: Suite | None, overrides: Iterable[str], only: str | None
) -> tuple[str, ...]:
    """Differences of a suite from its file: `recipe.epochs=3`, `seeds 0,1`, `only lgm*`.

    Args:
        suite: With its overrides.
        written: Without them; None if it is not valid without them.
        overrides: `KEY=VALUE`.
        only: Glob that narrows the table, if it does.
    """
    changes = []
    if written is None or _content(suite) != _content(written):
        for override in overrides:
            if override.partition("=")[0] not in ("seeds", "title", "resources.gpus"):
                changes.append(override)
        if "seeds" in suite.origin.overridden and (written is None or suite.seeds != written.seeds):
            changes.append(f"seeds {','.join(map(str, suite.seeds))}")
    return (*changes, *([f"only {only}"] if only is not None else []))


def _content(suite: Suite) -> dict[str, Any]:
    """Everything in a suite that changes its table."""
    content = suite.model_dump(mode="json", exclude={"title"})
    del content["resources"]["gpus"]
    return content


def describe_changes(plan: Plan) -> str:
    """`first.yaml, changed: recipe.epochs=20; only lgm*`; empty for the file as it is written."""
    if not plan.changes:
        return ""
    return f"{Path(plan.suite.origin.path).name}, changed: {'; '.join(plan.changes)}"


def describe_more_seeds(plan: Plan) -> str:
    """`2 more seeds are stored: --seeds 0,1,2,3,4 shows them`; empty where there are none."""
    count = len(plan.more_seeds)
    if not count:
        return ""
    all_seeds = ",".join(map(str, sorted([*plan.suite.seeds, *plan.more_seeds])))
    stored = "1 more seed is stored" if count == 1 else f"{count} more seeds are stored"
    return f"{stored}: --seeds {all_seeds} shows {'it' if count == 1 else 'them'}"


def provenance(plan: Plan, folder: Path) -> dict[str, Any]:
    """The record that a report in a folder keeps of its suite."""
    return {
        "file": os.path.relpath(Path(plan.suite.origin.path).resolve(), folder.resolve()),
        "changes": list(plan.changes),
        "content": _digest(plan),
    }


def require_own_folder(plans: Sequence[Plan], folder: Path) -> None:
    """Refuse to replace the report of another suite file.

    A file that is gone, or that has the same content, is no other one.

    Raises:
        RequestError: The folder has such a report.
    """
    others = _other_files(plans, folder)
    if others:
        own = " and ".join(plan.suite.origin.path for plan in plans)
        raise RequestError(
            f"{folder}: has the report of {' and '.join(others)}, another suite with the name of "
            f"{own}; change `suite:` in one of them, or name another folder with --output DIR"
        )


def describe_replaced(plans: Sequence[Plan], folder: Path) -> str:
    """Which report of other content is replaced by one in a folder; empty for none."""
    before = _recorded(folder)
    others = _other_files(plans, folder)
    if others:
        return f"replaces the report of {' and '.join(others)}"
    if before and {record.get("content") for record in before} != set(map(_digest, plans)):
        return "replaces the report of an earlier state of the suite or its data"
    return ""


def _other_files(plans: Sequence[Plan], folder: Path) -> list[str]:
    """Existing suite files of which the folder has a report, and that are none of the plans'."""
    own = {Path(plan.suite.origin.path).resolve() for plan in plans}
    digests = set(map(_digest, plans))
    files = [
        (folder.resolve() / str(record.get("file"))).resolve()
        for record in _recorded(folder)
        if record.get("content") not in digests
    ]
    return [_shown(file) for file in files if file not in own and file.is_file()]


def _recorded(folder: Path) -> list[Mapping[str, Any]]:
    """The records of a folder's report; none where there is no readable one."""
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
    content = _content(plan.suite)
    del content["dataset"]["name"]  # the digest stands for the data
    text = json.dumps([content, plan.data_digest, plan.changes], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _shown(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
