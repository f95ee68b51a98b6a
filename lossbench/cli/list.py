"""What `lossbench list` prints: everything that a suite can name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from pydantic.fields import FieldInfo
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lossbench.data import sources
from lossbench.errors import RequestError
from lossbench.evaluation import EVALUATIONS
from lossbench.losses import LOSSES
from lossbench.losses.metric_learning import any_of_pml
from lossbench.models import MODELS
from lossbench.models.timm_backbones import timm_entry
from lossbench.registry import Entry, Registry
from lossbench.suite.schema import load_suite
from lossbench.suite.shipped import shipped_suites


def list_components(out: Console, registry: Registry[Any], *more: Entry[Any]) -> None:
    """Each with its equation, its paper, and its parameters with their defaults and ranges.

    Args:
        out: Where to.
        registry: Of the components.
        more: Entries that stand for the many of a library.
    """
    entries = {}
    for name in registry:
        try:
            entries[name] = registry[name]
        except RequestError as error:  # a package that is broken
            out.print(Text.assemble((name, "bold"), f"  {error}", "\n"))
    entries |= {entry.name: entry for entry in more}
    for name, entry in entries.items():
        out.print(Text.assemble((name, "bold"), f"  {entry.summary}"), soft_wrap=True)
        for line in equation(entry):
            out.print(Text(f"    {line}", "cyan"), soft_wrap=True)
        if entry.reference:
            out.print(Text(f"    {entry.reference}", "dim"), soft_wrap=True)
        _print_parameters(out, entry)
        out.print()


def describe(out: Console, kind: str, name: str) -> None:
    """Everything about one component: its docstring whole, and its parameters.

    Raises:
        RequestError: There is none of this name, or there is no more to tell of this kind.
    """
    if kind not in REGISTRIES:
        raise RequestError(f"list {kind} {name}: {kind} are listed without a name")
    entry = REGISTRIES[kind][name]
    out.print(Text(entry.name, "bold"))
    if entry.reference:
        out.print(Text(entry.reference, "dim"), soft_wrap=True)
    out.print()
    out.print(Text(inspect.getdoc(entry.factory) or "no description"), soft_wrap=True)
    out.print()
    _print_parameters(out, entry)


def equation(entry: Entry[Any]) -> list[str]:
    """The lines of a docstring's paragraph that has a line `L = ...`; none without one."""
    for paragraph in (inspect.getdoc(entry.factory) or "").split("\n\n"):
        lines = paragraph.splitlines()
        if any(line.startswith("L = ") for line in lines):
            return lines
    return []


def _print_parameters(out: Console, entry: Entry[Any]) -> None:
    """Aligned: the name, the default, the values that it may have."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(style="dim")
    for name, field in entry.parameters.model_fields.items():
        default = "required" if field.is_required() else f"= {field.default}"
        table.add_row(f"    {name}", default, _values(field))
    if table.rows:
        out.print(table)


def list_datasets(out: Console, data_root: Path) -> None:
    """The known ones, and the user's own folders in the data root."""
    for name in sources.DATASETS:
        source = sources.DATASETS[name].create()
        state = f"`lossbench data prepare {source.derived_from or name}`"
        if sources.is_ready(name, data_root):
            state = "ready"
        out.print(
            Text.assemble((name, "bold"), f"  {source.description}  [{state}]"), soft_wrap=True
        )
    for folder in sources.own_folders(data_root):
        out.print(Text.assemble((folder.name, "bold"), f"  {folder}  [yours]"))


def list_suites(out: Console) -> None:
    """The suite files of the folder `suites`, and those that come with lossbench."""
    here = sorted(Path("suites").glob("*.yaml"))
    for path in here:
        out.print(Text.assemble((str(path), "bold"), f"  {load_suite(path).title}"))
    names = {path.stem for path in here}
    for name, path in shipped_suites().items():
        if name not in names:
            state = f"`lossbench new-suite {name}`"
            title = f"  {load_suite(path).title}  [{state}]"
            out.print(Text.assemble((name, "bold"), title), soft_wrap=True)


REGISTRIES: dict[str, Registry[Any]] = {
    "losses": LOSSES,
    "models": MODELS,
    "evaluations": EVALUATIONS,
}
LISTINGS: dict[str, Callable[[Console, Path], None]] = {
    "losses": lambda out, _: list_components(out, LOSSES, any_of_pml()),
    "models": lambda out, _: list_components(out, MODELS, timm_entry("NAME")),
    "evaluations": lambda out, _: list_components(out, EVALUATIONS),
    "datasets": list_datasets,
    "suites": lambda out, _: list_suites(out),
}


def _values(field: FieldInfo) -> str:
    """The values that a parameter may have: `float, >= 0`, `identity | diagonal`."""
    kinds = [kind for kind in get_args(field.annotation) or [field.annotation] if kind]
    choices = [kind for kind in kinds if isinstance(kind, str)]
    kinds = [getattr(kind, "__origin__", kind) for kind in kinds]  # int of Annotated[int, ...]
    names = [getattr(kind, "__name__", "") for kind in kinds if kind is not type(None)]
    bounds = [
        f"{sign} {getattr(rule, key):g}"
        for rule in field.metadata
        for key, sign in (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))
        if hasattr(rule, key)
    ]
    return " | ".join(choices) or ", ".join([*names, *bounds])
