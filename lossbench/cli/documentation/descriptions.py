"""Descriptions of components for `lossbench list`, stored so that it need not import them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from lossbench.errors import RequestError
from lossbench.suite.cache import installation_digest, read_cached, write_cached

if TYPE_CHECKING:
    from lossbench.registry import Entry, Registry

CACHE_NAME = "components"
METRIC_HEADINGS = ("metric", "meaning", "unit", "better", "group")


@dataclass(frozen=True)
class ParameterDescription:
    """One parameter of a component.

    Attributes:
        name: Name in suites.
        default: Its default as text.
        values: Its type and range as text.
        meaning: Its description; None if the docstring has none.
    """

    name: str
    default: str
    values: str
    meaning: str | None


@dataclass(frozen=True)
class ComponentDescription:
    """Description of a component that `lossbench list` prints.

    Attributes:
        name: Name in suites.
        reference: Paper of the component.
        summary: First line of the docstring.
        equation: Lines of its equation.
        docstring: The whole docstring.
        body: The docstring without its sections.
        sections: Title -> text of each section of the docstring, without the parameters.
        parameters: Its parameters.
        metrics: Name, label, unit, direction and group of each metric of an evaluation, with
            default parameters.
    """

    name: str
    reference: str
    summary: str
    equation: Sequence[str]
    docstring: str
    body: str
    sections: Mapping[str, str]
    parameters: Sequence[ParameterDescription]
    metrics: Sequence[Sequence[str]]


@dataclass(frozen=True)
class KindDescription:
    """The components of one kind.

    Attributes:
        components: Components by name.
        libraries: Entry that represents the components of a library, by the library's prefix.
        broken: Component of an installed package that cannot be used -> why.
    """

    components: Mapping[str, ComponentDescription]
    libraries: Mapping[str, ComponentDescription]
    broken: Mapping[str, str] = field(default_factory=dict)


def describe_kind(plural: str) -> KindDescription | None:
    """Describe lossbench's components of a kind, such as `losses`, by stored descriptions.

    What is stored is valid only for the installation that has stored it. If other packages have
    components, nothing is stored, because these may depend on anything.

    Returns:
        The components of the kind; None if other packages have components.
    """
    key = installation_digest()
    try:
        return _from_json(read_cached(CACHE_NAME, key)[plural])
    except (KeyError, TypeError, ValueError, AttributeError):  # nothing stored
        pass
    from lossbench.assembly.registries import REGISTRIES

    if any(set(registry) != set(registry.builtin_names) for registry in REGISTRIES):
        return None
    described = {registry.plural: describe_registry(registry) for registry in REGISTRIES}
    if installation_digest() == key:  # no file was changed since
        write_cached(CACHE_NAME, key, {kind: asdict(each) for kind, each in described.items()})
    return described[plural]


def describe_registry(registry: Registry[Any]) -> KindDescription:
    """Describe all components of a registry, those of installed packages included."""
    components, broken = {}, {}
    for name in registry:
        try:
            components[name] = describe(registry[name])
        except RequestError as error:  # an installed package that is broken
            broken[name] = str(error)
    libraries = {each.prefix: describe(each.placeholder) for each in registry.libraries}
    return KindDescription(components, libraries, broken)


def describe(entry: Entry[Any]) -> ComponentDescription:
    """Describe a component by its docstring and its parameters."""
    from lossbench.cli.documentation.docstrings import (
        equation_of,
        parameter_meanings,
        parse_docstring,
    )
    from lossbench.cli.documentation.metrics import example_metrics, metric_cells
    from lossbench.cli.documentation.parameters import default_text, values_text

    parsed = parse_docstring(entry.factory)
    meanings = parameter_meanings(entry)
    metrics = []
    if entry.kind == "evaluation":
        metrics = [metric_cells(metric) for metric in example_metrics(entry)]
    return ComponentDescription(
        name=entry.name,
        reference=entry.reference,
        summary=entry.summary,
        equation=tuple(equation_of(entry.factory)),
        docstring=inspect.cleandoc(entry.factory.__doc__ or "no description"),
        body="\n".join([parsed.summary, *parsed.body]).rstrip(),
        sections={
            title: "\n".join([f"{title}:", *lines]).rstrip()
            for title, lines in parsed.sections.items()
            if title != "Args"
        },
        parameters=tuple(
            ParameterDescription(name, default_text(field), values_text(field), meanings.get(name))
            for name, field in entry.parameters.model_fields.items()
        ),
        metrics=metrics,
    )


def _from_json(found: Any) -> KindDescription:
    """Inverse of `asdict`."""
    return KindDescription(
        components={name: _component(each) for name, each in found["components"].items()},
        libraries={name: _component(each) for name, each in found["libraries"].items()},
    )


def _component(found: Any) -> ComponentDescription:
    parameters = tuple(ParameterDescription(**each) for each in found["parameters"])
    return ComponentDescription(**{**found, "parameters": parameters})
