"""Commands of the program; the module of a command is imported when the command is used."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from lossbench.cli.options import OnceCommand


@dataclass(frozen=True)
class CommandSource:
    """Where a command is defined.

    Attributes:
        module: Module in `lossbench.cli`.
        attribute: Its function, or a `typer.Typer` with further commands.
        summary: First paragraph of its help, for the list of all commands.
        hidden: Whether the list of all commands leaves it out.
    """

    module: str
    attribute: str
    summary: str
    hidden: bool = False

    def load(self) -> Callable[..., Any] | typer.Typer:
        """Import the module, and return the function or the `typer.Typer`."""
        found: Callable[..., Any] | typer.Typer = getattr(
            importlib.import_module(f"lossbench.cli.{self.module}"), self.attribute
        )
        return found


COMMANDS = {
    "run": CommandSource("run", "run", "Run the missing trials of a suite, then write its report."),
    "plan": CommandSource(
        "plan",
        "plan",
        "Check a suite, count its trained and measured trials, and estimate time and memory.",
    ),
    "report": CommandSource("report", "report", "Write a suite's report from its stored results."),
    "check": CommandSource(
        "check", "check", "Compare a suite's results with its committed baseline."
    ),
    "rank": CommandSource(
        "rank", "rank", "Rank the losses across several suites by their stored results."
    ),
    "work": CommandSource(
        "work", "work", "Train and measure a share of a suite's trials here, one after the other."
    ),
    "export": CommandSource(
        "export", "export", "Write the stored results of a suite to one archive."
    ),
    "import": CommandSource(
        "export", "import_", "Add the results in archives to the stored results."
    ),
    "new": CommandSource(
        "new",
        "new",
        "Write a template for a component of your own, its test and a suite; or copy a suite.",
    ),
    "new-loss": CommandSource(
        "new", "new_loss", "The same as `lossbench new loss NAME`.", hidden=True
    ),
    "new-evaluation": CommandSource(
        "new", "new_evaluation", "The same as `lossbench new evaluation NAME`.", hidden=True
    ),
    "new-suite": CommandSource(
        "new", "new_suite", "The same as `lossbench new suite NAME`.", hidden=True
    ),
    "test-loss": CommandSource("check_loss", "check_loss", "Run the contract tests on your loss."),
    "list": CommandSource("list", "list_", "List what a suite can use."),
    "docs": CommandSource(
        "docs", "docs", "List the pages of the documentation, or print one as Markdown."
    ),
    "ui": CommandSource("ui", "ui", "Open MLflow's dashboard on 127.0.0.1 until Ctrl-C."),
    "data": CommandSource("data", "data_app", "Prepare data sets."),
    "weights": CommandSource(
        "weights", "weights_app", "List stored weights, and free their space."
    ),
}
"""Name -> where the command is defined, in the order of the help."""


def load_command(name: str) -> Any:
    """Import a command, and return it as typer runs it."""
    app = typer.Typer(rich_markup_mode=None)
    app.callback()(lambda: None)  # without it, an app of one command would be that command
    loaded = COMMANDS[name].load()
    if isinstance(loaded, typer.Typer):
        app.add_typer(loaded, name=name)
    else:
        app.command(name, cls=OnceCommand)(loaded)
    return typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]


class CommandGroup(TyperGroup):
    """All commands; help and shell completion list them without an import."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, source in COMMANDS.items():
            self.add_command(TyperCommand(name, help=source.summary, hidden=source.hidden))

    def resolve_command(self, ctx: typer.Context, args: list[str]) -> Any:  # type: ignore[override]
        """Name, command and its arguments; the command is imported."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, load_command(name) if name else command, rest
