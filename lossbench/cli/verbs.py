"""The verbs without a suite, parsing and printing only."""

from __future__ import annotations

import enum
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lossbench.cli.options import (
    DEFAULT_DATA_ROOT,
    DataRootOption,
    OnceCommand,
    PluginOption,
    TrackingOption,
    expand,
)
from lossbench.errors import redacted

out = Console()
err = Console(stderr=True)


def command_line() -> str:
    """Return the command that is running, for a report, without secrets."""
    return shlex.join(["lossbench", *map(redacted, sys.argv[1:])])


data_app = typer.Typer(help="Data sets.", no_args_is_help=True, rich_markup_mode=None)


class Kind(enum.StrEnum):
    """What can be listed."""

    losses = "losses"
    models = "models"
    evaluations = "evaluations"
    datasets = "datasets"
    suites = "suites"


def try_loss(
    target: Annotated[
        str,
        typer.Argument(metavar="MODULE:CLASS", help="In this folder; or a registered loss's name."),
    ],
    set_: Annotated[
        list[str],
        typer.Option("--set", metavar="PARAM=VALUE", help="A parameter of the loss. Repeatable."),
    ] = [],  # noqa: B006
    plugin: PluginOption = [],  # noqa: B006
) -> None:
    """Put a loss of your own to the contract tests, and say what fails and why.

    Exit code 0: it keeps the contract; 1: a check failed; 2: there is no such loss.

    \b
    Examples:
      lossbench test-loss my_losses:MyHead
      lossbench test-loss my_losses:MyHead --set margin=0.3
      lossbench test-loss lgm --set covariance=diagonal
    """
    from lossbench.assembly.plugins import read_plugins
    from lossbench.cli.findings import print_findings
    from lossbench.conformance import CHECKS, examine, load_target

    read_plugins(plugin)
    subject = load_target(target, set_)
    with err.status("testing"):
        findings = examine(subject, CHECKS)
    if not print_findings(out, findings):
        raise typer.Exit(1)


def new_loss(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the loss, as in my_loss.")],
    folder: Annotated[
        Path, typer.Option(metavar="DIR", callback=expand, help="Where the files go.")
    ] = Path("."),
) -> None:
    """Write a loss of your own to start from, its test, and a suite that compares it.

    \b
    Example:
      lossbench new-loss my_loss
    """
    from lossbench.cli.scaffold import new_loss as write

    loss, test, suite = write(name, folder)
    out.print(f"wrote {loss}, {test}, {suite}; next:", highlight=False, soft_wrap=True)
    for command in (
        f"lossbench test-loss {name} --plugin {loss}",
        f"python -m pytest {test}",  # not installed with lossbench: Python says so itself
        f"lossbench run {suite} --plugin {loss}",
    ):
        out.print(f"  {command}", highlight=False, soft_wrap=True)


def new_suite(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `lossbench list suites` has it.")],
    folder: Annotated[
        Path, typer.Option(metavar="DIR", callback=expand, help="Where the file goes.")
    ] = Path("suites"),
    data_root: DataRootOption = DEFAULT_DATA_ROOT,
) -> None:
    """Write a suite that comes with lossbench: a table of the paper, or the digits.

    \b
    Example:
      lossbench new-suite cifar100
    """
    from lossbench.cli.scaffold import new_suite as write
    from lossbench.data import sources
    from lossbench.suite.schema import load_suite

    path = write(name, folder)
    out.print(f"wrote {path}; next:", highlight=False, soft_wrap=True)
    dataset = load_suite(path).dataset.name
    root = "" if data_root == DEFAULT_DATA_ROOT else f" --data-root {data_root}"
    commands = [f"lossbench {verb} {path}{root}" for verb in ("plan", "run")]
    if dataset in sources.DATASETS and not sources.is_ready(dataset, data_root):
        needed = sources.DATASETS[dataset].create().derived_from or dataset
        commands = [f"lossbench data prepare {needed}{root}", *commands]
    for command in commands:
        out.print(f"  {command}", highlight=False, soft_wrap=True)


def list_(
    kind: Annotated[Kind, typer.Argument(help="losses, models, evaluations, datasets or suites")],
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Everything about this one.")
    ] = None,
    data_root: DataRootOption = DEFAULT_DATA_ROOT,
    plugin: PluginOption = [],  # noqa: B006
) -> None:
    """List what a suite can name.

    \b
    Examples:
      lossbench list losses
      lossbench list losses lgm
      lossbench list losses pml.CircleLoss
    """
    from lossbench.assembly.plugins import read_plugins
    from lossbench.cli import list as listing

    read_plugins(plugin)
    if name is None:
        listing.LISTINGS[kind.value](out, data_root)
    else:
        listing.describe(out, kind.value, name)


def docs(
    page: Annotated[
        str | None, typer.Argument(metavar="[PAGE]", help="As the list of pages has it.")
    ] = None,
) -> None:
    """List the pages of the documentation, or print one as Markdown.

    \b
    Examples:
      lossbench docs
      lossbench docs start
      lossbench docs suite
      lossbench docs guide/ci-gate
    """
    from lossbench.cli.documentation.pages import page_titles, read_page

    if page is not None:
        typer.echo(read_page(page))
        return
    titles = page_titles()
    width = max(map(len, titles))
    for name, title in titles.items():
        typer.echo(f"{name:{width}}  {title}")


def ui(
    tracking_uri: TrackingOption = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="On 127.0.0.1.")] = 5000,
) -> None:
    """Open MLflow's dashboard on 127.0.0.1 until Ctrl-C.

    \b
    Example:
      lossbench ui --port 5001
    """
    from lossbench.tracking.ui import serve

    raise typer.Exit(serve(tracking_uri, port))


@data_app.command(cls=OnceCommand)
def prepare(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="As `lossbench list datasets` has it.")
    ],
    data_root: DataRootOption = DEFAULT_DATA_ROOT,
) -> None:
    """Download a known data set and make its prepared folder.

    \b
    Example:
      lossbench data prepare mnist --data-root data
    """
    from lossbench.data import sources

    if name in sources.DATASETS and sources.DATASETS[name].create().bundled:
        out.print(f"{name} is bundled: there is nothing to prepare")
        return
    folder = sources.prepare(name, data_root)
    content = sources.describe_prepared(name, folder)
    out.print(f"{name} is in {folder}: {content}", highlight=False, soft_wrap=True)
