"""Hook of mkdocs: adds the pages that are made from the code, and converts equations to MathML."""

from __future__ import annotations

import functools
import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import commands
import figures
import forest
import losses
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from lossbench.cli.documentation import pages, reference

PAGES: dict[str, Callable[[], str]] = {
    "reference/cli.md": commands.command_line,
    **{f"{name}.md": functools.partial(pages.generate_page, name) for name in pages.GENERATED},
}
_EQUATION = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add one page per loss to the navigation, by kind."""
    folder = Path(config.docs_dir) / "losses"
    try:
        losses.require_pages(folder)
    except losses.PageError as error:
        raise PluginError(str(error)) from None
    for entry in config.nav or []:
        if entry.get("Losses"):
            kinds = [
                {heading: [{name: f"losses/{name}.md"} for name in names]}
                for heading, names in losses.names_by_heading(folder).items()
            ]
            entry["Losses"] = [{"All": "losses/index.md"}, *kinds]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add generated pages and figures."""
    for path, make in PAGES.items():
        files.append(File.generated(config, path, content=make()))
    folder = Path(config.docs_dir) / "losses"
    files.append(File.generated(config, "losses/index.md", content=losses.index(folder)))
    costs = Path(config.docs_dir).parent / "benchmarks/README.md"
    files.append(File.generated(config, "guide/cost.md", abs_src_path=str(costs)))
    for name in reference.loss_names():
        settings = losses.front_matter(folder, name).get("figure", [{}])
        picture = figures.draw(name, settings)
        files.append(File.generated(config, f"losses/figures/{name}.png", content=picture))
    picture = forest.draw()
    files.append(File.generated(config, "guide/figures/forest.png", content=picture))
    return files


def on_page_markdown(markdown: str, page: Page, **unused: Any) -> str:
    """Extend the page of a loss with parameters, terms and deviations; fill in the placeholders."""
    folder, _, file = page.file.src_uri.rpartition("/")
    name = file.removesuffix(".md")
    if folder == "losses" and name != "index":
        own = pages.for_the_site(markdown).replace("{{ figure_legend }}", losses.FIGURE_LEGEND)
        return f"{own}\n\n{losses.reference(name)}\n"
    return pages.for_the_site(markdown)


def on_page_content(content: str, **unused: Any) -> str:
    """Convert TeX to MathML, which browsers render without JavaScript."""

    def typeset(found: re.Match[str]) -> str:
        display = "block" if found[2] == "[" else "inline"
        made: str = convert(html.unescape(found[3]).strip(), display=display)
        return f'<div class="equation">{made}</div>' if display == "block" else made

    return _EQUATION.sub(typeset, content)
