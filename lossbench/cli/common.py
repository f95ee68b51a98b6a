"""Steps of the commands with a suite: make its plan, load its results, write its report."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from lossbench.cli.console import err, out
from lossbench.errors import LossbenchError, RequestError, format_exception

if TYPE_CHECKING:
    from lossbench.analysis.predictions import ReadArrays
    from lossbench.analysis.tables import Table
    from lossbench.archive.store import ArchiveStore
    from lossbench.planning.plan import Plan
    from lossbench.planning.selection import PlanWithResults
    from lossbench.suite.schema import Suite
    from lossbench.tracking.store import Tracker


def load_plan(
    path: Path,
    overrides: list[str],
    only: str | None,
    seeds: str | None,
    data_root: Path,
    plugins: list[Path],
    *,
    without_data: bool = False,
) -> Plan:
    """Read a suite, check everything about it, and return its plan.

    Args:
        path: Suite file.
        overrides: `KEY=VALUE` texts of `--set`.
        only: Glob of rows or cells; None for all.
        seeds: Text of `--seeds`, as in `0,1,2`; None for those of the suite.
        data_root: Folder of prepared data sets.
        plugins: Python files that register components.
        without_data: Whether to return an incomplete plan, instead of raising an error, if the
            suite's data are not on this machine.

    Raises:
        RequestError: Anything about the suite or the options is wrong.
    """
    from lossbench.suite.load import load_suite

    if seeds is not None and any(
        text.partition("=")[0].strip("\"'") == "seeds" for text in overrides
    ):
        raise RequestError(f"--seeds {seeds}: --set gives seeds, too; give them once")
    suite = load_suite(path, overrides, None if seeds is None else _parse_seeds(seeds))
    from lossbench.analysis.published import published_problems
    from lossbench.assembly.plan_cache import read_cached_plan
    from lossbench.planning.changes import find_changes

    kept = None if plugins else read_cached_plan(suite, data_root)
    whole = kept or _checked_plan(suite, data_root, plugins, without_data=without_data)
    problems = published_problems(suite, whole.metrics)
    if problems:
        raise suite.origin.error(problems)
    plan = whole if only is None else whole.narrowed(only)
    narrows = (plan.rows, plan.suite.variants) != (whole.rows, whole.suite.variants)
    written = suite if not overrides and seeds is None else _load_unchanged(path)
    changes = find_changes(suite, written, overrides, only if narrows else None)
    return replace(plan, changes=changes)


def _checked_plan(
    suite: Suite, data_root: Path, plugins: list[Path], *, without_data: bool
) -> Plan:
    """Check everything about a suite and return the plan of all its cells."""
    from lossbench.assembly.check import check
    from lossbench.assembly.plan_cache import check_and_cache
    from lossbench.assembly.plugins import read_plugins
    from lossbench.assembly.resolved_suite import (
        dataset_names,
        missing_data,
        plan_without_data,
        resolve_suite,
    )

    read = read_plugins(plugins)
    resolved = resolve_suite(suite)
    if without_data and (missing := missing_data(resolved, data_root)):
        return plan_without_data(resolved, missing)
    if plugins:
        return replace(check(suite, data_root), plugins=read)
    return check_and_cache(suite, data_root, dataset_names(resolved))


def _parse_seeds(text: str) -> list[int]:
    """Return the seeds of `--seeds`; their range is checked with the suite."""
    try:
        return [int(part) for part in text.strip().removesuffix(",").split(",")]
    except ValueError:
        raise RequestError(f"--seeds {text}: should be whole numbers, as in 0,1,2") from None


def _load_unchanged(path: Path) -> Suite | None:
    """Load the suite without overrides; None if it is invalid without them."""
    from lossbench.suite.load import load_suite

    try:
        return load_suite(path)
    except RequestError:
        return None


def load_results(plan: Plan, tracking_uri: str | None) -> tuple[PlanWithResults, Tracker]:
    """Load the stored results of a plan, and the seeds that are stored besides its own.

    Returns:
        The plan with its results, and the open tracker.
    """
    from lossbench.planning.selection import load_plan_with_results
    from lossbench.tracking.store import Tracker

    tracker = Tracker.open(tracking_uri, create=False)
    found = load_plan_with_results(plan, tracker)
    more_seeds = tracker.other_seeds(found.trials)
    if not more_seeds:
        return found, tracker  # with the trials that its plan has made
    return replace(found, plan=replace(found.plan, more_seeds=more_seeds)), tracker


def load_archives(
    paths: list[Path], only: str | None, seeds: str | None
) -> tuple[PlanWithResults, ArchiveStore]:
    """Load the results in archives of one table, which needs neither its data nor a database.

    Args:
        paths: Archives; their seeds are put together.
        only: Glob of rows or cells; None for all.
        seeds: Text of `--seeds`; None for those of the archives.

    Returns:
        The plan with its results, and the store of the archives.
    """
    from lossbench.archive.store import ArchiveStore, joint_plan, open_archives
    from lossbench.planning.selection import load_plan_with_results

    archives = open_archives(paths)
    plan = _with_known_published(joint_plan(archives))
    if seeds is not None:
        suite = plan.suite.model_copy(update={"seeds": _parse_seeds(seeds)})
        plan = replace(plan, suite=suite)
    if only is not None:
        plan = plan.narrowed(only)
    store = ArchiveStore(archives)
    for name in store.differing:
        text = f"not used, because another archive differs: {name}"
        err.print(Text(text, "yellow"), soft_wrap=True)
    found = load_plan_with_results(plan, store)
    plan = replace(found.plan, more_seeds=store.other_seeds(found.trials))
    return replace(found, plan=plan), store


def _with_known_published(plan: Plan) -> Plan:
    """The plan, without published numbers if this version does not have them."""
    from lossbench.analysis.published import published_problems

    problems = published_problems(plan.suite, plan.metrics)
    if not problems:
        return plan
    err.print(Text(f"without published numbers: {problems[0].message}", "yellow"), soft_wrap=True)
    return replace(plan, suite=plan.suite.model_copy(update={"published": None}))


@contextlib.contextmanager
def contradictions_refused(archives: list[Path]) -> Iterator[None]:
    """Report it in one line if arrays of archives do not have the form that figures expect."""
    try:
        yield
    except (KeyError, IndexError, ValueError, TypeError) as error:
        names = ", ".join(map(str, archives))
        raise RequestError(f"{names}: cannot be reported: {format_exception(error)}") from None


def require_suite_or_archives(
    suite: Path | None, archives: list[Path], ignored: Mapping[str, object]
) -> None:
    """Check that a command has either a suite or `--from`, without options that have no effect.

    Args:
        suite: Suite file, if it was given.
        archives: Files of `--from`.
        ignored: Option -> value of the options that need a suite.

    Raises:
        RequestError: Both or none were given.
    """
    if suite is None and not archives:
        raise RequestError("give a suite file, or archives with --from FILE")
    if not archives:
        return
    if suite is not None:
        raise RequestError(f"--from: the archive has its own suite; leave out {suite}")
    for option, value in ignored.items():
        if value:
            raise RequestError(f"{option}: has no effect together with --from; leave it out")


def report_folder(plan: Plan, output: Path | None) -> Path:
    """Return the report's folder: `--output`, or the default for this suite and its changes.

    Raises:
        RequestError: The default folder has the report of another suite file.
    """
    from lossbench.report.provenance import require_own_folder

    if output is not None:
        return output
    folder = Path("reports") / plan.label
    require_own_folder([plan], folder)
    return folder


@dataclass(frozen=True)
class WrittenReport:
    """A report of stored results.

    Attributes:
        found: Plan with its results.
        tracker: Store that they were read from.
        folder: Folder of the report.
        files: Its files.
        tables: Its tables.
    """

    found: PlanWithResults
    tracker: Tracker
    folder: Path
    files: list[Path]
    tables: Sequence[Table]


def write_report(
    plan: Plan,
    tracking_uri: str | None,
    output: Path | None,
    command: str,
    every_figure: bool,
    *,
    processes: int = 1,
) -> WrittenReport:
    """Write the report of a plan's stored results and print its table.

    Args:
        plan: Plan of the suite.
        tracking_uri: MLflow's database or server; None for the default.
        output: Folder of the report; None for the default.
        command: Command that the report shows as its origin.
        every_figure: Whether to draw the figures of all columns, and print their verdicts, also
            if there are many.
        processes: Number of processes that draw; 1 if Ray has been used in this one.
    """
    folder = report_folder(plan, output)  # refused before the results are read
    found, tracker = load_results(plan, tracking_uri)
    files, tables = write_report_of(
        found, tracker.arrays, output, command, every_figure, processes=processes
    )
    return WrittenReport(found, tracker, folder, files, tables)


def write_report_of(
    found: PlanWithResults,
    read_arrays: ReadArrays,
    output: Path | None,
    command: str,
    every_figure: bool,
    *,
    processes: int = 1,
) -> tuple[list[Path], Sequence[Table]]:
    """Write the report of results and print its table.

    Args:
        found: Plan with its results.
        read_arrays: Reads an array artifact of a trial.
        output: Folder of the report; None for the default.
        command: Command that the report shows as its origin.
        every_figure: Whether to draw the figures of all columns, and print their verdicts, also
            if there are many.
        processes: Number of processes that draw, as in `write_report`.

    Returns:
        Paths of its files, and its tables.
    """
    plan = found.plan
    from lossbench.analysis.tables import make_tables
    from lossbench.report import terminal_table
    from lossbench.report.escaping import plain_sentence
    from lossbench.report.figure_columns import (
        columns_with_figures,
        describe_columns_without_figures,
    )
    from lossbench.report.kept_report import write_report_if_changed
    from lossbench.report.provenance import describe_replaced

    folder = report_folder(plan, output)
    replaced = describe_replaced([plan], folder)
    try:
        with err.status("writing the report"):
            tables = make_tables(found)
            written = write_report_if_changed(
                found,
                tables,
                read_arrays,
                folder,
                command,
                every_figure=every_figure,
                processes=processes,
            )
    except OSError as error:
        raise LossbenchError(f"{folder}: no report: {error.strerror}; results are kept") from None
    out.print(terminal_table(found, tables, every_column=every_figure))
    page = next(path for path in written if path.suffix == ".html")
    err.print(
        f"report: {page}{f' ({replaced})' if replaced else ''}", highlight=False, soft_wrap=True
    )
    columns = columns_with_figures(plan, every=every_figure)
    if left_out := describe_columns_without_figures(plan, columns):
        err.print(plain_sentence(left_out), highlight=False, soft_wrap=True)
    return written, tables
