"""Options that several commands have."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperCommand, TyperOption

from lossbench.errors import RequestError

DEFAULT_DATA_ROOT = Path("data")


def expand(path: Path | None) -> Path | None:
    """Replace `~` at the start of an option's path by the user's home folder."""
    if path is None or not str(path).startswith("~"):
        return path
    from lossbench.registry import user_path

    return user_path(path)


def expand_all(paths: list[Path] | None) -> list[Path]:
    """Apply `expand` to the paths of a repeatable option."""
    return [expanded for path in paths or [] if (expanded := expand(path))]


SuiteArgument = Annotated[
    Path, typer.Argument(metavar="SUITE", callback=expand, help="Suite file.")
]
SetOption = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key of the suite, for example recipe.epochs=3. Repeatable.",
    ),
]
OnlyOption = Annotated[
    str | None,
    typer.Option(metavar="GLOB", help="Only these rows ('lgm*') or cells ('2-D/lgm*')."),
]
SeedsOption = Annotated[
    str | None,
    typer.Option(metavar="LIST", help="Replace the suite's seeds, for example by 0,1,2."),
]
DataRootOption = Annotated[
    Path,
    typer.Option(
        metavar="DIR",
        envvar="LOSSBENCH_DATA_ROOT",
        callback=expand,
        help="Folder of prepared data sets.",
    ),
]
TrackingOption = Annotated[
    str | None,
    typer.Option(
        metavar="URI",
        help="MLflow database or server; default: MLFLOW_TRACKING_URI, else ./mlflow.db.",
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        callback=expand,
        help="Folder for the report; default: reports/NAME, or reports/NAME@CHANGES.",
    ),
]
# `check` and `plan` write no report, but accept the options of a `run` command
IgnoredOutputOption = Annotated[
    Path | None,
    typer.Option("--output", metavar="DIR", callback=expand, hidden=True, help="Has no effect."),
]


class Figures(enum.StrEnum):
    """Columns with figures of their own."""

    auto = "auto"
    all = "all"


FiguresOption = Annotated[
    Figures,
    typer.Option(
        help="Columns with figures of their own, and verdicts in the terminal: 'all', or 'auto': "
        "the first 3 if there are more than 8.",
    ),
]
PluginOption = Annotated[
    list[Path],
    typer.Option(
        "--plugin",
        metavar="FILE.py",
        envvar="LOSSBENCH_PLUGINS",
        callback=expand_all,
        help="Python file that registers new components; it is executed. Repeatable.",
    ),
]


OptionalSuiteArgument = Annotated[
    Path | None, typer.Argument(metavar="SUITE", callback=expand, help="Suite file.")
]
CheckpointOption = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        min=0,
        max=1e6,
        help="Minimum time between two checkpoints of a trial; 0: after every epoch.",
    ),
]
FromOption = Annotated[
    list[Path],
    typer.Option(
        "--from",
        metavar="FILE",
        callback=expand_all,
        help="Archive of 'lossbench export' or a folder of archives, instead of a suite and a "
        "database. Repeatable.",
    ),
]


class OnceCommand(TyperCommand):
    """A command that refuses an option given twice, instead of silently using the last value.

    Repeatable options and flags may be given several times.
    """

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        if not ctx.resilient_parsing:  # which is on for shell completion
            _, _, given = self.make_parser(ctx).parse_args(args=list(args))
            for param in given:
                option = isinstance(param, TyperOption) and not (param.multiple or param.is_flag)
                if option and given.count(param) > 1:
                    raise RequestError(f"{param.opts[0]}: given twice; give it once")
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")  # pydantic's
            raise


UntilDecidedOption = Annotated[
    bool,
    typer.Option(
        "--until-decided",
        help="Add seeds to the rows that are not decided, until every comparison is.",
    ),
]
MaxSeedsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=1000,
        metavar="NUMBER",
        help="With --until-decided: largest number of seeds per cell; default: 20.",
    ),
]
