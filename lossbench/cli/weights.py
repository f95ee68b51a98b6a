"""`lossbench weights`: stored weights of trained networks, and the space that they take."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from lossbench.cli.console import err, out
from lossbench.cli.options import OnceCommand, OnlyOption, TrackingOption
from lossbench.errors import RequestError

if TYPE_CHECKING:
    from lossbench.tracking.stored_weights import SuiteWeights

weights_app = typer.Typer(
    help="List stored weights, and free their space.", no_args_is_help=True, rich_markup_mode=None
)


@weights_app.command("list", cls=OnceCommand)
def list_weights(tracking_uri: TrackingOption = None) -> None:
    """List the stored weights by suite.

    \b
    Example:
      lossbench weights list
    """
    from lossbench.tracking.stored_weights import WeightsStore

    store = WeightsStore.open(tracking_uri)
    for suite in store.suites():
        found = store.find(suite)
        out.print(f"{suite}: {_amount(found)}", highlight=False, soft_wrap=True)


@weights_app.command(cls=OnceCommand)
def prune(
    suite: Annotated[
        str, typer.Argument(metavar="SUITE", help="Suite file, or name of a suite in the store.")
    ],
    only: OnlyOption = None,
    tracking_uri: TrackingOption = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask before the weights are deleted.")
    ] = False,
) -> None:
    """Delete the stored weights of a suite; its results stay.

    An evaluation that is added later then needs a new training of these networks.

    \b
    Examples:
      lossbench weights prune suites/digits.yaml
      lossbench weights prune digits --only '32-D/*' --yes
    """
    from lossbench.tracking.stored_weights import WeightsStore

    name = _suite_name(suite)
    store = WeightsStore.open(tracking_uri)
    found = store.find(name, only)
    for origin, count in found.origins.items():
        err.print(
            f"{count} trials of {name} were copied from suite {origin}, which has their weights",
            highlight=False,
            soft_wrap=True,
        )
    if not found.runs:
        err.print(f"{name}: no stored weights", highlight=False)
        return
    for user, count in found.users.items():
        line = f"warning: {count} trials of suite {user} have no weights but these"
        err.print(Text(line, "yellow"), soft_wrap=True)
    question = (
        f"{name}: {_amount(found)}; without them, a new evaluation needs a new training of these "
        "networks"
    )
    if not yes and not sys.stdin.isatty():
        raise RequestError(f"{question}. Delete them with --yes")
    if not yes and not typer.confirm(f"{question}. Delete them?"):
        raise RequestError("nothing was deleted")
    store.delete_weights(found)
    err.print(f"{name}: {_amount(found)} deleted; the results are kept", highlight=False)


def _suite_name(text: str) -> str:
    """Name of a suite that is given by its file or its name."""
    from lossbench.suite.load import load_suite

    path = Path(text).expanduser()
    is_file = path.exists() or path.suffix in (".yaml", ".yml") or "/" in text
    return load_suite(path).suite if is_file else text


def _amount(found: SuiteWeights) -> str:
    networks = "1 network" if len(found.runs) == 1 else f"{len(found.runs)} networks"
    return f"weights of {networks}, {found.total_bytes / 2**20:,.1f} MiB"
