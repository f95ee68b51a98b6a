"""Pages of the losses: docs/losses/NAME.md, extended with parameters from the code."""

from __future__ import annotations

from pathlib import Path

from lossbench.cli.documentation.docstrings import parse_docstring
from lossbench.cli.documentation.markdown_parts import table
from lossbench.cli.documentation.reference import loss_names, parameters
from lossbench.losses import LOSSES

FIGURE_LEGEND = (
    "Colour: the loss of a batch of six fixed points and one that is moved over the plane (first "
    "class, blue). Arrows: direction in which gradient descent moves that point. Lines: borders "
    "between the classes. Drawn from the code when this page was built."
)


class MissingPage(Exception):
    """A loss without a page, or a page without a loss."""


def require_pages(folder: Path) -> None:
    """Check that every registered loss has a page, and every page a loss.

    Raises:
        MissingPage: One does not; the message names the file.
    """
    known, written = set(loss_names()), {path.stem for path in folder.glob("*.md")}
    for name in sorted(known - written):
        raise MissingPage(
            f"docs/losses/{name}.md: no such file; the loss {name!r} needs a page: its equation, "
            "`figure:` in the front matter, and a section `## When to use it`"
        )
    for name in sorted(written - known):
        raise MissingPage(f"docs/losses/{name}.md: there is no loss {name!r}")


def reference(name: str) -> str:
    """Parameters, terms, paper and deviations of a loss, as Markdown."""
    entry = LOSSES[name]
    doc = parse_docstring(entry.factory)
    parts = ["## Parameters", parameters(entry) or "None."]
    terms = doc.items("Terms")
    if terms:
        rows = [(f"`{term}`", text) for term, text in terms.items()]
        parts += ["## Terms", "Their sum is the loss; each is recorded for every epoch."]
        parts.append(table(("term", ""), rows))
    parts += ["## Paper", doc.text("Reference") or entry.reference]
    if deviations := doc.text("Deviations"):
        parts += ["## Deviations from the paper", deviations[0].upper() + deviations[1:]]
    if factory_file := getattr(entry.factory, "__module__", ""):
        parts.append(f"Source: `{factory_file.replace('.', '/')}.py`")
    return "\n\n".join(parts)


def index() -> str:
    """The page that lists all losses."""
    rows = [
        (f"[{name}]({name}.md)", LOSSES[name].summary, LOSSES[name].reference)
        for name in loss_names()
    ]
    return "\n\n".join(
        [
            "# Losses",
            "Every loss maps features and labels to one number, and provides class scores without "
            "margin for testing. `lossbench list losses NAME` prints the same in the terminal.",
            table(("name", "", "paper"), rows),
            "Every loss of pytorch-metric-learning can be a row as well, with the library's own "
            "name: `pml.CircleLoss` (`pip install 'lossbench[pml]'`; `lossbench list losses "
            "pml.CircleLoss`); and so can [your own](../guide/add-a-loss.md).",
        ]
    )
