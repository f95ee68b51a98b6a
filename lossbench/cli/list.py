"""`lossbench list`: the components, data sets and suites that can be used."""

from __future__ import annotations

import enum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from lossbench.cli.console import out
from lossbench.cli.documentation.descriptions import (
    METRIC_HEADINGS,
    ComponentDescription,
    KindDescription,
    describe,
    describe_kind,
    describe_registry,
)
from lossbench.cli.options import DEFAULT_DATA_ROOT, DataRootOption, PluginOption
from lossbench.errors import RequestError

if TYPE_CHECKING:
    from lossbench.registry import Library, Registry


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
    if kind in (Kind.datasets, Kind.suites):
        _read_plugins(plugin)
        if name is not None:
            raise RequestError(f"list {kind} {name}: {kind} are listed without a name")
        if kind is Kind.datasets:
            _print_datasets(data_root)
        else:
            _print_suites()
        return
    described = None if plugin else describe_kind(kind)
    if described and name is None:
        _print_kind(kind, described)
    elif described and name is not None and name in described.components:
        _print_component(described.components[name])
    else:
        _read_plugins(plugin)
        _list_registered(kind, name)


def _read_plugins(plugin: list[Path]) -> None:
    if plugin:
        from lossbench.assembly.plugins import read_plugins

        read_plugins(plugin)


def _list_registered(kind: Kind, name: str | None) -> None:
    """Print components of plugins, installed packages and libraries."""
    from lossbench.assembly.registries import REGISTRIES

    [registry] = [each for each in REGISTRIES if each.plural == kind]
    libraries = {library.prefix: library for library in registry.libraries}
    if name is None:
        _print_kind(kind, describe_registry(registry))
    elif name.removesuffix(".") in libraries:
        _print_library(libraries[name.removesuffix(".")])
    elif "*" in name:
        _print_names(registry, name)
    else:
        _print_component(describe(registry[name]))


def _print_kind(kind: Kind, described: KindDescription) -> None:
    """Print each component with its equation, its paper and its parameters.

    A library, such as timm, is represented by one entry.
    """
    for name, reason in described.broken.items():
        out.print(Text.assemble((name, "bold"), f"  {reason}", "\n"), soft_wrap=True)
    for component in described.components.values():
        _print_summary(component)
        out.print()
    for prefix, component in described.libraries.items():
        _print_summary(component)
        command = f"lossbench list {kind} {prefix}"
        out.print(Text(f"    `{command}` lists the names", "dim"), soft_wrap=True)
        out.print()


def _print_summary(component: ComponentDescription) -> None:
    """Print the first line of a component's docstring, its equation, paper and parameters."""
    out.print(Text.assemble((component.name, "bold"), f"  {component.summary}"), soft_wrap=True)
    for line in component.equation:
        out.print(Text(f"    {line}", "cyan"), soft_wrap=True)
    if component.reference:
        out.print(Text(f"    {component.reference}", "dim"), soft_wrap=True)
    _print_parameters(component, meanings=False)
    for better in ("lower", "higher", "neither"):
        if names := [name for name, _, _, found, _ in component.metrics if found == better]:
            out.print(Text(f"    {better} is better: {', '.join(names)}"), soft_wrap=True)


def _print_library(library: Library[Any]) -> None:
    """Print the description of a library and the names of its components.

    Raises:
        RequestError: The library is not installed.
    """
    names = sorted(library.names())
    _print_summary(describe(library.placeholder))
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


def _print_component(component: ComponentDescription) -> None:
    """Print the docstring of a component, with the parameters that a suite can set."""
    out.print(Text(component.name, "bold"))
    if component.reference:
        out.print(Text(component.reference, "dim"), soft_wrap=True)
    out.print()
    parameters = component.parameters
    complete = bool(parameters) and all(each.meaning is not None for each in parameters)
    out.print(Text(component.body if complete else component.docstring), soft_wrap=True)
    out.print()
    _print_parameters(component, meanings=complete)
    _print_metrics(component)
    for section in component.sections.values() if complete else ():
        out.print()
        out.print(Text(section), soft_wrap=True)


def _print_parameters(component: ComponentDescription, *, meanings: bool) -> None:
    """Print the name, the default, the valid values and perhaps the meaning of each parameter."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    headings = ("    parameter", "default", "type and range", "meaning")
    for heading in headings if meanings else headings[:-1]:
        table.add_column(heading, no_wrap=heading == headings[0])
    for each in component.parameters:
        cells = [f"    {each.name}", each.default, each.values]
        if meanings:
            cells.append(each.meaning or "")
        table.add_row(*map(Text, cells))
    if table.rows:
        out.print(table)


def _print_metrics(component: ComponentDescription) -> None:
    """Print the table of an evaluation's metrics with default parameters."""
    if not component.metrics:
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in (f"    {METRIC_HEADINGS[0]}", *METRIC_HEADINGS[1:]):
        table.add_column(heading)
    for name, *cells in component.metrics:
        table.add_row(*map(Text, [f"    {name}", *cells]))
    out.print()
    out.print(table)


def _print_datasets(data_root: Path) -> None:
    """Print the known data sets, and the user's own folders in the data root."""
    from lossbench.data import sources

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
    for folder in sources.own_folders(data_root):
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
