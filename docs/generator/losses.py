"""A page a loss: docs/losses/NAME.md by hand, its figure and its parameters from the code."""

from __future__ import annotations

from pathlib import Path

from lossbench.cli.documentation.docstrings import parse
from lossbench.cli.documentation.markdown_parts import table
from lossbench.cli.documentation.reference import loss_names, parameters
from lossbench.losses import LOSSES


class MissingPage(Exception):
    """A loss without its page, or a page without its loss."""


def require_pages(folder: Path) -> None:
    """Every registered loss has its page, and every page its loss.

    Raises:
        MissingPage: Says which file to write.
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
    """What follows the hand-written part."""
    entry = LOSSES[name]
    doc = parse(entry.factory)
    parts = ["## Parameters", parameters(entry) or "None."]
    terms = doc.items("Terms")
    if terms:
        rows = [(f"`{term}`", text) for term, text in terms.items()]
        parts += ["## Terms", "Recorded for every epoch, and their sum is the loss."]
        parts.append(table(("term", ""), rows))
    parts += ["## Paper", doc.text("Reference") or entry.reference]
    if deviations := doc.text("Deviations"):
        parts += ["## Deviations from the paper", deviations[0].upper() + deviations[1:]]
    if factory_file := getattr(entry.factory, "__module__", ""):
        parts.append(f"Source: `{factory_file.replace('.', '/')}.py`")
    return "\n\n".join(parts)


def index() -> str:
    """The list of all losses."""
    rows = [
        (f"[{name}]({name}.md)", LOSSES[name].summary, LOSSES[name].reference)
        for name in loss_names()
    ]
    return "\n\n".join(
        [
            "# Losses",
            "All of them keep one contract: features and labels in, one number out, and class "
            "scores without margin for the test. `lossbench list losses NAME` says the same in "
            "the terminal.",
            table(("name", "", "paper"), rows),
            "Every loss of pytorch-metric-learning can be a row, too, by the library's own name: "
            "`pml.CircleLoss` (`pip install 'lossbench[pml]'`; `lossbench list losses "
            "pml.CircleLoss`). And [your own](../guide/add-a-loss.md).",
        ]
    )
