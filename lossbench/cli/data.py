"""`lossbench data`: prepare data sets."""

from __future__ import annotations

from typing import Annotated

import typer

from lossbench.cli.console import out
from lossbench.cli.options import DEFAULT_DATA_ROOT, DataRootOption, OnceCommand

data_app = typer.Typer(help="Prepare data sets.", no_args_is_help=True, rich_markup_mode=None)


@data_app.command(cls=OnceCommand)
def prepare(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name in `lossbench list datasets`.")],
    data_root: DataRootOption = DEFAULT_DATA_ROOT,
) -> None:
    """Download a known data set and write its prepared folder, or print how to obtain it.

    \b
    Example:
      lossbench data prepare mnist --data-root data
    """
    from lossbench.data import sources

    if name in sources.DATASETS and (source := sources.DATASETS[name].create()).bundled:
        if source.derived_from:
            out.print(f"{name} is made from {source.derived_from}: prepare that")
        else:
            out.print(f"{name} is bundled: there is nothing to prepare")
        return
    folder = sources.prepare(name, data_root)
    content = sources.describe_prepared(name, folder)
    out.print(f"{name} is in {folder}: {content}", highlight=False, soft_wrap=True)
