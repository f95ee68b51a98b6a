"""`lossbench plan`: trained and measured trials of a suite, and the estimated cost of the rest."""

from __future__ import annotations

import contextlib
import enum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from lossbench.cli.common import load_plan
from lossbench.cli.console import err, out
from lossbench.cli.options import (
    DEFAULT_DATA_ROOT,
    DataRootOption,
    IgnoredOutputOption,
    MaxSeedsOption,
    OnlyOption,
    PluginOption,
    SeedsOption,
    SetOption,
    SuiteArgument,
    TrackingOption,
    UntilDecidedOption,
)
from lossbench.errors import NothingRecordedError, RequestError

if TYPE_CHECKING:
    from lossbench.planning.plan import Plan

_STYLES = {"fails": "bold red", "warning": "yellow", "listed": ""}
"""Level of a difference -> its style in the terminal."""


class PlanFormat(enum.StrEnum):
    """Formats in which a plan can be printed."""

    text = "text"
    json = "json"


def plan(
    suite: SuiteArgument,
    set_: SetOption = [],  # noqa: B006
    only: OnlyOption = None,
    seeds: SeedsOption = None,
    data_root: DataRootOption = DEFAULT_DATA_ROOT,
    tracking_uri: TrackingOption = None,
    output: IgnoredOutputOption = None,
    plugin: PluginOption = [],  # noqa: B006
    audit: Annotated[
        bool,
        typer.Option(
            "--audit",
            help="List the differences between rows besides the loss; exit with 1 if one makes the "
            "comparison unfair.",
        ),
    ] = False,
    trials: Annotated[
        bool, typer.Option("--trials", help="Print one line per trial, with its identity.")
    ] = False,
    format_: Annotated[
        PlanFormat, typer.Option("--format", help="Format on standard output.")
    ] = PlanFormat.text,
    probe: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0,
            max=3600,
            help="Maximum time spent on timing training steps for the estimate.",
        ),
    ] = 15.0,
    until_decided: UntilDecidedOption = False,
    max_seeds: MaxSeedsOption = None,
) -> None:
    """Check a suite, count its trained and measured trials, and estimate time and memory.

    If its data are not on this machine, print the table, which data are missing, and how to obtain
    them.

    \b
    Examples:
      lossbench plan suites/digits.yaml
      lossbench plan suites/digits.yaml --only '*/lgm*' --seeds 0 --trials
      lossbench plan suites/mnist.yaml --data-root data --probe 60
      lossbench plan suites/digits.yaml --audit
      lossbench plan suites/digits.yaml --until-decided --max-seeds 12
    """
    del output
    from lossbench.cli import plan_output
    from lossbench.cli.local_status import load_status
    from lossbench.cli.until_decided import expect_rounds, plan_with_looks

    checked = load_plan(suite, set_, only, seeds, data_root, plugin, without_data=True)
    if audit:
        _print_audit(checked, tracking_uri)
        return
    expected = None
    if until_decided:
        checked = plan_with_looks(checked, tracking_uri, max_seeds)
        expected = expect_rounds(load_status(checked, tracking_uri))
    elif max_seeds is not None:
        raise RequestError("--max-seeds: only together with --until-decided")
    status = expected.status if expected else load_status(checked, tracking_uri)
    if trials:
        plan_output.print_trials(out, status)
        out.print(plan_output.format_counts(status, expected), highlight=False)
        plan_output.print_changed_code(out, status)
        plan_output.print_weightless(out, status)
        plan_output.print_missing(out, checked)
        return
    if format_ is PlanFormat.text:
        plan_output.print_cells(out, status)
        out.print(plan_output.format_counts(status, expected), highlight=False)
        plan_output.print_changed_code(out, status)
        plan_output.print_weightless(out, status)
        plan_output.print_columns(out, status.plan)
        plan_output.print_data(out, status.plan, status.warnings)
        plan_output.print_missing(out, checked)
    forecast = None
    if (status.left or status.expected_trials) and not checked.missing:
        with err.status("timing a few steps of each cell"):
            forecast = status.forecast(status.costs(data_root, probe), status.machine[1])
    if format_ is PlanFormat.json:
        typer.echo(plan_output.as_json(status, forecast, expected))
    elif forecast:
        for line in plan_output.format_forecast(status, forecast, expected):
            out.print(line, highlight=False)


def _print_audit(plan: Plan, tracking_uri: str | None) -> None:
    """Print the differences between rows other than the loss; exit with 1 if the audit fails."""
    from lossbench.cli.plan_output import print_missing
    from lossbench.planning.fairness import audit
    from lossbench.planning.selection import PlanWithResults, load_plan_with_results
    from lossbench.report.escaping import plain_sentence
    from lossbench.tracking.store import Tracker

    found = PlanWithResults(plan, {})
    if not plan.missing:
        with contextlib.suppress(NothingRecordedError):
            tracker = Tracker.open(tracking_uri, create=False)
            found = load_plan_with_results(plan, tracker)
    differences = audit(found.plan, found.trials, found.results)
    basis = f"{len(found.results)} of {len(found.trials)} trials trained"
    if plan.missing:
        basis = (
            "without the data, the training requirements of the losses, small classes and "
            "measured differences are unknown"
        )
        print_missing(out, plan)
    table = Table(box=None, pad_edge=False, show_header=False)
    for difference in differences:
        table.add_row(
            Text(difference.level, _STYLES[difference.level]), Text(plain_sentence(difference.text))
        )
    out.print(table)
    failed = sum(difference.level == "fails" for difference in differences)
    verdict = "audit passed: the rows differ only in the loss and in what is listed"
    if failed:
        verdict = f"audit failed: {failed} avoidable difference{'s' * (failed > 1)}"
    out.print(f"{verdict}; {basis}", highlight=False)
    if failed:
        raise typer.Exit(1)
