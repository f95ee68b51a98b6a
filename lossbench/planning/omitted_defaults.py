"""Default values that trials leave out, because their parameters were added later.

A suite has them only where they replace another value: as a tuned value, or in a column whose suite
has another value. Without them, a trial has the identity that it had before the parameter existed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lossbench.suite.schema import Component, Recipe

OmittedDefaults = Mapping[str, Mapping[str, Any]]
"""Kind and name of a component, as in `schedule cosine` -> parameter -> default."""


def recipe_without_defaults(recipe: Recipe, omitted: OmittedDefaults) -> Recipe:
    """The recipe with the optimizer and the schedule that a trial has."""
    optimizer = without_defaults("optimizer", recipe.optimizer, omitted)
    schedule = without_defaults("schedule", recipe.schedule, omitted)
    if (optimizer, schedule) == (recipe.optimizer, recipe.schedule):
        return recipe
    return recipe.model_copy(update={"optimizer": optimizer, "schedule": schedule})


def without_defaults(kind: str, chosen: Component, omitted: OmittedDefaults) -> Component:
    """The component as a trial has it."""
    defaults = omitted.get(f"{kind} {chosen.name}", {})
    kept = {k: v for k, v in chosen.params.items() if k not in defaults or v != defaults[k]}
    return chosen if kept == chosen.params else Component(name=chosen.name, params=kept)
