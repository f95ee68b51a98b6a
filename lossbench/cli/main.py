"""The command line: the verbs with a suite, parsing and printing only."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

import lossbench
from lossbench.cli import plan as planned
from lossbench.cli import rank as across
from lossbench.cli import verbs
from lossbench.cli.common import (
    WORK,
    lay_out_suite,
    look_up,
    print_differences,
    print_outcome,
    print_stopped,
    report_folder,
    resumable,
    write_report,
)
from lossbench.cli.options import (
    DEFAULT_DATA_ROOT,
    CheckFormat,
    DataRootOption,
    Format,
    OnceCommand,
    OnlyOption,
    OutputOption,
    PlanFormat,
    PluginOption,
    SeedsOption,
    SetOption,
    SuiteArgument,
    TrackingOption,
    expand,
)
from lossbench.cli.process import prepare_process
from lossbench.cli.signals import INTERRUPTED, stop_signals
from lossbench.cli.verbs import err, out
from lossbench.errors import (
    LossbenchError,
    RedactedStream,
    RequestError,
    TrackingError,
)
from lossbench.planning.costs import read_duration

GARBAGE_FROM = 100_000
"""New objects before Python looks for garbage among them: at its 700, a quarter of the time to
import everything and read 1,000 runs goes there."""

app = typer.Typer(
    name="lossbench",
    help="Classification losses, trained under identical recipes, compared in one table.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(lossbench.__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print and exit."),
    ] = False,
) -> None:
    """Classification losses, trained under identical recipes, compared in one table."""


@app.command(cls=OnceCommand)
@resumable()
def run(
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
            metavar="HOST:PORT|auto", help="A running Ray cluster; default: this machine."
        ),
    ] = None,
    checkpoint_every: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0,
            max=1e6,
            help="Least time between two checkpoints of a trial; 0: one after every epoch.",
        ),
    ] = 10.0,
    fail_fast: Annotated[
        bool,
        typer.Option("--fail-fast", help="Stop at the first trial that fails or diverges."),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask before more than an hour of work.")
    ] = False,
    time_budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Start nothing that would not end within 2h, 45min, 90s, ..."
        ),
    ] = None,
) -> None:
    """Run the trials of a suite that have no result yet, then write the report.

    Ctrl-C is safe, and so is a crash: the same command goes on where it stopped.

    \b
    Examples:
      lossbench run suites/digits.yaml
      lossbench run suites/mnist.yaml --data-root data --set recipe.epochs=3 --only '2-D/*'
      lossbench run suites/digits.yaml --only 'lgm*' --seeds 0,1,2,3,4
      lossbench run suites/mnist.yaml --set resources.gpus=0.25 --address auto
      lossbench run suites/mnist.yaml --time-budget 2h
      lossbench run my_loss.yaml --plugin my_loss.py
    """
    seconds = None if time_budget is None else read_duration(time_budget, "--time-budget")
    plan = lay_out_suite(suite, set_, only, seeds, data_root, plugin)
    report_folder(plan, output)  # refused now rather than after the training
    from lossbench.runner.run import Budget, run_plan
    from lossbench.tracking.store import Tracker

    budget = None
    if seconds is not None:
        deadline = time.monotonic() + seconds
        costs = planned.recorded(plan, tracking_uri).costs(data_root, planned.LOOK_SEC)
        budget = Budget(deadline, costs)
    elif not yes and address is None:
        ask = typer.confirm if sys.stdin.isatty() else None
        planned.require_agreement(plan, tracking_uri, data_root, ask)
    tracker = Tracker.open(tracking_uri)
    outcome = run_plan(
        plan,
        tracker,
        data_root=data_root,
        work=WORK,
        address=address,
        console=err,
        checkpoint_sec=checkpoint_every,
        fail_fast=fail_fast,
        budget=budget,
        stop_code=lambda: stop_signals.exit_code,
    )
    if outcome.interrupted and stop_signals.exit_code:  # no report: SIGKILL follows soon
        print_stopped(outcome.interrupted)
        raise typer.Exit(stop_signals.exit_code)
    if not outcome.started and not outcome.late:
        err.print(f"{plan.suite.suite}: every trial has its result; nothing to run")
    try:
        write_report(plan, tracking_uri, output)
    except TrackingError as error:
        if not outcome.unlogged and not outcome.lost:
            raise
        err.print(Text(f"no report: {error}", "yellow"))
    except LossbenchError as error:  # a full disk, say, of which the outcome has the cure
        if not outcome.lost:
            raise
        err.print(Text(str(error), "yellow"))
    print_outcome(outcome, time_budget)


@app.command(cls=OnceCommand)
def plan(
    suite: SuiteArgument,
    set_: SetOption = [],  # noqa: B006
    only: OnlyOption = None,
    seeds: SeedsOption = None,
    data_root: DataRootOption = DEFAULT_DATA_ROOT,
    tracking_uri: TrackingOption = None,
    output: OutputOption = None,
    plugin: PluginOption = [],  # noqa: B006
    audit: Annotated[
        bool,
        typer.Option("--audit", help="In what the rows differ beside the loss; 1 if unfairly."),
    ] = False,
    trials: Annotated[
        bool, typer.Option("--trials", help="A line for each trial, with its identity.")
    ] = False,
    format_: Annotated[
        PlanFormat, typer.Option("--format", help="On standard output.")
    ] = PlanFormat.text,
    probe: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0,
            max=3600,
            help="How long to try steps at most, to tell the time.",
        ),
    ] = 15.0,
) -> None:
    """Check a suite, show what is done of its table, and tell what the rest will take.

    Where its data are not on this machine, the table is shown, what is missing, and how to get it.

    \b
    Examples:
      lossbench plan suites/digits.yaml
      lossbench plan suites/digits.yaml --only '*/lgm*' --seeds 0 --trials
      lossbench plan suites/mnist.yaml --data-root data --probe 60
      lossbench plan suites/digits.yaml --audit
    """
    del output  # taken by every verb with a suite; a plan writes nothing
    laid_out = lay_out_suite(suite, set_, only, seeds, data_root, plugin, without_data=True)
    if audit:
        print_differences(laid_out, tracking_uri)
        return
    found = planned.recorded(laid_out, tracking_uri)
    if trials:
        planned.print_trials(out, found)
        out.print(found.counted, highlight=False)
        planned.print_changed_code(out, found)
        planned.print_missing(out, laid_out)
        return
    if format_ is PlanFormat.text:
        planned.print_cells(out, found)
        out.print(found.counted, highlight=False)
        planned.print_changed_code(out, found)
        planned.print_data(out, found.plan)
        planned.print_missing(out, laid_out)
    forecast = None
    if (found.left or found.coming) and not laid_out.missing:
        with err.status("taking a few steps of each cell"):
            forecast = found.forecast(found.costs(data_root, probe))
    if format_ is PlanFormat.json:
        typer.echo(planned.as_json(found, forecast))
    elif forecast:
        for line in planned.told(found, forecast):
            out.print(line, highlight=False)


@app.command(cls=OnceCommand)
def report(
    suite: SuiteArgument,
    set_: SetOption = [],  # noqa: B006
    only: OnlyOption = None,
    seeds: SeedsOption = None,
    data_root: DataRootOption = DEFAULT_DATA_ROOT,
    tracking_uri: TrackingOption = None,
    output: OutputOption = None,
    plugin: PluginOption = [],  # noqa: B006
    format_: Annotated[
        Format | None,
        typer.Option("--format", help="Print one form on standard output; write no files."),
    ] = None,
) -> None:
    """Write a suite's report from what MLflow has, or print one form of it.

    \b
    Examples:
      lossbench report suites/digits.yaml
      lossbench report suites/digits.yaml --format json
    """
    laid_out = lay_out_suite(suite, set_, only, seeds, data_root, plugin)
    if format_ is None:
        write_report(laid_out, tracking_uri, output)
        return
    from lossbench.analysis.provenance import describe_more_seeds
    from lossbench.report import render

    found, _ = look_up(laid_out, tracking_uri)
    typer.echo(render(found, format_.value))
    if found.plan.more_seeds:
        err.print(describe_more_seeds(found.plan), highlight=False, soft_wrap=True)


@app.command(cls=OnceCommand)
def check(
    suite: SuiteArgument,
    set_: SetOption = [],  # noqa: B006
    only: OnlyOption = None,
    seeds: SeedsOption = None,
    data_root: DataRootOption = DEFAULT_DATA_ROOT,
    tracking_uri: TrackingOption = None,
    output: OutputOption = None,
    plugin: PluginOption = [],  # noqa: B006
    baseline: Annotated[
        Path | None,
        typer.Option(metavar="FILE", callback=expand, help="Default: baselines/NAME.json."),
    ] = None,
    format_: Annotated[
        CheckFormat, typer.Option("--format", help="Of the findings, on standard output.")
    ] = CheckFormat.text,
    update: Annotated[bool, typer.Option("--update", help="Write the baseline instead.")] = False,
    accept: Annotated[
        bool, typer.Option("--accept", help="With --update: even if it lowers a bar.")
    ] = False,
    min_effect: Annotated[
        list[str],
        typer.Option(
            metavar="METRIC=NUMBER",
            help="With --update: smallest worsening that counts, in the metric's unit. Repeatable.",
        ),
    ] = [],  # noqa: B006
) -> None:
    """Compare a suite's results with its committed baseline; start nothing.

    Exit code 0: no regression; 1: a regression; 2: the request was wrong, or results are missing;
    3: too little evidence for at least one cell.

    \b
    Examples:
      lossbench check suites/digits.yaml
      lossbench check suites/digits.yaml --only '32-D/*' --format junit > check.xml
      lossbench check suites/digits.yaml --update --min-effect error=1
    """
    del output  # taken by every verb with a suite; the findings go to standard output
    if not update and (accept or min_effect):
        flag = "--accept" if accept else "--min-effect"
        raise RequestError(f"{flag}: only together with --update")
    from lossbench.gate import service as gate
    from lossbench.planning.selection import load_plan_with_results
    from lossbench.tracking.store import Tracker

    laid_out = lay_out_suite(suite, set_, only, seeds, data_root, plugin)
    path = baseline or Path("baselines") / f"{laid_out.suite.suite}.json"
    request = gate.Request(laid_out, path, only, gate.run_command(suite, set_, only, seeds, plugin))
    old = request.read(missing_ok=update)
    if old and not update and not laid_out.searches:
        request.require_comparable(old)
    tracker = Tracker.open(tracking_uri, create=False)
    found = load_plan_with_results(laid_out, tracker.results)
    request = replace(request, plan=found.plan)
    if old and not update:  # the rows of a search are known from its results only
        request.require_comparable(old)
    measured = request.measure(found.results)
    if update:
        for line in request.update(old, measured, min_effect, accept=accept):
            err.print(Text(line), soft_wrap=True)
        return
    assert old is not None
    text, code = request.check(old, measured, format_.value)
    out.print(text, soft_wrap=True, end="")
    raise typer.Exit(code)


app.command("rank", cls=OnceCommand)(across.rank)
app.command("new-loss", cls=OnceCommand)(verbs.new_loss)
app.command("new-suite", cls=OnceCommand)(verbs.new_suite)
app.command("test-loss", cls=OnceCommand)(verbs.try_loss)
app.command("list", cls=OnceCommand)(verbs.list_)
app.command("docs", cls=OnceCommand)(verbs.docs)
app.command("ui", cls=OnceCommand)(verbs.ui)
app.add_typer(verbs.data_app, name="data")


def main() -> None:
    """Entry point: errors become one message and an exit code."""
    os.environ.setdefault("PYTHONWARNINGS", "ignore")  # of libraries, in workers too
    gc.set_threshold(GARBAGE_FROM)
    prepare_process()
    stop_signals.install()
    code: str | int | None = 0
    with contextlib.redirect_stderr(RedactedStream(sys.stderr)):
        try:
            app()
        except LossbenchError as error:
            if not stop_signals.exit_code:  # the signal may have ended what was needed
                err.print(Text.assemble(("error: ", "bold red"), str(error)), soft_wrap=True)
            code = error.exit_code
        except KeyboardInterrupt:
            code = INTERRUPTED
        except SystemExit as end:
            code = end.code
        except Exception:  # outside of this block, Python would print its message as it is
            traceback.print_exc()
            code = 1
    if code and stop_signals.exit_code:
        stop_signals.leave()
    sys.exit(code)
