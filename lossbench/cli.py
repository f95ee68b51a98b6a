"""The command line: the verbs with a suite, parsing and printing only."""

from __future__ import annotations

import os
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

import lossbench
from lossbench import verbs
from lossbench.errors import (
    DataError,
    LossbenchError,
    NothingRecordedError,
    RequestError,
    TrackingError,
)
from lossbench.options import (
    DEFAULT_DATA_ROOT,
    CheckFormat,
    DataRootOption,
    Format,
    OnlyOption,
    OutputOption,
    PluginOption,
    SeedsOption,
    SetOption,
    SuiteArgument,
    TrackingOption,
)
from lossbench.verbs import err, out

if TYPE_CHECKING:
    from lossbench.plan import Plan

WORK = Path(".lossbench")
RANKING = Path("reports") / "ranking"
INTERRUPTED = 130

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


@app.command()
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
) -> None:
    """Run the trials of a suite that have no result yet, then write the report.

    Ctrl-C is safe, and so is a crash: the same command goes on where it stopped.

    \b
    Examples:
      lossbench run suites/digits.yaml
      lossbench run suites/mnist.yaml --data-root data --set recipe.epochs=3 --only '2-D/*'
      lossbench run suites/digits.yaml --only 'lgm*' --seeds 0,1,2,3,4
      lossbench run suites/mnist.yaml --set resources.gpus=0.25 --address auto
    """
    plan = _plan(suite, set_, only, seeds, data_root, plugin)
    from lossbench.orchestration.run import run_plan
    from lossbench.tracking.store import Tracker

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
    )
    if not outcome.started:
        err.print(f"{plan.suite.suite}: every trial has its result; nothing to run")
    try:
        _report(plan, tracking_uri, output)
    except TrackingError as error:
        if not outcome.unlogged:
            raise
        err.print(Text(f"no report: {error}", "yellow"))
    if outcome.refused:
        raise DataError(f"{outcome.refused}; finished trials are kept")
    if outcome.interrupted and outcome.lost:
        left = f"{outcome.interrupted} trials left; the same command goes on"
        err.print(Text(f"error: Ray's process {outcome.lost} has died; {left}", "red"))
        raise typer.Exit(1)
    if outcome.interrupted:
        err.print(f"stopped: {outcome.interrupted} trials left; the same command goes on")
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


@app.command()
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
        typer.Option(help="Print in what the rows differ beside the loss; exit 1 if unfairly."),
    ] = False,
) -> None:
    """Check a suite and print its trials; start nothing.

    \b
    Examples:
      lossbench plan suites/digits.yaml
      lossbench plan suites/digits.yaml --only '*/lgm*' --seeds 0
      lossbench plan suites/digits.yaml --audit
    """
    del output  # taken by every verb with a suite; a plan writes nothing
    laid_out = _plan(suite, set_, only, seeds, data_root, plugin)
    if audit:
        _audit(laid_out, tracking_uri)
        return
    from lossbench.tracking.store import Tracker

    try:
        done = Tracker.open(tracking_uri, create=False).results(laid_out.trials)
    except NothingRecordedError:
        done = {}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("variant", "row", "seed", "identity", "state"):
        table.add_column(heading, no_wrap=True)
    for trial in laid_out.trials:
        result = done.get(trial.identity)
        state = result.status if result else "to do"
        table.add_row(trial.variant, Text(trial.row), str(trial.seed), trial.identity, Text(state))
    out.print(table)
    choosing = ""
    if laid_out.suite.selection:
        losses = len({row.loss.name for row in laid_out.rows}) * len(laid_out.suite.variants)
        compared = len(laid_out.compared) * len(laid_out.suite.variants)
        beside = f" and {compared} to compare with" if compared else ""
        seeds_text = f"{len(laid_out.suite.seeds)} seeds"
        choosing = f"; then {losses} chosen cells{beside} x {seeds_text}, tested once"
    left = len(laid_out.trials) - len(done)
    out.print(f"{len(laid_out.trials)} trials, {left} to do{choosing}", highlight=False)


@app.command()
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
    laid_out = _plan(suite, set_, only, seeds, data_root, plugin)
    if format_ is None:
        _report(laid_out, tracking_uri, output)
        return
    from lossbench.orchestration.run import lay_out
    from lossbench.report import render
    from lossbench.tracking.store import Tracker

    tracker = Tracker.open(tracking_uri, create=False)
    whole, trials = lay_out(laid_out, tracker)
    typer.echo(render(whole, tracker.results(trials), format_.value))


@app.command()
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
        Path | None, typer.Option(metavar="FILE", help="Default: baselines/NAME.json.")
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
            metavar="METRIC=POINTS",
            help="With --update: what a worsening must reach to count. Repeatable.",
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
    from lossbench.orchestration.run import lay_out
    from lossbench.report import gate
    from lossbench.tracking.store import Tracker

    laid_out = _plan(suite, set_, only, seeds, data_root, plugin)
    path = baseline or Path("baselines") / f"{laid_out.suite.suite}.json"
    request = gate.Request(laid_out, path, only, gate.run_command(suite, set_, only, seeds))
    old = request.read(missing_ok=update)
    if old and not update and not laid_out.searches:
        request.require_comparable(old)
    tracker = Tracker.open(tracking_uri, create=False)
    whole, trials = lay_out(laid_out, tracker)
    request = replace(request, plan=whole)
    if old and not update:  # the rows of a search are known from its results only
        request.require_comparable(old)
    measured = request.measure(tracker.results(trials))
    if update:
        for line in request.update(old, measured, min_effect, accept=accept):
            err.print(Text(line), soft_wrap=True)
        return
    assert old is not None
    text, code = request.check(old, measured, format_.value)
    out.print(text, soft_wrap=True, end="")
    raise typer.Exit(code)


@app.command()
def rank(
    suites: Annotated[list[Path], typer.Argument(metavar="SUITE...", help="The suite files.")],
    set_: SetOption = [],  # noqa: B006
    only: OnlyOption = None,
    seeds: SeedsOption = None,
    data_root: DataRootOption = DEFAULT_DATA_ROOT,
    tracking_uri: TrackingOption = None,
    output: Annotated[Path, typer.Option(metavar="DIR", help="Where the ranking goes.")] = RANKING,
    plugin: PluginOption = [],  # noqa: B006
    metric: Annotated[
        list[str], typer.Option(metavar="NAME", help="Rank by it; default: by all. Repeatable.")
    ] = [],  # noqa: B006
) -> None:
    """Rank the losses across several suites, from what MLflow has; start nothing.

    \b
    Examples:
      lossbench rank suites/mnist.yaml suites/cifar10.yaml suites/cifar100.yaml --data-root data
      lossbench rank suites/*.yaml --metric error --output reports/ranking
    """
    if len({path.resolve() for path in suites}) < len(suites):
        raise RequestError("a suite file is named twice")
    plans = [_plan(path, set_, only, seeds, data_root, plugin) for path in suites]
    names = [laid_out.suite.suite for laid_out in plans]
    for name in names:
        if names.count(name) > 1:
            raise RequestError(f"two suite files have the name {name}: their columns would mix")
    from lossbench.orchestration.run import lay_out
    from lossbench.report.ranking import rank_suites
    from lossbench.report.ranking_report import terminal_ranking, write_ranking
    from lossbench.tracking.store import Tracker

    tracker = Tracker.open(tracking_uri, create=False)
    laid = [lay_out(laid_out, tracker) for laid_out in plans]
    ranking = rank_suites([(whole, tracker.results(trials)) for whole, trials in laid], metric)
    try:
        page, *_ = write_ranking(ranking, output, shlex.join(["lossbench", *sys.argv[1:]]))
    except OSError as error:
        raise LossbenchError(f"{output}: no ranking: {error.strerror}") from None
    out.print(terminal_ranking(ranking))
    err.print(f"ranking: {page}", highlight=False)


def _plan(
    path: Path,
    overrides: list[str],
    only: str | None,
    seeds: str | None,
    data_root: Path,
    plugins: list[Path],
) -> Plan:
    """Load and check a suite: everything that can be wrong is found here."""
    from lossbench.suite import load_suite

    if seeds is not None:
        if not re.fullmatch(r"[-\w, ]*", seeds):
            raise RequestError(f"--seeds {seeds}: should be whole numbers, as in 0,1,2")
        overrides = [*overrides, f"seeds=[{seeds}]"]
    suite = load_suite(path, overrides)
    from lossbench.assembly import check
    from lossbench.plugins import read_plugins
    from lossbench.report.published import published_problems

    read = read_plugins(plugins)
    laid_out = replace(check(suite, data_root), plugins=read)
    problems = published_problems(suite, laid_out.metrics)
    if problems:
        raise suite.origin.error(problems)
    return laid_out if only is None else laid_out.narrowed(only)


def _report(laid_out: Plan, tracking_uri: str | None, output: Path | None) -> None:
    from lossbench.orchestration.run import lay_out
    from lossbench.report import terminal_table
    from lossbench.report.build import build_report
    from lossbench.tracking.store import Tracker

    tracker = Tracker.open(tracking_uri, create=False)
    laid_out, trials = lay_out(laid_out, tracker)
    results = tracker.results(trials)
    folder = output or Path("reports") / laid_out.suite.suite
    command = shlex.join(["lossbench", *sys.argv[1:]])
    try:
        with err.status("writing the report"):
            written = build_report(laid_out, results, tracker.arrays, folder, command)
    except OSError as error:
        raise LossbenchError(f"{folder}: no report: {error.strerror}; results are kept") from None
    out.print(terminal_table(laid_out, results))
    page = next(path for path in written if path.suffix == ".html")
    err.print(f"report: {page}", highlight=False)


def _audit(laid_out: Plan, tracking_uri: str | None) -> None:
    """Print in what the rows differ; exit code 1 if a difference fails the suite."""
    from lossbench.audit import audit
    from lossbench.findings import print_audit
    from lossbench.orchestration.run import lay_out
    from lossbench.tracking.store import Tracker

    try:
        tracker = Tracker.open(tracking_uri, create=False)
        laid_out, trials = lay_out(laid_out, tracker)
        results = tracker.results(trials)
    except NothingRecordedError:
        trials, results = list(laid_out.trials), {}
    differences = audit(laid_out, trials, results)
    measured = f"{len(results)} of {len(trials)} trials measured"
    if not print_audit(out, differences, measured):
        raise typer.Exit(1)


app.command("new-loss")(verbs.new_loss)
app.command("test-loss")(verbs.try_loss)
app.command("list")(verbs.list_)
app.command("ui")(verbs.ui)
app.add_typer(verbs.data_app, name="data")


def main() -> None:
    """Entry point: errors become one message and an exit code."""
    os.environ.setdefault("PYTHONWARNINGS", "ignore")  # of libraries, in workers too
    try:
        app()
    except LossbenchError as error:
        err.print(Text.assemble(("error: ", "bold red"), str(error)), soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
