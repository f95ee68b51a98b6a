"""Differences between a suite and its file that options of the command line cause."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lossbench.suite.schema import Suite


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
