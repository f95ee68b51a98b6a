"""The options that every verb with a suite takes, and the forms that some print."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperCommand, TyperOption

from lossbench.errors import RequestError
from lossbench.registry import user_path

DEFAULT_DATA_ROOT = Path("data")


def expand(path: Path | None) -> Path | None:
    """Return the value of an option with `~` replaced by the user's home."""
    return None if path is None else user_path(path)


def expand_all(paths: list[Path]) -> list[Path]:
    return [user_path(path) for path in paths]


SuiteArgument = Annotated[
    Path, typer.Argument(metavar="SUITE", callback=expand, help="The suite file.")
]
SetOption = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one key, dotted: recipe.epochs=3, losses.lgm.lambda=0.2. Repeatable.",
    ),
]
OnlyOption = Annotated[
    str | None,
    typer.Option(metavar="GLOB", help="Some rows ('lgm*') or cells ('2-D/lgm*') only."),
]
SeedsOption = Annotated[str | None, typer.Option(metavar="0,1,2", help="Instead of the suite's.")]
DataRootOption = Annotated[
    Path,
    typer.Option(
        metavar="DIR",
        envvar="LOSSBENCH_DATA_ROOT",
        callback=expand,
        help="Where prepared data sets are.",
    ),
]
TrackingOption = Annotated[
    str | None,
    typer.Option(
        metavar="URI",
        help="MLflow's database or server; default: MLFLOW_TRACKING_URI, else ./mlflow.db.",
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        callback=expand,
        help="Where the report goes; default: reports/NAME, or reports/NAME@CHANGES.",
    ),
]
PluginOption = Annotated[
    list[Path],
    typer.Option(
        "--plugin",
        metavar="FILE.py",
        envvar="LOSSBENCH_PLUGINS",
        callback=expand_all,
        help="A file of your own that registers losses; it is run. Repeatable.",
    ),
]


class OnceCommand(TyperCommand):
    """A verb that refuses an option given twice, where the last value would silently count.

    Repeatable options collect their values, and a flag given twice says the same.
    """

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        if not ctx.resilient_parsing:  # of shell completion
            _, _, given = self.make_parser(ctx).parse_args(args=list(args))
            for param in given:
                option = isinstance(param, TyperOption) and not (param.multiple or param.is_flag)
                if option and given.count(param) > 1:
                    raise RequestError(f"{param.opts[0]}: given twice; give it once")
        return super().parse_args(ctx, args)


class Format(enum.StrEnum):
    """Forms of a report that can be printed."""

    markdown = "markdown"
    csv = "csv"
    json = "json"
    latex = "latex"


class CheckFormat(enum.StrEnum):
    """Forms of a check's findings."""

    text = "text"
    json = "json"
    junit = "junit"
    github = "github"


class PlanFormat(enum.StrEnum):
    """Forms of a plan."""

    text = "text"
    json = "json"
