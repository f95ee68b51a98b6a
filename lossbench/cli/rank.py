"""`lossbench rank`: rank losses across several suites."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lossbench.cli.common import (
    load_archives,
    load_plan,
    load_results,
    require_suite_or_archives,
)
from lossbench.cli.console import err, out
from lossbench.cli.options import (
    DEFAULT_DATA_ROOT,
    DataRootOption,
    FromOption,
    OnlyOption,
    PluginOption,
    SeedsOption,
    SetOption,
    TrackingOption,
    expand,
    expand_all,
)
from lossbench.errors import LossbenchError, RequestError

RANKING = Path("reports") / "ranking"


def rank(
    context: typer.Context,
    suites: Annotated[
        list[Path] | None,
        typer.Argument(metavar="SUITE", callback=expand_all, help="Suite files."),
    ] = None,
    set_: SetOption = [],  # noqa: B006
    only: OnlyOption = None,
    seeds: SeedsOption = None,
    data_root: DataRootOption = DEFAULT_DATA_ROOT,
    tracking_uri: TrackingOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            callback=expand,
            help="Folder for the ranking; default: reports/ranking/SUITE+SUITE.",
        ),
    ] = None,
    plugin: PluginOption = [],  # noqa: B006
    from_: FromOption = [],  # noqa: B006
    metric: Annotated[
        list[str], typer.Option(metavar="NAME", help="Metric to rank by; default: all. Repeatable.")
    ] = [],  # noqa: B006
) -> None:
    """Rank the losses across several suites by their stored results.

    \b
    Examples:
      lossbench rank suites/mnist.yaml suites/cifar10.yaml suites/cifar100.yaml --data-root data
      lossbench rank suites/*.yaml --metric error --output reports/all
      lossbench rank --from mnist.zip --from cifar10.zip
    """
    suites = suites or []
    if len({path.resolve() for path in [*suites, *from_]}) < len(suites) + len(from_):
        raise RequestError("a file is given twice")
    ignored = {"--set": set_, "--tracking-uri": tracking_uri, "--plugin": plugin}
    require_suite_or_archives(next(iter(suites), None), from_, ignored)
    archived = [load_archives([path], only, seeds)[0] for path in from_]
    plans = [load_plan(path, set_, only, seeds, data_root, plugin) for path in suites]
    plans += [found.plan for found in archived]
    names = [plan.suite.suite for plan in plans]
    for name in names:
        if names.count(name) > 1:
            raise RequestError(f"two suite files have the name {name}: their columns would mix")
    from lossbench.analysis.ranking import rank_suites
    from lossbench.planning.changes import file_label
    from lossbench.report.provenance import describe_replaced, provenance, require_own_folder
    from lossbench.report.ranking_report import terminal_ranking, write_ranking

    changes = {change for plan in plans for change in plan.changes}
    changes |= {f"metric={name}" for name in metric}
    folder = output or RANKING / file_label("+".join(names), changes)
    if output is None:
        require_own_folder(plans, folder)
    replaced = describe_replaced(plans, folder)
    found = archived or [load_results(plan, tracking_uri)[0] for plan in plans]
    ranking = rank_suites(found, metric)
    made_from = [provenance(plan, folder) for plan in plans]
    try:
        page, *_ = write_ranking(ranking, folder, context.obj, made_from)
    except OSError as error:
        raise LossbenchError(f"{folder}: no ranking: {error.strerror}") from None
    out.print(terminal_ranking(ranking))
    err.print(
        f"ranking: {page}{f' ({replaced})' if replaced else ''}", highlight=False, soft_wrap=True
    )
