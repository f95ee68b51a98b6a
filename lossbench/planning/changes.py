"""Differences between a suite and its file that options of the command line cause."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any

from lossbench.suite.schema import Suite

MAX_LABEL_LENGTH = 80
"""Maximum number of characters for changes; file names have at most 255 bytes in all."""


def find_changes(
    suite: Suite, written: Suite | None, overrides: Iterable[str], only: str | None
) -> tuple[str, ...]:
    """Differences of a suite from its file: `recipe.epochs=3`, `seeds 0,1`, `only lgm*`.

    Args:
        suite: Suite with its overrides.
        written: Suite of the file alone; None if it is invalid without the overrides.
        overrides: `KEY=VALUE` texts of `--set`.
        only: Glob of `--only`, if it narrows the table.
    """
    changes = []
    if written is None or suite_content(suite) != suite_content(written):
        for override in overrides:
            if override.partition("=")[0] not in ("seeds", "title", "resources.gpus"):
                changes.append(override)
        if "seeds" in suite.origin.overridden and (written is None or suite.seeds != written.seeds):
            changes.append(f"seeds {','.join(map(str, suite.seeds))}")
    return (*changes, *([f"only {only}"] if only is not None else []))


def suite_content(suite: Suite) -> dict[str, Any]:
    """The content of a suite that affects its table."""
    content = suite.model_dump(mode="json", exclude={"title"})
    del content["resources"]["gpus"]
    return content


def file_label(name: str, changes: Iterable[str]) -> str:
    """Name for files and folders that needs no quoting in a shell; unique for the changes.

    Args:
        name: Name of the suite.
        changes: Changes as in `Plan`. A digest is appended if their text is too long or has
            characters that need quoting.
    """
    exact = "+".join(re.sub("^(only|seeds) ", r"\1=", change) for change in sorted(changes))
    if not exact:
        return name
    shown = re.sub(r"[^A-Za-z0-9_.,=+-]+", "_", exact)[:MAX_LABEL_LENGTH].strip("_")
    if shown != exact:
        shown += f"-{hashlib.sha256(exact.encode()).hexdigest()[:6]}"
    return f"{name}@{shown}"
