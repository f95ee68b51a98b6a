"""Pages of the documentation: those in `docs/`, and those made from the code."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import lossbench
from lossbench.cli.documentation import reference
from lossbench.errors import RequestError, did_you_mean

MADE: dict[str, Callable[[], str]] = {
    "reference/suite": reference.suite_file,
    "reference/models": reference.models,
    "reference/evaluations": reference.evaluations,
    "reference/datasets": reference.datasets,
}
"""Name -> the function that makes the page."""
_SITE_ONLY = re.compile(r"^<!-- on the site\n(.*?)^-->\n", re.DOTALL | re.MULTILINE)
_FRONT_MATTER = re.compile(r"\A---\n.*?^---\n", re.DOTALL | re.MULTILINE)


def page_titles() -> dict[str, str]:
    """Name of each page -> its title, in the order of reading."""
    first = {"index": 0, "start": 1}
    names = sorted([*_written(), *MADE], key=lambda name: (first.get(name, 2), "/" in name, name))
    return {name: _title(read_page(name)) for name in names}


def read_page(name: str) -> str:
    """A page as Markdown.

    Args:
        name: As in `page_titles`, or its last part if no other page has the same; as links
            between pages have it, with `.md`, is fine, too.

    Raises:
        RequestError: There is no such page.
    """
    written = _written()
    known = [*written, *MADE]
    asked = name.removesuffix(".md")
    found = [own for own in known if own == asked] or [
        own for own in known if own.rpartition("/")[2] == asked.rpartition("/")[2]
    ]
    if len(found) != 1:
        short = {own.rpartition("/")[2] for own in known}
        raise RequestError(f"docs {name}: no such page{did_you_mean(asked, short)}")
    if found[0] in MADE:
        return MADE[found[0]]()
    text = _FRONT_MATTER.sub("", written[found[0]].read_text(encoding="utf-8")).lstrip()
    return without_site_parts(text)


def for_the_site(markdown: str) -> str:
    """A page with its parts for the site, which name what only the build of the site makes."""
    return _SITE_ONLY.sub(r"\1", markdown).replace("{{ version }}", lossbench.__version__)


def without_site_parts(markdown: str) -> str:
    """A page as a reader of the file sees it."""
    return _SITE_ONLY.sub("", markdown)


def _written() -> dict[str, Path]:
    """Name -> file: inside the package in a wheel, next to it in a checkout."""
    package = Path(lossbench.__file__).resolve().parent
    folder = package / "docs"
    if not folder.is_dir():
        folder = package.parent / "docs"
    files = {
        path.relative_to(folder).with_suffix("").as_posix(): path for path in folder.rglob("*.md")
    }
    return dict(sorted(files.items()))


def _title(markdown: str) -> str:
    return next(line for line in markdown.splitlines() if line.startswith("# ")).removeprefix("# ")
