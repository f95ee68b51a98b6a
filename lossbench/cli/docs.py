"""`lossbench docs`: the documentation in the terminal."""

from __future__ import annotations

from typing import Annotated

import typer


def docs(
    page: Annotated[
        str | None, typer.Argument(metavar="PAGE", help="Name of a page in the list.")
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
