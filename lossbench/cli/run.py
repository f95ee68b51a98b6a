"""`lossbench run`: train what is missing of a suite, then write its report."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from lossbench.cli.common import WrittenReport, load_plan, report_folder, write_report
from lossbench.cli.console import err
from lossbench.cli.options import (
    DEFAULT_DATA_ROOT,
    CheckpointOption,
    DataRootOption,
    Figures,
    FiguresOption,
    MaxSeedsOption,
    OnlyOption,
    OutputOption,
    PluginOption,
    SeedsOption,
    SetOption,
    SuiteArgument,
    TrackingOption,
    UntilDecidedOption,
)
from lossbench.cli.retraining import confirm_retraining
from lossbench.cli.signals import INTERRUPTED, stop_signals
from lossbench.errors import DataError, LossbenchError, RequestError, TrackingError

if TYPE_CHECKING:
    from lossbench.planning.plan import Plan
    from lossbench.runner.outcome import RunOutcome
    from lossbench.tracking.store import Tracker

WORK = Path(".lossbench")
"""Folder for a run's files that are not results yet."""
CONFIRM_FROM_SEC = 3600.0
"""Expected duration above which `run` asks for confirmation."""


@contextlib.contextmanager
def _resumable() -> Iterator[None]:
    """After Ctrl-C outside the trials, print that the run can be continued."""
    try:
        yield
    except KeyboardInterrupt:
        _print_stopped()
        raise


@_resumable()
def run(
    context: typer.Context,
    suite: SuiteArgument,
    set_: SetOption = [],  # noqa: B006  (typer makes a new list for each call)
    only: OnlyOption = None,
    seeds: SeedsOption = None,
    data_root: DataRootOption = DEFAULT_DATA_ROOT,
    tracking_uri: TrackingOption = None,
    output: OutputOption = None,
    plugin: PluginOption = [],  # noqa: B006
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT|auto",
            help="Ray cluster to run on; default: start Ray on this machine.",
        ),
    ] = None,
    checkpoint_every: CheckpointOption = 10.0,
    fail_fast: Annotated[
        bool,
        typer.Option("--fail-fast", help="Stop at the first trial that fails or diverges."),
    ] = False,
    yes: Annotated[
        bool,
        typer.Option("--yes", "-y", help="Do not ask before a long run, or before training again."),
    ] = False,
    time_budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Start only trials expected to finish within this time: 2h, 45min, 90s, ...",
        ),
    ] = None,
    until_decided: UntilDecidedOption = False,
    max_seeds: MaxSeedsOption = None,
    figures: FiguresOption = Figures.auto,
) -> None:
    """Run the missing trials of a suite, then write its report.

    If the run is expected to take more than an hour, lossbench asks for confirmation. After Ctrl-C
    or a crash, run the same command to continue. With --until-decided, one seed after the other is
    added to the rows that are not yet known to be better, worse or equivalent.

    \b
    Examples:
      lossbench run suites/digits.yaml
      lossbench run suites/mnist.yaml --data-root data --set recipe.epochs=3 --only '2-D/*'
      lossbench run suites/digits.yaml --only '32-D/*' --seeds 0,1,2,3,4
      lossbench run suites/mnist.yaml --set resources.gpus=0.25 --address auto
      lossbench run suites/mnist.yaml --time-budget 2h
      lossbench run suites/digits.yaml --until-decided --max-seeds 12
      lossbench run my_loss.yaml --plugin my_loss.py
    """
    from lossbench.planning.durations import read_duration

    seconds = None if time_budget is None else read_duration(time_budget, "--time-budget")
    plan = load_plan(suite, set_, only, seeds, data_root, plugin)
    from lossbench.cli.local_status import LocalPlanStatus, load_status

    here = LocalPlanStatus(plan, plan.trials, {})
    for line in here.warnings if address is None else plan.warnings:
        err.print(Text(f"warning: {line}", "yellow"), soft_wrap=True)
    report_folder(plan, output)  # refused now rather than after the training
    from lossbench.cli.until_decided import Rounds, plan_with_looks
    from lossbench.planning.looks import with_stored_looks

    looked, rounds = plan, None
    if until_decided:
        looked, rounds = plan_with_looks(plan, tracking_uri, max_seeds), Rounds(err)
    elif max_seeds is not None:
        raise RequestError("--max-seeds: only together with --until-decided")
    from lossbench.runner.budget import PROBE_SEC, Budget
    from lossbench.runner.run import run_plan
    from lossbench.tracking.store import Tracker

    budget = None
    if seconds is not None:
        deadline = time.monotonic() + seconds
        budget = Budget(deadline)
        if address is None:
            costs = load_status(looked, tracking_uri).costs(data_root, PROBE_SEC)
            budget = Budget(deadline, costs)
    elif not yes and address is None:
        ask = typer.confirm if sys.stdin.isatty() else None
        confirm_long_run(looked, tracking_uri, data_root, ask, until_decided=until_decided)
    tracker = Tracker.open(tracking_uri)
    outcome = run_plan(
        with_stored_looks(looked, tracker),
        tracker,
        data_root=data_root,
        work=WORK,
        address=address,
        console=err,
        checkpoint_sec=checkpoint_every,
        fail_fast=fail_fast,
        budget=budget,
        stop_code=lambda: stop_signals.exit_code,
        confirm_retraining=lambda trials: confirm_retraining(
            trials, tracker.results(trials), yes=yes
        ),
        next_looks=rounds.next_record if rounds else None,
    )
    if outcome.interrupted and stop_signals.exit_code:  # no report: SIGKILL follows soon
        _print_stopped(outcome.interrupted)
        raise typer.Exit(stop_signals.exit_code)
    if not outcome.started and not outcome.over_budget:
        err.print(f"{plan.suite.suite}: every trial has its result; nothing to run")
    try:
        every_figure = figures is Figures.all
        log_table(tracker, write_report(plan, tracking_uri, output, context.obj, every_figure))
    except TrackingError as error:
        if not outcome.unlogged and not outcome.abort_reason:
            raise
        err.print(Text(f"no report: {error}", "yellow"))
    except LossbenchError as error:
        if not outcome.abort_reason:  # which is printed below, for example a full disk
            raise
        err.print(Text(str(error), "yellow"))
    if rounds and rounds.last:
        from lossbench.report.look_text import describe_looks

        err.print(describe_looks(rounds.last), highlight=False, soft_wrap=True)
    _print_outcome(outcome, time_budget)


def log_table(tracker: Tracker, written: WrittenReport) -> None:
    """Show a written report in MLflow, in the run of its table; a failure is only printed.

    Args:
        tracker: Tracker that can write.
        written: The report.
    """
    from lossbench.report.table_summary import summarize

    plan, trials = written.found.plan, written.found.trials
    runs = written.tracker.trial_runs(plan.suite.suite, trials)
    try:
        with err.status("logging the table"):
            report = written.folder, written.files
            tracker.log_table(plan, summarize(written.found, written.tables), report, runs)
    except TrackingError as error:
        text = f"warning: the table is not in MLflow, run the same command to log it: {error}"
        err.print(Text(text, "yellow"), soft_wrap=True)


def confirm_long_run(
    plan: Plan,
    tracking_uri: str | None,
    data_root: Path,
    ask: Callable[[str], bool] | None,
    *,
    until_decided: bool = False,
) -> None:
    """Ask for confirmation if a run is expected to take more than an hour.

    Args:
        plan: Plan of the suite.
        tracking_uri: MLflow's database or server; None for the default.
        data_root: Folder of prepared data sets.
        ask: Asks the user a question and returns the answer; None if nobody can answer.
        until_decided: Whether seeds are added until the table is decided. Before there are results,
            the largest possible number is expected.

    Raises:
        RequestError: Nobody can answer, or the answer is no.
    """
    from lossbench.cli.local_status import LocalPlanStatus, load_status
    from lossbench.cli.until_decided import expect_rounds
    from lossbench.planning.durations import format_duration
    from lossbench.runner.budget import PROBE_SEC

    def with_rounds(status: LocalPlanStatus) -> LocalPlanStatus:
        return expect_rounds(status).status if until_decided else status

    found = with_rounds(load_status(plan, tracking_uri))
    if not found.is_large(data_root):
        return
    forecast = found.forecast(found.costs(data_root, PROBE_SEC), found.machine[1])
    if forecast is None or forecast.wall_time_sec <= CONFIRM_FROM_SEC:
        return
    duration = format_duration(forecast.wall_time_sec)
    at_most = "up to " if until_decided and not found.results else ""
    expected = f"{at_most}{forecast.trials} trials will take about {duration} here"
    if ask is None:
        raise RequestError(
            f"{expected}; start them with --yes, or as many as fit with --time-budget 1h"
        )
    if not ask(f"{expected}. Continue?"):
        raise RequestError("nothing was started; --time-budget 1h would start as many as fit")


def _trials_left(count: int) -> str:
    return "1 trial left" if count == 1 else f"{count} trials left"


def _print_stopped(left: int = 0) -> None:
    """Print that a run was stopped, with the number of trials left if it is known."""
    trials = f": {_trials_left(left)}" if left else ""
    err.print(f"stopped{trials}; run the same command to continue", highlight=False)


def _print_outcome(outcome: RunOutcome, time_budget: str | None) -> None:
    """Print what went wrong in a run, if anything, and exit with the matching code."""
    if outcome.data_problem:
        raise DataError(f"{outcome.data_problem}; finished trials are kept")
    if outcome.over_budget:
        left = f"{_trials_left(outcome.over_budget)}; run the same command to continue"
        err.print(f"the time budget of {time_budget} is used up: {left}", highlight=False)
    if outcome.interrupted and outcome.abort_reason:
        left = f"{_trials_left(outcome.interrupted)}; run the same command to continue"
        err.print(Text(f"error: {outcome.abort_reason}; {left}", "red"), soft_wrap=True)
        raise typer.Exit(1)
    if outcome.interrupted:
        _print_stopped(outcome.interrupted)
        raise typer.Exit(INTERRUPTED)
    if outcome.unlogged:
        err.print(
            f"{len(outcome.unlogged)} results could not be logged and are kept in {WORK}; run the "
            "same command to log them"
        )
    for name, message in outcome.failed.items():
        err.print(Text(f"failed: {name}: {message}", "red"))
    if outcome.ended_by_fail_fast:
        err.print("stopped at the first trial that failed or diverged (--fail-fast)")
    if outcome.undecided:
        err.print(
            "no parameters were chosen or tested: trials on which the choice depends failed or "
            "were not run"
        )
    if outcome.failed or outcome.unlogged or outcome.ended_by_fail_fast:
        raise typer.Exit(1)
