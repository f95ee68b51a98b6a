"""`lossbench check`: compare a suite's results with its baseline, or update the baseline."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from lossbench.cli.command_text import run_command
from lossbench.cli.common import load_archives, load_plan, require_suite_or_archives
from lossbench.cli.console import err, out
from lossbench.cli.options import (
    DEFAULT_DATA_ROOT,
    DataRootOption,
    FromOption,
    IgnoredOutputOption,
    OnlyOption,
    OptionalSuiteArgument,
    PluginOption,
    SeedsOption,
    SetOption,
    TrackingOption,
    expand,
)
from lossbench.errors import RequestError


class CheckFormat(enum.StrEnum):
    """Formats in which the verdicts can be printed."""

    text = "text"
    json = "json"
    junit = "junit"
    github = "github"
    markdown = "markdown"


def check(
    suite: OptionalSuiteArgument = None,
    set_: SetOption = [],  # noqa: B006
    only: OnlyOption = None,
    seeds: SeedsOption = None,
    data_root: DataRootOption = DEFAULT_DATA_ROOT,
    tracking_uri: TrackingOption = None,
    output: IgnoredOutputOption = None,
    plugin: PluginOption = [],  # noqa: B006
    from_: FromOption = [],  # noqa: B006
    baseline: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", callback=expand, help="Baseline file; default: baselines/NAME.json."
        ),
    ] = None,
    format_: Annotated[
        CheckFormat, typer.Option("--format", help="Format of the verdicts on standard output.")
    ] = CheckFormat.text,
    update: Annotated[
        bool, typer.Option("--update", help="Write the baseline instead of comparing with it.")
    ] = False,
    accept: Annotated[
        bool, typer.Option("--accept", help="With --update: write it even if it is easier to pass.")
    ] = False,
    min_effect: Annotated[
        list[str],
        typer.Option(
            metavar="METRIC=NUMBER",
            help="With --update: smallest change that can be a regression, in the metric's unit. "
            "Repeatable.",
        ),
    ] = [],  # noqa: B006
) -> None:
    """Compare a suite's results with its committed baseline.

    Nothing is trained. Exit code 0: no regression; 1: a regression; 2: invalid request or missing
    results; 3: too little evidence for at least one cell.

    \b
    Examples:
      lossbench check suites/digits.yaml
      lossbench check suites/digits.yaml --only '32-D/*' --format junit > check.xml
      lossbench check suites/digits.yaml --update --min-effect error=1
      lossbench check --from digits.zip
    """
    del output
    if not update and (accept or min_effect):
        option = "--accept" if accept else "--min-effect"
        raise RequestError(f"{option}: only together with --update")
    from lossbench.cli.check_markdown import markdown_check
    from lossbench.gate.baseline_file import read_baseline
    from lossbench.gate.comparability import require_comparable
    from lossbench.gate.formats import FORMATS
    from lossbench.gate.from_results import baseline_from_results
    from lossbench.gate.regression import check_cells, exit_code
    from lossbench.gate.update import update_baseline

    ignored = {"--set": set_, "--tracking-uri": tracking_uri, "--plugin": plugin}
    require_suite_or_archives(suite, from_, ignored)
    if suite is None:
        found, _ = load_archives(from_, only, seeds)
        plan = found.plan
        command = run_command(Path(f"{plan.suite.suite}.yaml"), set_, only, seeds)
    else:
        plan = load_plan(suite, set_, only, seeds, data_root, plugin)
        command = run_command(suite, set_, only, seeds, plugin)
    path = baseline or Path("baselines") / f"{plan.suite.suite}.json"
    old = None if update and not path.exists() else read_baseline(path)
    if old and not update and not plan.searches:
        require_comparable(old, plan, only, path)
    if suite is not None:
        from lossbench.planning.selection import load_plan_with_results
        from lossbench.tracking.store import Tracker

        tracker = Tracker.open(tracking_uri, create=False)
        found = load_plan_with_results(plan, tracker)
    if old and not update:  # the rows of a search are known only with its results
        require_comparable(old, found.plan, only, path)
    measured = baseline_from_results(found, command)
    if update:
        for line in update_baseline(path, old, measured, only, min_effect, accept=accept):
            err.print(Text(line), soft_wrap=True)
        return
    assert old is not None
    cells = check_cells(old, measured, only)
    formats = {**FORMATS, "markdown": markdown_check}
    text = formats[format_.value](cells, old, measured)
    out.print(Text.assemble(text), soft_wrap=True, end="")
    raise typer.Exit(exit_code(cells))
