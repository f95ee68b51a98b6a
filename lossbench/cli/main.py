"""The `lossbench` program: its commands, and its exit after errors and signals."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import traceback
from typing import Annotated

import typer

import lossbench
from lossbench.cli.command_text import command_text
from lossbench.cli.commands import CommandGroup
from lossbench.cli.process import prepare_process
from lossbench.cli.signals import INTERRUPTED, stop_signals
from lossbench.errors import LossbenchError, RequestError
from lossbench.errors.redaction import RedactedStream

GARBAGE_FROM = 100_000
"""Allocations before Python's garbage collector runs: with its default of 700, it takes a quarter
of the time to import everything and read 1,000 runs."""

LEFT_OUT = ("alembic", "mlflow", "optuna", "pyarrow", "ray", "requests", "sqlalchemy")
"""Packages that may be missing in an installation for `lossbench work`."""

app = typer.Typer(
    name="lossbench",
    cls=CommandGroup,
    help="Classification losses, trained under identical recipes, compared in one table.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(lossbench.__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Classification losses, trained under identical recipes, compared in one table."""


def _print_error(message: str) -> None:
    from rich.text import Text

    from lossbench.cli.console import err

    err.print(Text.assemble(("error: ", "bold red"), message), soft_wrap=True)


def _missing(package: str) -> str:
    return (
        f"this command needs {package}, which is not installed: pip install {package}; "
        "'lossbench work' and 'lossbench report --from' do not need it"
    )


def main() -> None:
    """Run the command line; an error becomes one message and an exit code."""
    os.environ.setdefault("PYTHONWARNINGS", "ignore")  # libraries' warnings, in workers too
    gc.set_threshold(GARBAGE_FROM)
    prepare_process()
    stop_signals.install()
    arguments = sys.argv[1:]
    code: str | int | None = 0
    with contextlib.redirect_stderr(RedactedStream(sys.stderr)):
        try:
            app(arguments, obj=command_text(arguments))
        except LossbenchError as error:
            # a signal may have ended a process that was needed; this error only follows from it
            if not stop_signals.exit_code:
                _print_error(str(error))
            code = error.exit_code
        except KeyboardInterrupt:
            code = INTERRUPTED
        except SystemExit as ended:
            code = ended.code
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package in LEFT_OUT:
                _print_error(_missing(package))
                code = RequestError.exit_code
            else:
                traceback.print_exc()
                code = 1
        except Exception:  # after this block, Python would print the message with its secrets
            traceback.print_exc()
            code = 1
    if code and stop_signals.exit_code:
        stop_signals.leave()
    sys.exit(code)
