"""What `lossbench list` prints: everything that a suite can name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from pydantic.fields import FieldInfo
from rich.console import Console
from rich.text import Text

from lossbench.data import sources
from lossbench.errors import RequestError
from lossbench.evaluation import EVALUATIONS
from lossbench.losses import LOSSES
from lossbench.models import MODELS
from lossbench.models.timm_backbones import timm_entry
from lossbench.registry import Entry, Registry
from lossbench.suite import load_suite


def list_components(out: Console, registry: Registry[Any]) -> None:
    """Each with its paper, and its parameters with their defaults and ranges."""
    for name in registry:
        _list_entry(out, name, registry[name])


def _list_models(out: Console) -> None:
    """With one entry for all that timm has: their parameters are the same."""
    list_components(out, MODELS)
    _list_entry(out, "timm.NAME", timm_entry("NAME"))


def _list_entry(out: Console, name: str, entry: Entry[Any]) -> None:
    out.print(Text.assemble((name, "bold"), f"  {entry.summary}"))
    if entry.reference:
        out.print(Text(f"    {entry.reference}", "dim"))
    for parameter, field in entry.parameters.model_fields.items():
        default = "required" if field.is_required() else f"= {field.default}"
        out.print(Text.assemble(f"    {parameter} {default}", (f"  {_values(field)}", "dim")))


def list_datasets(out: Console, data_root: Path) -> None:
    """The known ones, and the user's own folders in the data root."""
    for name in sources.DATASETS:
        source = sources.DATASETS[name].create()
        state = f"`lossbench data prepare {name}`"
        if sources.is_ready(name, data_root):
            state = "ready"
        out.print(Text.assemble((name, "bold"), f"  {source.about}  [{state}]"))
    for folder in sources.own_folders(data_root):
        out.print(Text.assemble((folder.name, "bold"), f"  {folder}  [yours]"))


def list_suites(out: Console) -> None:
    """The suite files of the folder `suites`."""
    paths = sorted(Path("suites").glob("*.yaml"))
    if not paths:
        raise RequestError("there is no folder `suites` with suite files here")
    for path in paths:
        out.print(Text.assemble((str(path), "bold"), f"  {load_suite(path).title}"))


LISTINGS: dict[str, Callable[[Console, Path], None]] = {
    "losses": lambda out, _: list_components(out, LOSSES),
    "models": lambda out, _: _list_models(out),
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
