"""`lossbench test-loss`: check a loss against the contract of a loss head.

The module is not named after its command, `test-loss`: pytest would collect `test_loss.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from lossbench.cli.console import err, out
from lossbench.cli.options import PluginOption

if TYPE_CHECKING:
    from lossbench.conformance import CheckResult

_MARKS = {"ok": ("ok", "green"), "failed": ("FAILED", "bold red"), "none": ("-", "dim")}


def check_loss(
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:CLASS",
            help="A class in a module of this folder, or the name of a registered loss.",
        ),
    ],
    set_: Annotated[
        list[str],
        typer.Option("--set", metavar="PARAM=VALUE", help="A parameter of the loss. Repeatable."),
    ] = [],  # noqa: B006
    plugin: PluginOption = [],  # noqa: B006
) -> None:
    """Run the contract tests on your loss.

    Exit code 0: all checks pass; 1: a check fails; 2: there is no such loss.

    \b
    Examples:
      lossbench test-loss my_losses:MyHead
      lossbench test-loss my_losses:MyHead --set margin=0.3
      lossbench test-loss lgm --set covariance=diagonal
    """
    from lossbench.assembly.plugins import read_plugins
    from lossbench.conformance import CHECKS, load_target, run_checks

    read_plugins(plugin)
    subject = load_target(target, set_)
    with err.status("testing"):
        results = run_checks(subject, CHECKS)
    _print_results(results)
    if any(result.status == "failed" for result in results):
        raise typer.Exit(1)


def _print_results(results: Sequence[CheckResult]) -> None:
    """Print one line per check, and how many passed."""
    from lossbench.conformance import CHECKS

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("check", "", "requirement, or reason of the failure"):
        table.add_column(heading)
    for result in results:
        requirement = (CHECKS[result.check].__doc__ or "").partition("\n")[0]
        table.add_row(
            result.check, Text(*_MARKS[result.status]), Text(result.reason or requirement)
        )
    out.print(table)
    failed = sum(result.status == "failed" for result in results)
    applicable = sum(result.status != "none" for result in results)
    out.print(f"{applicable - failed} of {applicable} checks passed", highlight=False)
