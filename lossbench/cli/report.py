"""`lossbench report`: write the report of stored results, or print them in one format."""

from __future__ import annotations

import enum
from typing import Annotated

import typer

from lossbench.cli.common import (
    contradictions_refused,
    load_archives,
    load_plan,
    load_results,
    require_suite_or_archives,
    write_report,
    write_report_of,
)
from lossbench.cli.console import err
from lossbench.cli.options import (
    DEFAULT_DATA_ROOT,
    DataRootOption,
    Figures,
    FiguresOption,
    FromOption,
    OnlyOption,
    OptionalSuiteArgument,
    OutputOption,
    PluginOption,
    SeedsOption,
    SetOption,
    TrackingOption,
)


class ReportFormat(enum.StrEnum):
    """Formats in which results can be printed."""

    markdown = "markdown"
    csv = "csv"
    json = "json"
    latex = "latex"


def report(
    context: typer.Context,
    suite: OptionalSuiteArgument = None,
    set_: SetOption = [],  # noqa: B006
    only: OnlyOption = None,
    seeds: SeedsOption = None,
    data_root: DataRootOption = DEFAULT_DATA_ROOT,
    tracking_uri: TrackingOption = None,
    output: OutputOption = None,
    plugin: PluginOption = [],  # noqa: B006
    from_: FromOption = [],  # noqa: B006
    figures: FiguresOption = Figures.auto,
    format_: Annotated[
        ReportFormat | None,
        typer.Option("--format", help="Print the results in this format; write no files."),
    ] = None,
) -> None:
    """Write a suite's report from its stored results.

    \b
    Examples:
      lossbench report suites/digits.yaml
      lossbench report suites/digits.yaml --format json
      lossbench report --from digits.zip
      lossbench report --from seeds-0-2.zip --from seeds-3-5.zip
    """
    from lossbench.report.figures.processes import usable_processes

    ignored = {"--set": set_, "--tracking-uri": tracking_uri, "--plugin": plugin}
    require_suite_or_archives(suite, from_, ignored)
    every_figure, processes = figures is Figures.all, usable_processes()
    if suite is None:
        found, archives = load_archives(from_, only, seeds)
        if format_ is None:
            with contradictions_refused(from_):
                write_report_of(
                    found, archives.arrays, output, context.obj, every_figure, processes=processes
                )
            return
    else:
        plan = load_plan(suite, set_, only, seeds, data_root, plugin)
        if format_ is None:
            write_report(plan, tracking_uri, output, context.obj, every_figure, processes=processes)
            return
        found, _ = load_results(plan, tracking_uri)
    from lossbench.report import render
    from lossbench.report.provenance import describe_more_seeds

    typer.echo(render(found, format_.value, context.obj or ""))
    if found.plan.more_seeds:
        err.print(describe_more_seeds(found.plan), highlight=False, soft_wrap=True)
