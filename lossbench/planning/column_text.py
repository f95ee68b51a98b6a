"""Differences between the columns of a plan, as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lossbench.planning.nested import is_component
from lossbench.planning.plan import Plan
from lossbench.planning.rows import short_value
from lossbench.suite.columns import ColumnSettings


def column_texts(plan: Plan) -> dict[str, str]:
    """Variant -> its values of the settings that differ between columns.

    As in `recipe.epochs 3, model.feature_dim 2`. A value that more than half of the columns have is
    left out; columns without other values are not in the result.
    """
    if not plan.has_variants:
        return {}
    parts: dict[str, list[str]] = {name: [] for name in plan.settings}
    for path, values in differing_settings(plan).items():
        listed = list(values.values())
        for name, value in values.items():
            if 2 * listed.count(value) <= len(listed):
                parts[name].append(f"{path} {_text(value)}")
    return {name: ", ".join(texts) for name, texts in parts.items() if texts}


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
    if components and len({value["name"] for value in values}) == 1:
        values = [value["params"] for value in values]
    elif components or not all(isinstance(value, Mapping) for value in values):
        yield path, values
        return
    for key in dict.fromkeys(key for value in values for key in value):
        own = [value.get(key) for value in values]  # a missing key is an unset one
        yield from _differences(f"{path}.{key}".lstrip("."), own)


def _text(value: Any) -> str:
    if value is None or value == []:
        return "none"
    if is_component(value):
        inside = ", ".join(f"{key}={_text(item)}" for key, item in value["params"].items())
        return f"{value['name']}({inside})" if inside else str(value["name"])
    if isinstance(value, Mapping):
        return " ".join(f"{key} {_text(item)}" for key, item in value.items())
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    return short_value(value)
