"""Pages made from the code: the suite file, and what a suite can name."""

from __future__ import annotations

import re
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

import lossbench
from lossbench.cli.documentation.docstrings import parse
from lossbench.cli.documentation.markdown_parts import code, table
from lossbench.data import sources
from lossbench.data.augmentation import AUGMENTATIONS
from lossbench.evaluation import EVALUATIONS
from lossbench.losses import LOSSES
from lossbench.models import MODELS
from lossbench.registry import Entry, Registry
from lossbench.suite import schema as suite
from lossbench.training.optimizers import OPTIMIZERS
from lossbench.training.schedules import SCHEDULES


def suite_file() -> str:
    """Every key, from the models that read it."""
    levels: list[tuple[str, str, type[BaseModel]]] = [
        ("Top level", "", suite.Suite),
        ("dataset", "dataset.", suite.DatasetChoice),
        ("recipe", "recipe.", suite.Recipe),
        ("recipe.input", "recipe.input.", suite.Input),
        ("variants.NAME", "variants.NAME.", suite.Variant),
        ("selection", "selection.", suite.Selection),
        ("resources", "resources.", suite.Resources),
    ]
    parts = [
        "# Suite file",
        "One YAML file. Every key that is not here is an error, which names the file, the line and "
        "the nearest key. Any key can be changed for one call: `--set recipe.epochs=3`, "
        "`--set losses.lgm.lambda=0.2` (every row of that loss).",
    ]
    for title, prefix, model in levels:
        doc = parse(model)
        told = doc.items("Attributes")
        rows = [
            (code(prefix + name), told.get(name, ""), kind(field), default_of(field))
            for name, field in model.model_fields.items()
        ]
        parts += [f"## {title}", doc.summary, table(("key", "", "values", "default"), rows)]
    parts.append(components("optimizer", OPTIMIZERS, "##"))
    parts.append(components("schedule", SCHEDULES, "##"))
    parts.append(components("augment", AUGMENTATIONS, "##"))
    return "\n\n".join(parts)


def kind(field: FieldInfo) -> str:
    """The values that a field takes, as code: `float, >= 0`; `identity | diagonal`."""
    bounds: list[str] = []
    names = _kind(field.annotation, bounds)
    for rule in field.metadata:
        _bound(rule, bounds)
    return code(", ".join([names, *dict.fromkeys(bounds)]))


def _bound(rule: Any, bounds: list[str]) -> None:
    if isinstance(rule, FieldInfo):
        for inner in rule.metadata:
            _bound(inner, bounds)
    for key, sign in (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<=")):
        if getattr(rule, key, None) is not None:
            bounds.append(f"{sign} {getattr(rule, key):.6g}")


def _kind(annotation: Any, bounds: list[str]) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if hasattr(annotation, "__metadata__"):  # Annotated
        for rule in annotation.__metadata__:
            _bound(rule, bounds)
        return _kind(annotation.__origin__, bounds)
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin in (list, tuple):
        return f"list of {_kind(arguments[0], bounds)}"
    if origin is dict:
        return f"mapping to {_kind(arguments[1], bounds)}"
    if arguments:  # a union
        kinds = [_kind(one, bounds) for one in arguments if one is not type(None)]
        return " | ".join(dict.fromkeys(kinds))
    names = {suite.Component: "name, or name with parameters", Any: "value", dict: "mapping"}
    if annotation in names:
        return names[annotation]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mapping"
    return str(getattr(annotation, "__name__", annotation))


def default_of(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or value is PydanticUndefined:
        return "none"
    return code(_plain(value))


def _plain(value: Any) -> str:
    if isinstance(value, suite.Component):
        return value.name
    if isinstance(value, list):
        return f"[{', '.join(_plain(one) for one in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_plain(one)}' for key, one in value.items())}}}"
    if isinstance(value, BaseModel):
        return "its own defaults" if value.model_fields_set else "{}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def components(title: str, registry: Registry[Any], level: str = "##") -> str:
    """A section for each entry of a registry."""
    head = f"{level} {title}" if level == "##" else ""
    made = [component(registry[name], level + "#" if head else "##") for name in registry]
    return "\n\n".join(part for part in [head, *made] if part)


def component(entry: Entry[Any], level: str) -> str:
    doc = parse(entry.factory)
    body = re.sub(r"\n{3,}", "\n\n", "\n".join(doc.body)).strip()
    parts = [f"{level} {entry.name}", f"{doc.summary}", body]
    if entry.reference:
        parts.append(f"*{entry.reference}*")
    parts.append(parameters(entry))
    return "\n\n".join(part for part in parts if part)


def parameters(entry: Entry[Any]) -> str:
    """The table of what a suite can set."""
    told = parse(entry.factory).items("Args")
    rows = [
        (code(name), told.get(name, ""), kind(field), default_of(field))
        for name, field in entry.parameters.model_fields.items()
    ]
    return table(("parameter", "", "values", "default"), rows)


def models() -> str:
    intro = (
        "# Models\n\nA model maps images to features of `feature_dim` dimensions; the loss owns "
        "what turns them into classes. Any model of timm can be named, too, as `timm.resnet18` "
        "(`pip install 'lossbench[timm]'`; `lossbench list models timm.resnet18` shows its "
        "parameters)."
    )
    return f"{intro}\n\n{components('', MODELS, '#')}"


def evaluations() -> str:
    intro = (
        "# Evaluations\n\nWhat `evaluate:` can list. Each is measured once, after the last epoch, "
        "in float32."
    )
    return f"{intro}\n\n{components('', EVALUATIONS, '#')}"


def datasets() -> str:
    rows = []
    for name in sources.DATASETS:
        entry = sources.DATASETS[name]
        source = entry.create()
        how = "comes with lossbench" if source.bundled else code(f"lossbench data prepare {name}")
        if name == "lfw_within":
            how = "made from `lfw`"
        rows.append((code(name), source.description, how, entry.reference))
    return "# Data sets\n\n" + table(("name", "", "how to get it", "reference"), rows)


def version() -> str:
    return lossbench.__version__


def loss_names() -> list[str]:
    """Those of lossbench itself, in the order of a table: the reference first."""
    own = [name for name in LOSSES if not LOSSES[name].foreign]
    return sorted(own, key=lambda name: (name != "softmax", name))
