"""Tuned recipe keys: their values in a recipe, their combinations, and their short names.

A suite's `tune` gives values for keys of the recipe, for example the learning rate. Each entry of
`losses` is then trained with several recipes, and the best one is chosen on held-out images.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping
from typing import Any

from lossbench.suite.grammar import SearchRange, Space, is_grid, read_space
from lossbench.suite.schema import Recipe, Suite

Tuned = Mapping[str, Any]
"""Dotted key of the recipe -> value, for example {"recipe.optimizer.lr": 0.1}."""

COMPONENTS = ("optimizer", "schedule")
"""Keys of the recipe whose parameters can be tuned."""
PLAIN_KEYS = ("batch_size", "epochs", "clip_norm")
"""Other keys of the recipe that can be tuned."""
BATCH_SIZE = "recipe.batch_size"


def tuned_recipe(recipe: Recipe, tuned: Tuned) -> Recipe:
    """The recipe with the values of tuned keys.

    Raises:
        ValidationError: The recipe does not accept a value.
        KeyError: The recipe does not have a key.
    """
    if not tuned:
        return recipe
    content = recipe.model_dump()
    for key, value in tuned.items():
        _, first, *rest = key.split(".", 2)
        if not rest:
            content[first] = value
            continue
        params = content[first]["params"]
        if rest[0] not in params:
            raise KeyError(key)
        params[rest[0]] = value
    return Recipe.model_validate(content)


def recipe_value(recipe: Recipe, key: str) -> Any:
    """Value of a dotted key, as in `recipe.optimizer.lr`, in a recipe with all defaults."""
    _, first, *rest = key.split(".", 2)
    value = getattr(recipe, first)
    return value.params[rest[0]] if rest else value


def tuned_grids(suite: Suite) -> dict[str, list[Any]]:
    """Tuned key with a grid -> its values."""
    return {key: given["grid"] for key, given in suite.tune.items() if is_grid(given)}


def tuned_spaces(suite: Suite) -> dict[str, Space]:
    """Tuned key with a search -> its range, or the values to choose from."""
    return {
        key: read_space(given["search"]) for key, given in suite.tune.items() if not is_grid(given)
    }


def grid_combinations(suite: Suite) -> list[dict[str, Any]]:
    """The combinations of the tuned grids; a single empty one without grids."""
    grids = tuned_grids(suite)
    return [dict(zip(grids, values, strict=True)) for values in itertools.product(*grids.values())]


def tuned_values(suite: Suite, key: str) -> list[Any]:
    """Values given for a tuned key, or the two limits of its range."""
    if is_grid(suite.tune[key]):
        return list(suite.tune[key]["grid"])
    space = tuned_spaces(suite)[key]
    return [space.low, space.high] if isinstance(space, SearchRange) else list(space)


def tuned_batch_sizes(suite: Suite) -> list[int]:
    """All batch sizes that `tune` allows; empty if it is not tuned."""
    if BATCH_SIZE not in suite.tune:
        return []
    values = tuned_values(suite, BATCH_SIZE)
    if isinstance(tuned_spaces(suite).get(BATCH_SIZE), SearchRange):
        return list(range(int(values[0]), int(values[1]) + 1))
    return [int(value) for value in values]


def count_combinations(spaces: Mapping[str, Space], integers: Collection[str]) -> float:
    """Number of points in the product of spaces; infinite if a space is a range of real numbers.

    Args:
        spaces: Key -> a range, or the values to choose from.
        integers: Keys whose ranges have integers only.
    """

    def size(key: str, space: Space) -> float:
        if not isinstance(space, SearchRange):
            return len(space)
        return int(space.high) - int(space.low) + 1 if key in integers else math.inf

    return math.prod(size(key, space) for key, space in spaces.items())


def short_names(keys: Collection[str], params: Collection[str]) -> dict[str, str]:
    """Tuned key -> its shortest unique suffix, for example `lr` for `recipe.optimizer.lr`.

    Args:
        keys: All tuned keys of the suite.
        params: Parameters of the loss; a tuned key of the same name keeps more of its parts, as in
            `schedule.gamma`.
    """
    names = {}
    for key in keys:
        parts = key.split(".")
        ends = [".".join(parts[i:]) for i in range(len(parts) - 1, -1, -1)]
        others = [*params, *(f".{other}" for other in keys if other != key)]
        names[key] = next(
            (
                end
                for end in ends
                if not any(other == end or other.endswith(f".{end}") for other in others)
            ),
            key,
        )
    return names


def format_space(suite: Suite, key: str) -> str:
    """`in [0.003, 0.3] (log)`, or `one of 0, 0.0005`."""
    if not is_grid(suite.tune[key]):
        space = tuned_spaces(suite)[key]
        if isinstance(space, SearchRange):
            return f"in [{space.low:g}, {space.high:g}]{' (log)' if space.log else ''}"
    return f"one of {', '.join(map(_text, tuned_values(suite, key)))}"


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
