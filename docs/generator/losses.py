"""Pages of the losses: docs/losses/NAME.md, extended with parameters from the code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.utils.meta import get_data

from lossbench.cli.documentation.docstrings import parse_docstring
from lossbench.cli.documentation.markdown_parts import table
from lossbench.cli.documentation.reference import loss_names, parameters
from lossbench.losses import LOSSES

KINDS = {
    "classification": "Classification",
    "margin": "Margins on cosine or angle",
    "embedding": "Distances between features",
    "noisy labels": "Noisy labels",
    "long tails": "Long-tailed training sets",
}
"""Value of `kind:` in the front matter of a page -> heading, in the order of the list."""
FIGURE_LEGEND = (
    "Colour: the loss of a batch of six fixed points and one that is moved over the plane (first "
    "class, blue). Arrows: direction in which gradient descent moves that point. Lines: borders "
    "between the classes. Drawn from the code when this page was built."
)


class PageError(Exception):
    """A loss without a page, a page without a loss, or a page without a kind."""


def require_pages(folder: Path) -> None:
    """Check that every registered loss has a page with a kind, and every page a loss.

    Raises:
        PageError: One does not; the message names the file.
    """
    known, written = set(loss_names()), {path.stem for path in folder.glob("*.md")}
    for name in sorted(known - written):
        raise PageError(
            f"docs/losses/{name}.md: no such file; the loss {name!r} needs a page: its equation, "
            "`kind:` and `figure:` in the front matter, and a section `## When to use it`"
        )
    for name in sorted(written - known):
        raise PageError(f"docs/losses/{name}.md: there is no loss {name!r}")
    for name in sorted(written):
        kind = front_matter(folder, name).get("kind")
        if kind not in KINDS:
            raise PageError(
                f"docs/losses/{name}.md: kind: {kind!r} should be one of {', '.join(KINDS)}"
            )


def front_matter(folder: Path, name: str) -> dict[str, Any]:
    """Front matter of the page of a loss."""
    _, meta = get_data((folder / f"{name}.md").read_text(encoding="utf-8"))
    return dict(meta)


def names_by_heading(folder: Path) -> dict[str, list[str]]:
    """Heading -> names of the losses of that kind."""
    kinds = {name: front_matter(folder, name)["kind"] for name in loss_names()}
    return {
        heading: [name for name, own in kinds.items() if own == kind]
        for kind, heading in KINDS.items()
    }


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


def index(folder: Path) -> str:
    """The page that lists all losses, by kind."""
    parts = [
        "# Losses",
        "Every loss maps features and labels to one number, and provides class scores without "
        "margin for testing. `lossbench list losses NAME` prints the same in the terminal.",
    ]
    for heading, names in names_by_heading(folder).items():
        rows = [
            (f"[{name}]({name}.md)", LOSSES[name].summary, LOSSES[name].reference) for name in names
        ]
        parts += [f"## {heading}", table(("name", "", "paper"), rows)]
    parts += [
        "## Others",
        "Every loss of pytorch-metric-learning can be a row as well, with the library's own "
        "name: `pml.CircleLoss` (`pip install 'lossbench[pml]'`; `lossbench list losses "
        "pml.CircleLoss`); and so can [your own](../guide/add-a-loss.md).",
    ]
    return "\n\n".join(parts)
