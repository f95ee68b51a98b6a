"""Settings of a column: those of the suite with the differences of its variant.

Within a column everything but the loss is the same for every row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from lossbench.errors import Loc, Problem, validation_problems
from lossbench.suite.schema import Component, DatasetChoice, Recipe, Suite

Content = TypeVar("Content", bound=BaseModel)


@dataclass(frozen=True)
class ColumnSettings:
    """Complete settings of a column; see `Suite` for their meaning."""

    dataset: DatasetChoice
    model: Component
    augment: tuple[Component, ...]
    recipe: Recipe
    evaluate: tuple[Component, ...]


def suite_settings(suite: Suite) -> ColumnSettings:
    """Settings of a column without differences from the suite."""
    return ColumnSettings(
        dataset=suite.dataset,
        model=suite.model,
        augment=tuple(suite.augment),
        recipe=suite.recipe,
        evaluate=tuple(suite.evaluate),
    )


def column_settings(suite: Suite, variant: str) -> ColumnSettings:
    """Settings of a column.

    A variant replaces single keys of `dataset` and `recipe` (and of `recipe.input`), and the whole
    lists `augment` and `evaluate`. In `model`, `recipe.optimizer` and `recipe.schedule` it replaces
    single parameters, or, with another name, everything, because parameters belong to a name.

    Raises:
        ValidationError: The differences do not have the form of these settings.
    """
    own = suite.variants[variant]
    return ColumnSettings(
        dataset=column_dataset(suite, variant),
        model=_column_model(suite, variant),
        augment=tuple(suite.augment if own.augment is None else own.augment),
        recipe=column_recipe(suite, variant),
        evaluate=tuple(suite.evaluate if own.evaluate is None else own.evaluate),
    )


def column_dataset(suite: Suite, variant: str) -> DatasetChoice:
    """The data set of a column; see `column_settings`."""
    return _overlaid(suite.dataset, suite.variants[variant].dataset)


def column_recipe(suite: Suite, variant: str) -> Recipe:
    """The recipe of a column; see `column_settings`."""
    recipe, own = suite.recipe, dict(suite.variants[variant].recipe)
    for key, base in (("optimizer", recipe.optimizer), ("schedule", recipe.schedule)):
        if isinstance(own.get(key), str | Mapping):
            own[key] = _overlaid_component(base, own[key])
    if isinstance(own.get("input"), Mapping):
        own["input"] = {**_fields(recipe.input), **own["input"]}
    return _overlaid(recipe, own)


def overlay_component(base: Component, own: str | Mapping[str, Any]) -> Component:
    """A component with other parameters, or another component.

    Args:
        base: The component of the suite.
        own: Name, parameters, or both, as in a suite file: `adamw`, `{lr: 0.1}`,
            `{name: adamw, lr: 0.001}`.

    Raises:
        ValidationError: `own` does not have this form.
    """
    return Component.model_validate(_overlaid_component(base, own))


def _overlaid_component(base: Component, own: str | Mapping[str, Any]) -> dict[str, Any]:
    """The unchecked content of the component; see `overlay_component`."""
    given = {"name": own} if isinstance(own, str) else dict(own)
    name = given.pop("name", base.name)
    if set(given) == {"params"} and isinstance(given["params"], Mapping):
        given = dict(given["params"])
    inherited = base.params if name == base.name else {}
    return {"name": name, "params": {**inherited, **given}}


def column_problems(suite: Suite, keys_at: Callable[[Loc], Iterable[str]]) -> list[Problem]:
    """Problems of the form of the variants' differences.

    Args:
        suite: Suite whose own settings are valid.
        keys_at: Returns the valid keys at a location of the suite file.
    """
    problems: list[Problem] = []
    readers = (("dataset", column_dataset), ("model", _column_model), ("recipe", column_recipe))
    for name, variant in suite.variants.items():
        for part, read in readers:
            try:
                read(suite, name)
            except ValidationError as error:
                found = validation_problems(error, partial(_keys_below, keys_at, part))
                problems += [problem.under(("variants", name, part)) for problem in found]
        for part, form in (("augment", "a list, or `none`"), ("evaluate", "a list")):
            if part in variant.model_fields_set and getattr(variant, part) is None:
                problems.append(Problem(("variants", name, part), f"should be {form}, not None"))
    return problems


def _column_model(suite: Suite, variant: str) -> Component:
    return overlay_component(suite.model, suite.variants[variant].model)


def _keys_below(keys_at: Callable[[Loc], Iterable[str]], part: str, loc: Loc) -> Iterable[str]:
    return keys_at((part, *loc))


def setting_location(suite: Suite, variant: str, loc: Loc) -> Loc:
    """Location of a column's setting: in its variant if that sets it, otherwise in the suite.

    Args:
        suite: The suite.
        variant: Name of the column.
        loc: Location in a suite without variants, such as `("recipe", "batch_size")`.
    """
    own: Any = getattr(suite.variants[variant], str(loc[0]))
    is_set = loc[1] in own if loc[0] in ("dataset", "recipe") and len(loc) > 1 else bool(own)
    return ("variants", variant, *loc) if is_set else loc


def joined_problems(suite: Suite, by_column: Mapping[str, Iterable[Problem]]) -> list[Problem]:
    """The distinct problems of all columns.

    The message of a problem at a key of the suite names the columns that have the problem, unless
    all columns have it.

    Args:
        suite: The suite.
        by_column: Variant -> problems of the column.
    """
    columns: dict[Problem, list[str]] = {}
    for variant, problems in by_column.items():
        for problem in dict.fromkeys(problems):
            columns.setdefault(problem, []).append(variant)
    everywhere = len(suite.variants)
    return [
        problem
        if problem.loc[:1] == ("variants",) or len(names) == everywhere
        else replace(problem, message=f"in column {', '.join(names)}: {problem.message}")
        for problem, names in columns.items()
    ]


def _overlaid(base: Content, own: Mapping[str, Any]) -> Content:
    return type(base).model_validate({**_fields(base), **own}) if own else base


def _fields(content: BaseModel) -> dict[str, Any]:
    """Name of each field -> its value, unconverted; unlike `model_dump`, with the unused keys."""
    return {name: getattr(content, name) for name in type(content).model_fields}
