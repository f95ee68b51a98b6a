"""`lossbench list`: the components, data sets and suites that can be used."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from lossbench.cli.console import out
from lossbench.cli.options import DEFAULT_DATA_ROOT, DataRootOption, PluginOption
from lossbench.errors import RequestError

if TYPE_CHECKING:
    from lossbench.registry import Entry, Library, Registry


class Kind(enum.StrEnum):
    """Kinds of things that can be listed."""

    losses = "losses"
    models = "models"
    evaluations = "evaluations"
    augmentations = "augmentations"
    optimizers = "optimizers"
    schedules = "schedules"
    datasets = "datasets"
    suites = "suites"


def list_(
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help="What to list.")],
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Print the whole documentation of this component; for a library (timm), or a "
            "pattern with * ('timm.resnet*'), the names.",
        ),
    ] = None,
    data_root: DataRootOption = DEFAULT_DATA_ROOT,
    plugin: PluginOption = [],  # noqa: B006
) -> None:
    """List what a suite can use.

    \b
    Examples:
      lossbench list losses
      lossbench list losses lgm
      lossbench list losses pml
      lossbench list losses pml.CircleLoss
    """
    from lossbench.assembly.plugins import read_plugins
    from lossbench.assembly.registries import REGISTRIES

    read_plugins(plugin)
    if kind in (Kind.datasets, Kind.suites):
        if name is not None:
            raise RequestError(f"list {kind} {name}: {kind} are listed without a name")
        if kind is Kind.datasets:
            _print_datasets(data_root)
        else:
            _print_suites()
        return
    [registry] = [each for each in REGISTRIES if each.plural == kind]
    libraries = {library.prefix: library for library in registry.libraries}
    if name is None:
        _print_components(registry)
    elif name.removesuffix(".") in libraries:
        _print_library(libraries[name.removesuffix(".")])
    elif "*" in name:
        _print_names(registry, name)
    else:
        _print_component(registry[name])


def _print_components(registry: Registry[Any]) -> None:
    """Print each component with its equation, its paper and its parameters.

    A library, such as timm, is represented by one entry.
    """
    entries = {}
    for name in registry:
        try:
            entries[name] = registry[name]
        except RequestError as error:  # an installed package that is broken
            out.print(Text.assemble((name, "bold"), f"  {error}", "\n"), soft_wrap=True)
    for entry in entries.values():
        _print_summary(entry)
        out.print()
    for library in registry.libraries:
        _print_summary(library.placeholder)
        command = f"lossbench list {registry.plural} {library.prefix}"
        out.print(Text(f"    `{command}` lists the names", "dim"), soft_wrap=True)
        out.print()


def _print_summary(entry: Entry[Any]) -> None:
    """Print the first line of a component's docstring, its equation, paper and parameters."""
    from lossbench.cli.documentation.docstrings import equation_of

    out.print(Text.assemble((entry.name, "bold"), f"  {entry.summary}"), soft_wrap=True)
    for line in equation_of(entry.factory):
        out.print(Text(f"    {line}", "cyan"), soft_wrap=True)
    if entry.reference:
        out.print(Text(f"    {entry.reference}", "dim"), soft_wrap=True)
    _print_parameters(entry)
    if entry.kind == "evaluation":
        _print_metric_names(entry)


def _print_library(library: Library[Any]) -> None:
    """Print the description of a library and the names of its components.

    Raises:
        RequestError: The library is not installed.
    """
    names = sorted(library.names())
    _print_summary(library.placeholder)
    out.print()
    for name in names:
        out.print(Text(f"{library.prefix}.{name}"), soft_wrap=True)


def _print_names(registry: Registry[Any], pattern: str) -> None:
    """Print the names that a pattern with * matches, those of libraries included.

    Raises:
        RequestError: There is none.
    """
    library = registry.library_of(pattern)
    names = list(registry)
    if library:
        names = [f"{library.prefix}.{name}" for name in library.names()]
    found = sorted(name for name in names if fnmatchcase(name, pattern))
    if not found:
        raise RequestError(f"list {registry.plural} {pattern}: no name matches")
    for name in found:
        out.print(Text(name), soft_wrap=True)


def _print_component(entry: Entry[Any]) -> None:
    """Print the docstring of a component, with the parameters that a suite can set."""
    from lossbench.cli.documentation.docstrings import parameter_meanings, parse_docstring

    out.print(Text(entry.name, "bold"))
    if entry.reference:
        out.print(Text(entry.reference, "dim"), soft_wrap=True)
    out.print()
    docstring = inspect.cleandoc(entry.factory.__doc__ or "no description")
    parsed = parse_docstring(entry.factory)
    meanings = parameter_meanings(entry)
    names = entry.parameters.model_fields
    if not names or not meanings.keys() >= names.keys():
        out.print(Text(docstring), soft_wrap=True)
        out.print()
        _print_parameters(entry)
        _print_metrics(entry)
        return
    out.print(Text("\n".join([parsed.summary, *parsed.body]).rstrip()), soft_wrap=True)
    out.print()
    _print_parameters(entry, meanings)
    _print_metrics(entry)
    for title, lines in parsed.sections.items():
        if title != "Args":
            out.print()
            out.print(Text("\n".join([f"{title}:", *lines]).rstrip()), soft_wrap=True)


def _print_parameters(entry: Entry[Any], meanings: Mapping[str, str] | None = None) -> None:
    """Print the name, the default, the valid values and the meaning of each parameter."""
    from lossbench.cli.documentation.parameters import default_text, values_text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    headings = ("    parameter", "default", "type and range", "meaning")
    for heading in headings if meanings else headings[:-1]:
        table.add_column(heading, no_wrap=heading == headings[0])
    for name, field in entry.parameters.model_fields.items():
        cells = [f"    {name}", default_text(field), values_text(field)]
        if meanings:
            cells.append(meanings[name])
        table.add_row(*map(Text, cells))
    if table.rows:
        out.print(table)


def _print_metric_names(entry: Entry[Any]) -> None:
    """Print the names of an evaluation's metrics with default parameters, by their direction."""
    from lossbench.cli.documentation.metrics import example_metrics

    metrics = example_metrics(entry)
    for better, higher in (("lower", False), ("higher", True)):
        judged = [metric for metric in metrics if metric.judged]
        names = [metric.name for metric in judged if metric.higher_is_better is higher]
        if names:
            out.print(Text(f"    {better} is better: {', '.join(names)}"), soft_wrap=True)
    if described := [metric.name for metric in metrics if not metric.judged]:
        out.print(Text(f"    neither is better: {', '.join(described)}"), soft_wrap=True)


def _print_metrics(entry: Entry[Any]) -> None:
    """Print the table of an evaluation's metrics with default parameters."""
    from lossbench.cli.documentation.metrics import HEADINGS, example_metrics, metric_cells

    if entry.kind != "evaluation" or not (metrics := example_metrics(entry)):
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in (f"    {HEADINGS[0]}", *HEADINGS[1:]):
        table.add_column(heading)
    for name, *cells in map(metric_cells, metrics):
        table.add_row(*map(Text, [f"    {name}", *cells]))
    out.print()
    out.print(table)


def _print_datasets(data_root: Path) -> None:
    """Print the known data sets, and the user's own folders in the data root."""
    from lossbench.data import sources
    from lossbench.data.loading import own_folders

    for name in sources.known_names():
        source = sources.DATASETS[name].create()
        needed = source.derived_from or name
        state = f"`lossbench data prepare {needed}`"
        if sources.is_ready(name, data_root):
            state = "ready"
        elif sources.DATASETS[needed].create().by_hand:
            state = f"obtain it yourself; {state} prints how"
        out.print(
            Text.assemble((name, "bold"), f"  {source.description}  [{state}]"), soft_wrap=True
        )
    for folder in own_folders(data_root):
        out.print(Text.assemble((folder.name, "bold"), f"  {folder}  [yours]"))


def _print_suites() -> None:
    """Print the suite files in the folder `suites`, and the suites that come with lossbench."""
    from lossbench.suite.load import load_suite
    from lossbench.suite.shipped import shipped_suites

    here = sorted(Path("suites").glob("*.yaml"))
    for path in here:
        out.print(Text.assemble((str(path), "bold"), f"  {load_suite(path).title}"))
    names = {path.stem for path in here}
    for name, path in shipped_suites().items():
        if name not in names:
            state = f"`lossbench new suite {name}`"
            title = f"  {load_suite(path).title}  [{state}]"
            out.print(Text.assemble((name, "bold"), title), soft_wrap=True)
