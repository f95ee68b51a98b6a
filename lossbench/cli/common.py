"""Steps that several verbs with a suite take: lay it out, write its report, audit it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from lossbench.analysis.provenance import describe_replaced, find_changes, require_own_folder
from lossbench.cli import plan as planned
from lossbench.cli.signals import INTERRUPTED
from lossbench.cli.verbs import command_line, err, out
from lossbench.errors import DataError, LossbenchError, NothingRecordedError, RequestError

WORK = Path(".lossbench")
"""Folder for everything of a run that is not a result yet."""

if TYPE_CHECKING:
    from lossbench.planning.plan import Plan
    from lossbench.planning.selection import PlanWithResults
    from lossbench.runner.run import Outcome
    from lossbench.suite.schema import Suite
    from lossbench.tracking.store import Tracker


def lay_out_suite(
    path: Path,
    overrides: list[str],
    only: str | None,
    seeds: str | None,
    data_root: Path,
    plugins: list[Path],
    *,
    without_data: bool = False,
) -> Plan:
    """Load and check a suite: everything that can be wrong is found here.

    Args:
        without_data: Whether a suite is laid out, too, whose data are not on this machine.
    """
    from lossbench.suite.schema import load_suite

    if seeds is not None:
        if not re.fullmatch(r"[-\w, ]*", seeds):
            raise RequestError(f"--seeds {seeds}: should be whole numbers, as in 0,1,2")
        if any(text.partition("=")[0].strip("\"'") == "seeds" for text in overrides):
            raise RequestError(f"--seeds {seeds}: --set gives seeds, too; give them once")
        overrides = [*overrides, f"seeds=[{seeds}]"]
    suite = load_suite(path, overrides)
    from lossbench.analysis.published import published_problems
    from lossbench.assembly.build import check
    from lossbench.assembly.outline import make_outline, missing_data, plan_without_data
    from lossbench.assembly.plugins import read_plugins

    read = read_plugins(plugins)
    outline = make_outline(suite)
    if without_data and (missing := missing_data(outline, data_root)):
        whole = plan_without_data(outline, missing)
    else:
        whole = replace(check(suite, data_root), plugins=read)
    problems = published_problems(suite, whole.metrics)
    if problems:
        raise suite.origin.error(problems)
    laid_out = whole if only is None else whole.narrowed(only)
    narrows = (laid_out.rows, laid_out.suite.variants) != (whole.rows, whole.suite.variants)
    written = _load_unchanged(path) if overrides else suite
    changes = find_changes(suite, written, overrides, only if narrows else None)
    return replace(laid_out, changes=changes)


def _load_unchanged(path: Path) -> Suite | None:
    """A suite as its file has it; None if it is not valid without overrides."""
    from lossbench.suite.schema import load_suite

    try:
        return load_suite(path)
    except RequestError:
        return None


def look_up(laid_out: Plan, tracking_uri: str | None) -> tuple[PlanWithResults, Tracker]:
    """The plan with what is stored of it: points of its searches, results, and other seeds."""
    from lossbench.planning.selection import load_plan_with_results
    from lossbench.tracking.store import Tracker

    tracker = Tracker.open(tracking_uri, create=False)
    found = load_plan_with_results(laid_out, tracker.results)
    plan = replace(found.plan, more_seeds=tracker.other_seeds(found.trials))
    return replace(found, plan=plan), tracker


def report_folder(laid_out: Plan, output: Path | None) -> Path:
    """Where the report goes: `--output`, else a folder for this suite and its changes.

    Raises:
        RequestError: That folder has the report of another suite file, and nobody named it.
    """
    if output is not None:
        return output
    folder = Path("reports") / laid_out.label
    require_own_folder([laid_out], folder)
    return folder


def write_report(laid_out: Plan, tracking_uri: str | None, output: Path | None) -> None:
    from lossbench.report import terminal_table
    from lossbench.report.build import build_report

    folder = report_folder(laid_out, output)
    found, tracker = look_up(laid_out, tracking_uri)
    replaced = describe_replaced([laid_out], folder)
    try:
        with err.status("writing the report"):
            written = build_report(found, tracker.arrays, folder, command_line())
    except OSError as error:
        raise LossbenchError(f"{folder}: no report: {error.strerror}; results are kept") from None
    out.print(terminal_table(found))
    page = next(path for path in written if path.suffix == ".html")
    err.print(
        f"report: {page}{f' ({replaced})' if replaced else ''}", highlight=False, soft_wrap=True
    )


def print_differences(laid_out: Plan, tracking_uri: str | None) -> None:
    """Print in what the rows differ; exit code 1 if a difference fails the suite."""
    from lossbench.cli.findings import print_audit
    from lossbench.planning.fairness import audit
    from lossbench.planning.selection import PlanWithResults, load_plan_with_results
    from lossbench.tracking.store import Tracker

    found = PlanWithResults(laid_out, {})
    if not laid_out.missing:
        with contextlib.suppress(NothingRecordedError):
            tracker = Tracker.open(tracking_uri, create=False)
            found = load_plan_with_results(laid_out, tracker.results)
    differences = audit(found.plan, found.trials, found.results)
    measured = f"{len(found.results)} of {len(found.trials)} trials measured"
    if laid_out.missing:
        measured = (
            "without the data it is unknown what the losses ask of a training, which classes are "
            "small, and what was measured"
        )
        planned.print_missing(out, laid_out)
    if not print_audit(out, differences, measured):
        raise typer.Exit(1)


def print_stopped(left: int = 0) -> None:
    """Say that a run was stopped, and how many trials are left if that is known."""
    trials = f": {left} trials left" if left else ""
    err.print(f"stopped{trials}; the same command goes on", highlight=False)


@contextlib.contextmanager
def resumable() -> Iterator[None]:
    """Say after Ctrl-C, outside the trials, that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        print_stopped()
        raise


def print_outcome(outcome: Outcome, time_budget: str | None) -> None:
    """Print what a run leaves behind; exit unless all is good."""
    if outcome.refused:
        raise DataError(f"{outcome.refused}; finished trials are kept")
    if outcome.late:
        left = f"{outcome.late} trials left; the same command goes on"
        err.print(f"the time budget of {time_budget} is used: {left}", highlight=False)
    if outcome.interrupted and outcome.lost:
        left = f"{outcome.interrupted} trials left; the same command goes on"
        err.print(Text(f"error: {outcome.lost}; {left}", "red"), soft_wrap=True)
        raise typer.Exit(1)
    if outcome.interrupted:
        print_stopped(outcome.interrupted)
        raise typer.Exit(INTERRUPTED)
    if outcome.unlogged:
        err.print(f"{len(outcome.unlogged)} results wait in {WORK}; the same command logs them")
    for name, message in outcome.failed.items():
        err.print(Text(f"failed: {name}: {message}", "red"))
    if outcome.stopped_early:
        err.print("stopped at the first trial that failed or diverged, as --fail-fast asks")
    if outcome.undecided:
        err.print("nothing was chosen or tested: trials failed on which the choice rests")
    if outcome.failed or outcome.unlogged or outcome.stopped_early:
        raise typer.Exit(1)
