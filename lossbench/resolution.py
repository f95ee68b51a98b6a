"""Names and parameters of a suite's components, checked against their registries."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from lossbench.data.augmentation import AUGMENTATIONS
from lossbench.errors import ParameterError, Path, Problem, RequestError, did_you_mean
from lossbench.evaluation import EVALUATIONS
from lossbench.losses import LOSSES
from lossbench.models import MODELS
from lossbench.plan import expand_grids, is_grid
from lossbench.registry import Registry
from lossbench.suite import Component, Suite
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
) -> list[Component]:
    """Losses with grids expanded and every default filled in; what is wrong to `problems`."""
    losses = []
    for index, loss in enumerate(chosen):
        path: Path = (*where, index)
        if loss.name not in LOSSES:
            problems.append(
                Problem(path, f"unknown loss {loss.name!r}{did_you_mean(loss.name, LOSSES)}")
            )
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
        problems.extend(broken)
        if not broken:
            found: list[Problem] = []
            losses += [_resolve(LOSSES, point, path, found) for point in expand_grids(loss)]
            problems.extend(dict.fromkeys(found))
    return losses
