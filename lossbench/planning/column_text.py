"""Differences between the columns of a plan, as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lossbench.planning.nested import is_component
from lossbench.planning.plan import Plan
from lossbench.planning.rows import short_value
from lossbench.suite.columns import ColumnSettings, suite_settings

_PARTS = ("classes", "train_size", "test_size", "per_class")
"""Keys of `dataset` that select a part of the images; without a key all images are used."""


def column_texts(plan: Plan) -> dict[str, str]:
    """Variant -> its values of the settings that differ between columns.

    For example `recipe.epochs 3, model.feature_dim 2`. If several settings differ, only one column
    lists all of them: the one with the settings of the suite, or else the first one. The others
    list their differences from it: `as base, but recipe.epochs 3`. Empty for a suite without
    variants.
    """
    differing = differing_settings(plan)
    if not differing or not plan.has_variants:
        return {}
    own = suite_settings(plan.suite)
    alike = (name for name, settings in plan.settings.items() if settings == own)
    complete = next(alike, next(iter(plan.settings)))
    texts = {}
    for name in plan.settings:
        whole = name == complete or len(differing) == 1
        listed = ", ".join(
            f"{path} {_value_text(path, values[name])}"
            for path, values in differing.items()
            if whole or values[name] != values[complete]
        )
        texts[name] = listed if whole else f"as {complete}, but {listed}"
    return texts


def differing_settings(plan: Plan) -> dict[str, dict[str, Any]]:
    """Dotted path of each setting that differs between columns -> variant -> value.

    The value is None in a column without the setting.
    """
    contents = [_content(settings) for settings in plan.settings.values()]
    return {
        path: dict(zip(plan.settings, values, strict=True))
        for path, values in _differences("", contents)
    }


def _content(settings: ColumnSettings) -> dict[str, Any]:
    return {
        "dataset": settings.dataset.model_dump(mode="json"),
        "model": settings.model.model_dump(mode="json"),
        "augment": [chosen.model_dump(mode="json") for chosen in settings.augment],
        "recipe": settings.recipe.model_dump(mode="json"),
        "evaluate": [chosen.model_dump(mode="json") for chosen in settings.evaluate],
    }


def _differences(path: str, values: Sequence[Any]) -> Iterator[tuple[str, Sequence[Any]]]:
    """Yield each key whose value differs between columns, with the value of each column."""
    if all(value == values[0] for value in values):
        return
    components = all(map(is_component, values))
    whole = components or path == "recipe.weight_averaging"  # keys belong to a name
    if components and len({value["name"] for value in values}) == 1:
        values = [value["params"] for value in values]
    elif whole or not all(isinstance(value, Mapping) for value in values):
        yield path, values
        return
    for key in dict.fromkeys(key for value in values for key in value):
        own = [value.get(key) for value in values]  # a missing key is the same as null
        yield from _differences(f"{path}.{key}".lstrip("."), own)


def _value_text(path: str, value: Any) -> str:
    return "all" if value is None and path.rpartition(".")[2] in _PARTS else _text(value)


def _text(value: Any) -> str:
    if value is None or value == []:
        return "none"
    if isinstance(value, Mapping) and "name" in value:
        rest = {key: item for key, item in value.items() if key != "name"}
        params = value["params"] if is_component(value) else rest
        inside = ", ".join(f"{key}={_text(item)}" for key, item in params.items())
        return f"{value['name']}({inside})" if inside else str(value["name"])
    if isinstance(value, Mapping):
        return " ".join(f"{key} {_text(item)}" for key, item in value.items())
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    return short_value(value)
