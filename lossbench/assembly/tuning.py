"""Checks of a suite's `tune`: keys, values for the recipe of every column, equal budgets."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from lossbench.assembly.checks_without_data import worker_problems
from lossbench.assembly.user_components import component_problems
from lossbench.errors import (
    Loc,
    ParameterError,
    Problem,
    ProblemCollector,
    did_you_mean,
    validation_problems,
)
from lossbench.planning.fairness import loss_budgets
from lossbench.planning.rows import Row
from lossbench.planning.search import Search
from lossbench.planning.tuning import (
    BATCH_SIZE,
    COMPONENTS,
    PLAIN_KEYS,
    tuned_batch_sizes,
    tuned_recipe,
)
from lossbench.registry import Entry
from lossbench.suite.grammar import (
    MAX_ROWS,
    SearchRange,
    Space,
    grammar_problems,
    is_grid,
    read_space,
)
from lossbench.suite.schema import LossEntry, Recipe, Suite, Variant
from lossbench.training.optimizers import OPTIMIZERS
from lossbench.training.schedules import SCHEDULES

MAX_BATCH_SIZES = 10_000
"""Maximum number of batch sizes in a searched range: the steps of each are computed."""
EXAMPLE = "{grid: [0.01, 0.1]} or {search: {low: 0.003, high: 0.3, log: true}}"


@dataclass(frozen=True)
class ResolvedTune:
    """The checked `tune` of a suite.

    Attributes:
        given: Tuned key -> `{grid: ...}` or `{search: ...}`, with values of the recipe's types.
        spaces: Searched key -> its range or values.
        integers: Searched keys that are integers.
    """

    given: Mapping[str, Any] = field(default_factory=dict)
    spaces: Mapping[str, Space] = field(default_factory=dict)
    integers: frozenset[str] = frozenset()


def resolve_tune(
    suite: Suite, recipes: Mapping[str, Recipe], collector: ProblemCollector
) -> ResolvedTune:
    """Check the keys and values of `tune` for the recipes of all columns.

    Args:
        suite: Suite.
        recipes: Column -> its recipe with all defaults.
        collector: Collector of the problems.
    """
    if not suite.tune:
        return ResolvedTune()
    found, recipes = ProblemCollector(), _distinct(recipes)
    if suite.selection is None:
        found.add(("tune",), "needs a held-out part; add selection: {holdout: 0.2} to the suite")
    found.extend(map(_with_advice, grammar_problems(suite.tune)), under=("tune",))
    given: dict[str, Any] = {}
    integers = set()
    for key, value in suite.tune.items():
        if message := _key_problem(key, suite, recipes):
            found.add(("tune", key), message)
        elif not (isinstance(value, Mapping) and len({"grid", "search"} & set(value)) == 1):
            found.add(("tune", key), f"should be {EXAMPLE}")
        elif not found:
            given[key], whole = _resolve_values(key, value, recipes, found)
            integers |= {key} if whole else set()
    if not found:
        found.extend(_combination_problems(given, recipes))
        found.extend(_batch_size_problems(suite.model_copy(update={"tune": given})))
    collector.extend(found.problems)
    if found:
        return ResolvedTune()
    spaces = {k: read_space(v["search"]) for k, v in given.items() if not is_grid(v)}
    return ResolvedTune(given, spaces, frozenset(integers))


def _distinct(recipes: Mapping[str, Recipe]) -> dict[str, Recipe]:
    """The different recipes, each with the name of its first column."""
    distinct: dict[str, Recipe] = {}
    for variant, recipe in recipes.items():
        if recipe not in distinct.values():
            distinct[variant] = recipe
    return distinct


def with_tuned_spaces(
    losses: Iterable[LossEntry | Search], tune: ResolvedTune, collector: ProblemCollector
) -> list[LossEntry | Search]:
    """The losses; if `tune` has searches, each is a search that covers the tuned keys, too."""
    listed = list(losses)
    joint: list[LossEntry | Search] = []
    combinations = math.prod(len(given.get("grid", ())) or 1 for given in tune.given.values())
    for entry, own in Counter(loss.entry for loss in listed).items():
        if tune.given and own * combinations > MAX_ROWS:
            message = (
                f"the grids of the loss and those of `tune` give {own * combinations:,} rows; "
                f"at most {MAX_ROWS:,} are allowed"
            )
            collector.add(("losses", entry), message)
    for loss in listed:
        name = loss.loss.name if isinstance(loss, Search) else loss.name
        if isinstance(loss, Search) and tune.given and not tune.spaces:
            key = next(iter(loss.spaces))
            message = "is searched, but `tune` has grids; use only grids or only searches"
            collector.add(("losses", name, key, "search"), message)
        if not tune.spaces:
            joint.append(loss)
            continue
        search = loss if isinstance(loss, Search) else Search(loss.loss, {}, label=loss.label)
        search = replace(search, tuned=tune.spaces, integers=search.integers | tune.integers)
        if any(replace(search, label=other.label) == other for other in joint):
            collector.add(("losses",), f"{name} is given twice with the same parameters")
        joint.append(search)
    return joint


def grid_problems(suite: Suite, tune: ResolvedTune) -> list[Problem]:
    """Problems of losses with grids in a suite whose `tune` has searches."""
    return [
        Problem(
            ("losses", loss.name, key, "grid"),
            "is a grid, but `tune` has searches; use only grids or only searches: "
            f"{{search: [{', '.join(map(str, value['grid']))}]}}",
        )
        for loss in suite.losses
        for key, value in loss.params.items()
        if tune.spaces and is_grid(value)
    ]


def budget_problems(
    suite: Suite, losses: Iterable[LossEntry | Search], rows: Iterable[Row]
) -> list[Problem]:
    """Problems of losses with different numbers of points, if recipe keys are tuned."""
    if not suite.tune or suite.selection is None:
        return []
    listed = list(losses)
    budgets = loss_budgets(suite, listed, rows)
    least = min(budgets, key=lambda name: budgets[name])
    advice = "grids of the same size, or searches, which give each loss selection.samples points"
    if all(isinstance(loss, Search) for loss in listed):  # one has too few combinations
        advice = f"give `tune` more values, or set selection.samples to {budgets[least]}"
    return [
        Problem(
            ("losses", name),
            f"has {count} points to choose from, but {least} has {budgets[least]}; with `tune` all "
            f"losses need the same number: {advice}",
        )
        for name, count in budgets.items()
        if count != budgets[least]
    ]


def tuned_limits(key: str, recipes: Iterable[Recipe]) -> tuple[float | None, float | None]:
    """Smallest and largest valid value of a tuned key, inclusive; None without a limit."""
    _, first, *rest = key.split(".", 2)
    if not rest:
        return {"batch_size": 2.0, "epochs": 1.0}.get(first), None
    chosen = getattr(next(iter(recipes)), first)
    return _entry(first, chosen.name).limits(rest[0])


def _entry(part: str, name: str) -> Entry[Any]:
    return OPTIMIZERS[name] if part == "optimizer" else SCHEDULES[name]


def _with_advice(problem: Problem) -> Problem:
    if problem.loc:
        return problem
    advice = "; a search can also choose from listed values: {search: [0, 0.0005]}"
    return replace(problem, message=problem.message + advice)


def _valid_keys(recipe: Recipe) -> list[str]:
    keys = [f"recipe.{key}" for key in PLAIN_KEYS]
    for part in COMPONENTS:
        names = _entry(part, getattr(recipe, part).name).parameter_names
        keys += [f"recipe.{part}.{name}" for name in names]
    return keys


def _key_problem(key: str, suite: Suite, recipes: Mapping[str, Recipe]) -> str:
    """Message about a key that cannot be tuned; empty if it can."""
    parts = str(key).split(".")
    if parts[0] == "recipe" and len(parts) > 1 and parts[1] in ("input", "precision", "compile"):
        return "cannot be tuned; it has to be the same for all losses"
    for variant, recipe in recipes.items():
        valid = _valid_keys(recipe)
        if key not in valid:
            end = [each for each in valid if each.endswith(f".{key}")]
            near = f"; did you mean {end[0]!r}?" if end else did_you_mean(str(key), valid)
            column = f" of {variant}" if len(recipes) > 1 else ""
            part = parts[1] if len(parts) > 2 and parts[0] == "recipe" else ""
            if part in COMPONENTS:
                names = _entry(part, getattr(recipe, part).name).parameter_names
                if "did you mean" not in did_you_mean(parts[2], names):
                    only = f"only {', '.join(names)}" if names else "no parameters"
                    near = f": the {part} {getattr(recipe, part).name} has {only}"
            return f"is no key of the recipe{column} that can be tuned{near}"
    if key == "recipe.epochs" and suite.selection and suite.selection.stop_early:
        return (
            "cannot be tuned with selection.stop_early, which compares rows at the same epochs; "
            "remove one of them"
        )
    return ""


def _resolve_values(
    key: str, value: Mapping[str, Any], recipes: Mapping[str, Recipe], found: ProblemCollector
) -> tuple[dict[str, Any], bool]:
    """The values with the types of the recipe, and whether a range has integers only."""
    if is_grid(value):
        return {"grid": _listed(key, "grid", value["grid"], recipes, found)}, False
    space = read_space(value["search"])
    if not isinstance(space, SearchRange):
        return {"search": _listed(key, "search", space, recipes, found)}, False
    content = space.model_dump()
    for end in ("low", "high"):
        for variant, recipe in recipes.items():
            limit = getattr(space, end)
            message = _resolved(recipe, key, limit)[1]
            if message and limit.is_integer() and not _resolved(recipe, key, int(limit))[1]:
                content[end] = int(limit)
            elif message:
                found.add(("tune", key, "search", end), _in_column(message, variant, recipes))
    return {"search": content}, isinstance(content["low"], int)


def _listed(
    key: str,
    kind: str,
    values: Iterable[Any],
    recipes: Mapping[str, Recipe],
    found: ProblemCollector,
) -> list[Any]:
    resolved: list[Any] = []
    loc: Loc = ("tune", key, kind)
    for value in values:
        for variant, recipe in recipes.items():
            own, message = _resolved(recipe, key, value)
            if message:
                found.add(loc, f"{value!r}: {_in_column(message, variant, recipes)}")
                break
        else:
            if own in resolved:
                found.add(loc, f"has the value {value!r} twice")
            resolved.append(own)
    return resolved


def _in_column(message: str, variant: str, recipes: Mapping[str, Recipe]) -> str:
    return f"{message} (column {variant})" if len(recipes) > 1 else message


def _resolved(recipe: Recipe, key: str, value: Any) -> tuple[Any, str]:
    """The value with the type of the recipe, and the message of the recipe if it is refused."""
    _, first, *rest = key.split(".", 2)
    try:
        if rest:
            chosen = getattr(recipe, first)
            params = {**chosen.params, rest[0]: value}
            return _entry(first, chosen.name).resolve(params, rest)[rest[0]], ""
        return getattr(Recipe.model_validate({**recipe.model_dump(), first: value}), first), ""
    except ParameterError as error:
        return value, error.problems[0].message
    except ValidationError as error:
        [problem, *_] = validation_problems(error, lambda path: [])
        return value, problem.message


def _combination_problems(given: Mapping[str, Any], recipes: Mapping[str, Recipe]) -> list[Problem]:
    """The first problem of a combination of values that optimizer or schedule do not accept."""
    for part, keys in (("optimizer", ()), ("schedule", ("recipe.epochs",))):
        values = {
            key: each["grid"]
            if is_grid(each)
            else each["search"]
            if isinstance(each["search"], list)
            else [each["search"]["low"], each["search"]["high"]]
            for key, each in given.items()
            if key.startswith(f"recipe.{part}.") or key in keys
        }
        for chosen in itertools.product(*values.values()) if values else ():
            tuned = dict(zip(values, chosen, strict=True))
            for recipe in recipes.values():
                whole = tuned_recipe(recipe, tuned)
                if part == "optimizer":
                    problems = component_problems(OPTIMIZERS, whole.optimizer)
                else:
                    problems = component_problems(SCHEDULES, whole.schedule, whole.epochs)
                at = ", ".join(f"{key}={value!r}" for key, value in tuned.items())
                for problem in problems:
                    key = problem.under(("recipe", part)).key
                    return [Problem(("tune",), f"{key} {problem.message} ({at})")]
    return []


def _batch_size_problems(suite: Suite) -> Sequence[Problem]:
    """Problems of tuned batch sizes with the number of workers."""
    space = suite.tune.get(BATCH_SIZE)
    if space is None:
        return []
    if not is_grid(space) and isinstance(space["search"], Mapping):
        count = space["search"]["high"] - space["search"]["low"] + 1
        if count > MAX_BATCH_SIZES:
            message = f"has {count:,} batch sizes; at most {MAX_BATCH_SIZES:,} are allowed"
            return [Problem(("tune", BATCH_SIZE, "search"), message)]
    for size in tuned_batch_sizes(suite):
        recipe = suite.recipe.model_copy(update={"batch_size": size})
        tuned = suite.model_copy(update={"recipe": recipe, "variants": {"": Variant()}})
        if problems := worker_problems(tuned, ""):
            return [replace(problem, loc=("tune", BATCH_SIZE)) for problem in problems]
    return []
