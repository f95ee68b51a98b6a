"""Names and parameters of a suite's components, checked against their registries."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from lossbench.data.augmentation import AUGMENTATIONS
from lossbench.errors import Loc, ParameterError, ProblemCollector, RequestError
from lossbench.evaluation import EVALUATIONS
from lossbench.losses import LOSSES
from lossbench.models import MODELS
from lossbench.planning.search import Search
from lossbench.registry import Registry
from lossbench.suite.columns import column_recipe, column_settings, overlay_component
from lossbench.suite.grammar import (
    SearchRange,
    Space,
    expand_grids,
    explain_misplaced_grids,
    grammar_problems,
    label_problem,
    read_spaces,
)
from lossbench.suite.schema import Component, LossEntry, Suite, Variant
from lossbench.training.optimizers import OPTIMIZERS
from lossbench.training.schedules import SCHEDULES


def _resolve(
    registry: Registry[Any],
    chosen: Component,
    loc: Loc,
    collector: ProblemCollector,
    kept: Collection[str] = (),
) -> Component:
    """The component with all defaults; unchanged if it has problems.

    Args:
        registry: Registry of the component.
        chosen: The component.
        loc: Its location.
        collector: Collector of the problems.
        kept: Parameters whose defaults are never left out, because they replace other values:
            tuned ones, and in a column those that the suite has.
    """
    try:
        return Component(
            name=chosen.name, params=registry[chosen.name].resolve(chosen.params, kept)
        )
    except ParameterError as error:
        collector.extend(explain_misplaced_grids(error.problems), under=loc)
    except RequestError as error:  # an unknown name, or a library that is not installed
        collector.add(loc, str(error))
    return chosen


def resolve_components(suite: Suite, collector: ProblemCollector) -> Suite:
    """The suite with all defaults except for those of its losses."""
    recipe, tuned = suite.recipe, _tuned_parameters(suite)
    optimizer = _resolve(
        OPTIMIZERS, recipe.optimizer, ("recipe", "optimizer"), collector, tuned["optimizer"]
    )
    schedule = _resolve(
        SCHEDULES, recipe.schedule, ("recipe", "schedule"), collector, tuned["schedule"]
    )
    model = _resolve(MODELS, suite.model, ("model",), collector)
    resolved = suite.model_copy(
        update={
            "model": model,
            "augment": _resolve_list(AUGMENTATIONS, suite.augment, ("augment",), collector),
            "evaluate": _resolve_list(EVALUATIONS, suite.evaluate, ("evaluate",), collector),
            "recipe": recipe.model_copy(update={"optimizer": optimizer, "schedule": schedule}),
        }
    )
    variants = {name: _resolve_variant(resolved, name, collector) for name in suite.variants}
    return resolved.model_copy(update={"variants": variants})


def _tuned_parameters(suite: Suite) -> dict[str, list[str]]:
    """Parameters of the optimizer and the schedule that `tune` names."""
    return {
        part: [str(key).removeprefix(f"recipe.{part}.") for key in suite.tune]
        for part in ("optimizer", "schedule")
    }


def _resolve_variant(suite: Suite, name: str, collector: ProblemCollector) -> Variant:
    """A variant in which each component that it changes has all parameters.

    Args:
        suite: Suite with all defaults except for those of its variants.
        name: Name of the variant.
        collector: Collector of the problems.
    """
    variant, loc = suite.variants[name], ("variants", name)
    changed: dict[str, Any] = {}
    if variant.model and suite.model.name in MODELS:
        chosen = overlay_component(suite.model, variant.model)
        full = _resolve(MODELS, chosen, (*loc, "model"), collector, suite.model.params)
        changed["model"] = {"name": full.name, **full.params}
    if variant.augment is not None:
        where = (*loc, "augment")
        changed["augment"] = _resolve_list(AUGMENTATIONS, variant.augment, where, collector)
    elif not suite.augment:
        changed["augment"] = []
    if variant.evaluate is not None:
        where = (*loc, "evaluate")
        changed["evaluate"] = _resolve_list(EVALUATIONS, variant.evaluate, where, collector)
    if variant.recipe:
        own, recipe = dict(variant.recipe), column_recipe(suite, name)
        tuned = _tuned_parameters(suite)
        for key, registry, chosen, base in (
            ("optimizer", OPTIMIZERS, recipe.optimizer, suite.recipe.optimizer),
            ("schedule", SCHEDULES, recipe.schedule, suite.recipe.schedule),
        ):
            if key in own:
                kept = {*tuned[key], *base.params} if chosen.name == base.name else tuned[key]
                full = _resolve(registry, chosen, (*loc, "recipe", key), collector, kept)
                own[key] = full.model_dump(mode="json")
        changed["recipe"] = own
    return variant.model_copy(update=changed)


def omitted_defaults(suite: Suite) -> dict[str, dict[str, Any]]:
    """Defaults that a suite has and its trials leave out.

    Args:
        suite: Suite with all defaults.
    """
    found = {}
    for settings in (column_settings(suite, variant) for variant in suite.variants):
        for kind, registry, chosen in (
            ("model", MODELS, settings.model),
            ("optimizer", OPTIMIZERS, settings.recipe.optimizer),
            ("schedule", SCHEDULES, settings.recipe.schedule),
        ):
            defaults = registry[chosen.name].omitted_defaults
            if defaults.keys() & chosen.params.keys():
                found[f"{kind} {chosen.name}"] = defaults
    return found


def _resolve_list(
    registry: Registry[Any], chosen: Iterable[Component], loc: Loc, collector: ProblemCollector
) -> list[Component]:
    """Components with all defaults, of a list in the suite."""
    resolved = []
    for index, each in enumerate(chosen):
        where = (*loc, index, each.name) if each.name in registry else (*loc, index)
        resolved.append(_resolve(registry, each, where, collector))
    return resolved


def resolve_losses(
    chosen: Iterable[LossEntry], where: Loc, collector: ProblemCollector
) -> list[LossEntry | Search]:
    """The losses with grids expanded and all defaults, without those that have problems."""
    losses: list[LossEntry | Search] = []
    for index, loss in enumerate(chosen):
        try:
            LOSSES[loss.name]
        except RequestError as error:  # unknown, or its library is not installed
            collector.add((*where, index), str(error))
            continue
        loc: Loc = (*where, index, loss.name)
        if problem := label_problem(loss.label) if loss.label is not None else "":
            collector.add((*loc, "label"), problem)
        elif loss.label is not None and "label" in LOSSES[loss.name].parameter_names:
            message = (
                "is the printed name of a row, so a parameter of this name cannot be set; rename it"
            )
            collector.add((*loc, "label"), message)
        if problems := grammar_problems(loss.params):
            collector.extend(problems, under=loc)
        elif spaces := read_spaces(loss):
            losses += _resolve_search(loss, spaces, loc, collector)
        else:
            for point in expand_grids(loss):
                whole = _resolve(LOSSES, point, loc, collector)
                losses.append(LossEntry(name=whole.name, params=whole.params, label=loss.label))
    return losses


def _resolve_search(
    loss: LossEntry, spaces: Mapping[str, Space], loc: Loc, collector: ProblemCollector
) -> list[Search]:
    """The search, if the loss accepts its limits or all its values; otherwise an empty list."""
    given = {key: value for key, value in loss.params.items() if key not in spaces}
    fields = LOSSES[loss.name].parameters.model_fields
    base_params = dict(given)
    for key, space in spaces.items():
        known = key in fields and not fields[key].is_required()
        first = space.low if isinstance(space, SearchRange) else space[0]
        base_params[key] = fields[key].default if known else first
    integers, found = set(), ProblemCollector()
    for key, space in spaces.items():
        listed = [space.low, space.high] if isinstance(space, SearchRange) else list(space)
        for value in listed:
            wrong = _value_problems(loss.name, {**base_params, key: value}, key)
            if wrong and isinstance(value, float) and value.is_integer():
                wrong_integer = _value_problems(loss.name, {**base_params, key: int(value)}, key)
                if not wrong_integer:
                    integers.add(key)
                wrong = wrong_integer
            for message in wrong:
                found.add((key, "search"), message)
    for key in integers & base_params.keys():
        if isinstance(base_params[key], float):
            base_params[key] = int(base_params[key])
    base = Component(name=loss.name, params=base_params)
    if not found:
        base = _resolve(LOSSES, base, (), found)
    collector.extend(found.problems, under=loc)
    return [] if found else [Search(base, spaces, frozenset(integers), loss.label)]


def _value_problems(name: str, params: Mapping[str, Any], key: str) -> list[str]:
    """Messages of a loss on the value of one of its parameters; empty if it is accepted."""
    try:
        LOSSES[name].resolve(params)
    except ParameterError as error:
        return [problem.message for problem in error.problems if problem.loc[:1] == (key,)]
    return []
