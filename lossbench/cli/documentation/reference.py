"""Pages generated from the code: keys of the suite file, models, evaluations, data sets."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from lossbench.cli.documentation.descriptions import METRIC_HEADINGS
from lossbench.cli.documentation.docstrings import parameter_meanings, parse_docstring
from lossbench.cli.documentation.markdown_parts import Row, code, table
from lossbench.cli.documentation.metrics import example_metrics, metric_cells
from lossbench.cli.documentation.parameters import default_text, values_text
from lossbench.data import sources
from lossbench.data.augmentation import AUGMENTATIONS
from lossbench.evaluation import EVALUATIONS
from lossbench.losses import LOSSES
from lossbench.models import MODELS
from lossbench.registry import Entry, Registry
from lossbench.suite import data_conditions as conditions
from lossbench.suite import schema as suite
from lossbench.suite.weight_averaging import WeightAveraging
from lossbench.training.optimizers import OPTIMIZERS
from lossbench.training.schedules import SCHEDULES


def suite_file() -> str:
    """Return the page of a suite file's keys."""
    levels: list[tuple[str, str, type[BaseModel]]] = [
        ("Top level", "", suite.Suite),
        ("dataset", "dataset.", suite.DatasetChoice),
        ("dataset.imbalance", "dataset.imbalance.", conditions.Imbalance),
        ("dataset.label_noise", "dataset.label_noise.", conditions.LabelNoise),
        (
            "dataset.label_noise.asymmetric",
            "dataset.label_noise.asymmetric.",
            conditions.AsymmetricNoise,
        ),
        ("recipe", "recipe.", suite.Recipe),
        ("recipe.weight_averaging", "recipe.weight_averaging.", WeightAveraging),
        ("recipe.input", "recipe.input.", suite.Input),
        ("variants.NAME", "variants.NAME.", suite.Variant),
        ("selection", "selection.", suite.Selection),
        ("resources", "resources.", suite.Resources),
    ]
    parts = [
        "# Suite file",
        "A suite is one YAML file. A key that is not listed here is an error; its message has the "
        "file, the line and the nearest key. `--set` overrides a key for one call: "
        "`--set recipe.epochs=3`, `--set losses.lgm.lambda=0.2` (every row of that loss).",
    ]
    for title, prefix, model in levels:
        doc = parse_docstring(model)
        descriptions = doc.items("Attributes")
        rows = [
            _row(prefix + (field.alias or name), descriptions.get(name, ""), field)
            for name, field in model.model_fields.items()
        ]
        parts += [f"## {title}", doc.summary, table(("key", "", "values", "default"), rows)]
    parts.append(components("optimizer", OPTIMIZERS, "##"))
    parts.append(components("schedule", SCHEDULES, "##"))
    parts.append(components("augment", AUGMENTATIONS, "##"))
    return "\n\n".join(parts)


def components(title: str, registry: Registry[Any], level: str = "##") -> str:
    """Return a section for each of lossbench's own entries of a registry."""
    head = f"{level} {title}" if level == "##" else ""
    below = level + "#" if head else "##"
    sections = [component(registry[name], below) for name in registry.builtin_names]
    return "\n\n".join(part for part in [head, *sections] if part)


def component(entry: Entry[Any], level: str) -> str:
    """Return the section of an entry: its docstring, its reference and its parameters."""
    doc = parse_docstring(entry.factory)
    body = re.sub(r"\n{3,}", "\n\n", "\n".join(doc.body)).strip()
    parts = [f"{level} {entry.name}", f"{doc.summary}", body]
    if entry.reference:
        parts.append(f"*{entry.reference}*")
    parts.append(parameters(entry))
    return "\n\n".join(part for part in parts if part)


def parameters(entry: Entry[Any]) -> str:
    """Return the table of the parameters that a suite can set."""
    descriptions = parameter_meanings(entry)
    rows = [
        _row(name, descriptions.get(name, ""), field)
        for name, field in entry.parameters.model_fields.items()
    ]
    return table(("parameter", "", "values", "default"), rows)


def _row(name: str, description: str, field: FieldInfo) -> Row:
    default = default_text(field)
    if default not in ("required", "none"):
        default = code(default)
    return code(name), description, code(values_text(field)), default


def models() -> str:
    """Return the page of the models."""
    intro = (
        "# Models\n\nA model maps images to features of `feature_dim` dimensions; the loss head "
        "maps these to class scores. Models of torchvision can be used as well, as "
        "`torchvision.resnet18`, and those of timm, as `timm.resnet18` (`pip install "
        "'lossbench[timm]'`); `lossbench list models timm.resnet18` prints the parameters."
    )
    return f"{intro}\n\n{components('', MODELS, '#')}"


def evaluations() -> str:
    """Return the page of the evaluations."""
    parts = [
        "# Evaluations",
        "Entries of the key `evaluate`. Each is measured once, after the last epoch, on features "
        "in float32. The tables of metrics have their names with the default parameters, and "
        "whether higher or lower values are better.",
    ]
    for name in EVALUATIONS.builtin_names:
        entry = EVALUATIONS[name]
        rows = [(code(cells[0]), *cells[1:]) for cells in map(metric_cells, example_metrics(entry))]
        parts += [component(entry, "##"), table(METRIC_HEADINGS, rows)]
    return "\n\n".join(parts)


def datasets() -> str:
    """Return the page of the data sets."""
    rows = []
    for name in sources.known_names():
        entry = sources.DATASETS[name]
        source = entry.create()
        how = "comes with lossbench" if source.bundled else code(f"lossbench data prepare {name}")
        if name == "lfw_within":
            how = "made from `lfw`"
        rows.append((code(name), source.description, how, entry.reference))
    return "# Data sets\n\n" + table(("name", "", "how to get it", "reference"), rows)


def loss_names() -> list[str]:
    """Return the names of lossbench's own losses, `softmax` first."""
    return sorted(LOSSES.builtin_names, key=lambda name: (name != "softmax", name))
