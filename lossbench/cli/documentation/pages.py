"""Pages of the documentation: files in `docs/`, and pages generated from the code."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

import lossbench
from lossbench.errors import RequestError

GENERATED = {
    "reference/suite": ("Suite file", "suite_file"),
    "reference/models": ("Models", "models"),
    "reference/evaluations": ("Evaluations", "evaluations"),
    "reference/datasets": ("Data sets", "datasets"),
}
"""Name of a page -> its title, and the function in `reference.py` that generates it."""
_SITE_ONLY = re.compile(r"^<!-- on the site\n(.*?)^-->\n", re.DOTALL | re.MULTILINE)
_FRONT_MATTER = re.compile(r"\A---\n.*?^---\n", re.DOTALL | re.MULTILINE)


def page_titles() -> dict[str, str]:
    """Return the title of each page by its name, in reading order."""
    first = {"index": 0, "start": 1}
    names = [*_page_files(), *GENERATED]
    names.sort(key=lambda name: (first.get(name, 2), "/" in name, name))
    return {
        name: GENERATED[name][0] if name in GENERATED else _title(read_page(name)) for name in names
    }


def read_page(name: str) -> str:
    """Return a page as Markdown.

    Args:
        name: Name as in `page_titles`, or its last part if that is unique; a final `.md`, as in
            links between pages, is ignored.

    Raises:
        RequestError: There is no such page.
    """
    files = _page_files()
    known = [*files, *GENERATED]
    asked = name.removesuffix(".md")
    found = [own for own in known if own == asked] or [
        own for own in known if own.rpartition("/")[2] == asked.rpartition("/")[2]
    ]
    if len(found) != 1:
        names = {own.rpartition("/")[2]: own for own in known}
        near = difflib.get_close_matches(asked.rpartition("/")[2], names, n=1)
        guess = f"; did you mean '{names[near[0]]}'?" if near else ""
        raise RequestError(f"docs {name}: no such page{guess} (known: {', '.join(known)})")
    if found[0] in GENERATED:
        return generate_page(found[0])
    text = _FRONT_MATTER.sub("", files[found[0]].read_text(encoding="utf-8")).lstrip()
    return without_site_parts(text)


def generate_page(name: str) -> str:
    """Return a page that is generated from the code."""
    from lossbench.cli.documentation import reference  # imports torch

    _, function = GENERATED[name]
    text: str = getattr(reference, function)()
    return text


def for_the_site(markdown: str) -> str:
    """Return a page with the parts that only the web site shows."""
    return _SITE_ONLY.sub(r"\1", markdown).replace("{{ version }}", lossbench.__version__)


def without_site_parts(markdown: str) -> str:
    """Return a page without the parts that only the web site shows."""
    return _SITE_ONLY.sub("", markdown)


def _page_files() -> dict[str, Path]:
    """Return the file of each page by its name.

    The folder is inside the package in a wheel, and next to the package in a checkout.
    """
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
