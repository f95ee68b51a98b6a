"""Names and parameters of a suite's components, checked against their registries."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from lossbench.data.augmentation import AUGMENTATIONS
from lossbench.errors import ParameterError, Path, Problem, RequestError
from lossbench.evaluation import EVALUATIONS
from lossbench.losses import LOSSES
from lossbench.models import MODELS
from lossbench.planning.rows import expand_grids, is_grid
from lossbench.planning.search import Search, Span, is_search, read_space, search_problems
from lossbench.registry import Registry
from lossbench.suite.schema import Component, Suite
from lossbench.training.optimizers import OPTIMIZERS
from lossbench.training.schedules import SCHEDULES

MAX_ROWS = 1000
"""Of one loss: more would be a mistake, and would fill the memory before they are told."""


def _resolve(
    registry: Registry[Any], chosen: Component, path: Path, problems: list[Problem]
) -> Component:
    """Fill in defaults; what is wrong goes to `problems`."""
    try:
        return Component(name=chosen.name, params=registry[chosen.name].resolve(chosen.params))
    except ParameterError as error:
        problems.extend(Problem((*path, *p.path), p.message) for p in error.problems)
    except RequestError as error:  # an unknown name, or a library that is not installed
        problems.append(Problem(path, str(error)))
    return chosen


def resolve_components(suite: Suite, problems: list[Problem]) -> Suite:
    """A suite with every default filled in, but for its losses; what is wrong to `problems`."""
    recipe = suite.recipe
    optimizer = _resolve(OPTIMIZERS, recipe.optimizer, ("recipe", "optimizer"), problems)
    schedule = _resolve(SCHEDULES, recipe.schedule, ("recipe", "schedule"), problems)
    model = _resolve(MODELS, suite.model, ("model",), problems)
    variants = {}
    for name, variant in suite.variants.items():
        path = ("variants", name)
        if variant.model and model.name in MODELS:
            chosen = suite.variant_model(name)
            full = _resolve(MODELS, chosen, (*path, "model"), problems)
            variant = variant.model_copy(update={"model": {"name": full.name, **full.params}})
        augment = [
            _resolve(AUGMENTATIONS, chosen, (*path, "augment", index, chosen.name), problems)
            for index, chosen in enumerate(variant.augment)
        ]
        variants[name] = variant.model_copy(update={"augment": augment})
    evaluate = [
        _resolve(
            EVALUATIONS,
            chosen,
            ("evaluate", index, chosen.name) if chosen.name in EVALUATIONS else ("evaluate", index),
            problems,
        )
        for index, chosen in enumerate(suite.evaluate)
    ]
    resolved = suite.model_copy(
        update={
            "model": model,
            "evaluate": evaluate,
            "variants": variants,
            "recipe": recipe.model_copy(update={"optimizer": optimizer, "schedule": schedule}),
        }
    )
    return resolved


def resolve_losses(
    chosen: Iterable[Component], where: Path, problems: list[Problem]
) -> list[Component | Search]:
    """Losses with grids expanded and every default filled in; what is wrong to `problems`."""
    losses: list[Component | Search] = []
    for index, loss in enumerate(chosen):
        path: Path = (*where, index)
        try:
            LOSSES[loss.name]
        except RequestError as error:  # unknown, or its library is not installed
            problems.append(Problem(path, str(error)))
            continue
        path = (*path, loss.name)
        broken = [
            Problem((*path, key, "grid"), "should be a list of at least one value")
            for key, value in loss.params.items()
            if is_grid(value) and not (isinstance(value["grid"], list) and value["grid"])
        ]
        sizes = [len(v["grid"]) for v in loss.params.values() if is_grid(v) and not broken]
        if (count := math.prod(sizes)) > MAX_ROWS:
            message = f"its grids make {count:,} rows; at most {MAX_ROWS:,} are taken"
            broken.append(Problem(path, message))
        broken += [Problem((*path, *p.path), p.message) for p in search_problems(loss.params)]
        searched = any(map(is_search, loss.params.values()))
        if searched and any(map(is_grid, loss.params.values())):
            broken.append(Problem(path, "has a grid and a search; give it one or the other"))
        problems.extend(broken)
        if searched and not broken:
            losses += _resolve_search(loss, path, problems)
        elif not broken:
            found: list[Problem] = []
            losses += [_resolve(LOSSES, point, path, found) for point in expand_grids(loss)]
            problems.extend(dict.fromkeys(found))
    return losses


def _resolve_search(loss: Component, path: Path, problems: list[Problem]) -> list[Search]:
    """A search whose every value the loss takes; none where something is wrong."""
    entry = LOSSES[loss.name]
    spaces = {k: read_space(v["search"]) for k, v in loss.params.items() if is_search(v)}
    given = {key: value for key, value in loss.params.items() if key not in spaces}
    fields = entry.parameters.model_fields
    middle = dict(given)
    for key, space in spaces.items():
        known = key in fields and not fields[key].is_required()
        first = space.low if isinstance(space, Span) else space[0]
        middle[key] = fields[key].default if known else first
    whole, found = set(), list[Problem]()
    for key, space in spaces.items():
        listed = [space.low, space.high] if isinstance(space, Span) else list(space)
        for value in listed:
            wrong = _wrong(loss.name, {**middle, key: value}, key)
            if wrong and isinstance(value, float) and value.is_integer():
                wrong_whole = _wrong(loss.name, {**middle, key: int(value)}, key)
                if not wrong_whole:
                    whole.add(key)
                wrong = wrong_whole
            found += [Problem((*path, key, "search"), message) for message in wrong]
    base = Component(name=loss.name, params=middle)
    if not found:
        for key in whole & middle.keys():
            if isinstance(middle[key], float):
                middle[key] = int(middle[key])
        base = _resolve(LOSSES, Component(name=loss.name, params=middle), path, found)
    problems.extend(dict.fromkeys(found))
    return [] if found else [Search(base, spaces, frozenset(whole))]


def _wrong(name: str, params: dict[str, Any], key: str) -> list[str]:
    """What a loss has against the value of one of its parameters."""
    try:
        LOSSES[name].resolve(params)
    except ParameterError as error:
        return [p.message for p in error.problems if p.path[:1] == (key,)]
    return []
