"""Fairness audit: differences between the rows of a table other than the loss.

A difference is `fails` if it could have been avoided and may explain differences in the table, and
`warning` if it may mislead a reader. Requirements of a loss (a center update, batches with several
images per class) are `listed`, and so are recipe keys that were tuned for each loss: their values
were chosen on held-out images, with the same number of points for each loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lossbench.planning.head_requirements import HeadRequirements, head_key
from lossbench.planning.nested import flatten
from lossbench.planning.plan import Plan
from lossbench.planning.revisions import DataFacts
from lossbench.planning.rows import Row
from lossbench.planning.search import Search
from lossbench.planning.trial import Trial
from lossbench.planning.tuning import format_space
from lossbench.records import REQUIRED_ENVIRONMENT_KEYS, Results
from lossbench.suite.columns import ColumnSettings
from lossbench.suite.schema import Component, LossEntry, Recipe, Suite

Level = Literal["fails", "warning", "listed"]
LEVELS: tuple[Level, ...] = ("fails", "warning", "listed")
Finding = tuple[Level, str, str]
"""(level, column, text) of a difference."""

MIN_IMAGES = 10
"""Number of images below which a class is reported as small."""
MAX_NAMED = 5
"""Maximum number of small classes that are named."""
EXCLUDED_FIELDS = frozenset({"suite", "variant", "row", "loss", "seed", "sources", "revisions"})
"""Fields of a trial that may differ between two rows, or are compared elsewhere."""


@dataclass(frozen=True)
class Difference:
    """A difference between rows.

    Attributes:
        level: `fails`, `warning` or `listed`.
        text: Description of the difference, with rows and values.
    """

    level: Level
    text: str


def audit(plan: Plan, trials: Iterable[Trial], results: Results) -> list[Difference]:
    """Differences between the rows other than the loss, the worst first.

    Args:
        plan: Plan of the suite.
        trials: All trials of the plan, with `selection` also those on the held-out part.
        results: Results of the trials that were run.
    """
    stages: dict[tuple[str, bool], list[Trial]] = {}
    for trial in trials:
        stages.setdefault((trial.variant, bool(trial.holdout)), []).append(trial)
    findings: list[Finding] = []
    for variant in plan.suite.variants:
        for held_out in (True, False):
            stage = stages.get((variant, held_out), [])
            findings += [(level, variant, text) for level, text in _shared(stage, plan)]
            measured = _measured(stage, results, plan)
            findings += [(level, variant, text) for level, text in measured]
        findings += [(level, variant, text) for level, text in _heads(plan, variant)]
        facts = plan.columns[variant].facts
        findings += [("warning", variant, text) for text in plan.column_warnings(variant)]
        findings += [("listed", variant, text) for text in (*facts.notes, *small_classes(facts))]
    whole_table: tuple[tuple[Level, Iterator[str]], ...] = (
        ("fails", _uneven_budget(plan)),
        ("listed", tuning_texts(plan)),
        ("warning", _tuned_on_test(plan)),
        ("listed", _untuned(plan)),
    )
    for level, texts in whole_table:
        findings += [(level, variant, text) for text in texts for variant in plan.suite.variants]
    return sorted(_joined(plan, findings), key=lambda difference: LEVELS.index(difference.level))


def _joined(plan: Plan, findings: Iterable[Finding]) -> Iterator[Difference]:
    """One difference per text, with the names of its columns unless it applies to all columns."""
    columns: dict[tuple[Level, str], list[str]] = {}
    for level, variant, text in findings:
        columns.setdefault((level, text), []).append(variant)
    for (level, text), variants in columns.items():
        everywhere = set(variants) == set(plan.suite.variants)
        yield Difference(
            level, text if everywhere else f"{', '.join(dict.fromkeys(variants))}: {text}"
        )


def _shared(trials: Sequence[Trial], plan: Plan) -> Iterator[tuple[Level, str]]:
    """Differences in training, measurement or seeds."""
    contents: dict[str, dict[str, Any]] = {}
    seeds: dict[str, list[int]] = {}
    for trial in trials:
        if trial.row not in contents:
            dumped = trial.model_dump(mode="json", exclude=set(EXCLUDED_FIELDS))
            contents[trial.row] = dict(flatten(dumped, omitted=("params",)))
        seeds.setdefault(trial.row, []).append(trial.seed)
    keys = dict.fromkeys(key for content in contents.values() for key in content)
    for key in keys:
        by_row = {row: content.get(key) for row, content in contents.items()}
        if not _differ(by_row.values()):
            continue
        if not _is_tuned(key, trials, plan):
            yield "fails", f"{key} is {_by_value(by_row)}"
        elif not trials[0].holdout:  # on the held-out part, they are the points to choose from
            yield "listed", f"{key}, tuned for each loss, is {_by_value(by_row)}"
    if plan.looks is not None and _differ(map(len, seeds.values())):
        numbers = {row: f"{len(own)}" for row, own in seeds.items()}
        yield (
            "listed",
            "seeds were added to the rows that were not decided: the number of seeds is "
            f"{_by_value(numbers)}",
        )
    elif _differ(sorted(own) for own in seeds.values()):
        yield "fails", f"seeds are {_by_value({row: sorted(own) for row, own in seeds.items()})}"


def _is_tuned(key: str, trials: Iterable[Trial], plan: Plan) -> bool:
    """Whether `tune` has a key, and the recipe of each trial is that of a point of its loss."""
    if key not in plan.suite.tune:
        return False
    recipes: dict[tuple[str, str], list[Recipe]] = {}
    for trial in trials:
        own = trial.variant, trial.loss.model_dump_json()
        if own not in recipes:
            points = (row for row in plan.all_rows if row.loss == trial.loss)
            recipes[own] = [plan.trial(row, trial.variant, 0).recipe for row in points]
        if trial.recipe not in recipes[own]:
            return False
    return True


def _measured(trials: Sequence[Trial], results: Results, plan: Plan) -> Iterator[tuple[Level, str]]:
    """Differences between results: seeds in the mean, devices, library versions."""
    found = [(t, results[t.identity]) for t in trials if t.identity in results]
    ran = [(trial, result) for trial, result in found if not result.pruned]
    if not ran:
        return
    pruned = {trial.row for trial, result in found if result.pruned}
    rows = dict.fromkeys(trial.row for trial in trials if trial.row not in pruned)
    counted = {
        row: sorted(t.seed for t, r in ran if t.row == row and r.status == "finished")
        for row in rows
    }
    planned = {row: sorted(t.seed for t in trials if t.row == row) for row in rows}
    if _differ(counted.values()) and (plan.looks is None or counted != planned):
        texts = {row: ", ".join(map(str, seeds)) or "none" for row, seeds in counted.items()}
        diverged: dict[str, list[int]] = {}
        for trial, result in ran:
            if result.status == "diverged":
                diverged.setdefault(trial.row, []).append(trial.seed)
        named = "; ".join(
            f"{row} with seed{'s' * (len(seeds) > 1)} {', '.join(map(str, sorted(seeds)))}"
            for row, seeds in sorted(diverged.items())
        )
        why = f" (diverged: {named})" if named else ""
        yield "warning", f"seeds in the mean are {_by_value(texts)}{why}"
    places = [(t, {"device": r.device, **r.environment}) for t, r in ran]
    for key in dict.fromkeys(key for _, place in places for key in place):
        by_seed: dict[int, dict[str, str]] = {}
        for trial, place in places:
            if key in place or key in REQUIRED_ENVIRONMENT_KEYS:
                by_seed.setdefault(trial.seed, {})[trial.row] = place.get(key, "unknown")
        uneven = {seed: by_row for seed, by_row in by_seed.items() if _differ(by_row.values())}
        if uneven:
            seed = min(uneven)
            yield (
                "fails",
                f"{key} is {_by_value(uneven[seed])} (seed {seed}); run one of them again",
            )
        elif _differ(
            values := {s: next(iter(by_row.values())) for s, by_row in by_seed.items()}.values()
        ):
            said = ", ".join(sorted(set(values)))
            yield "warning", f"{key} differs between seeds, for every row alike: {said}"


def _uneven_budget(plan: Plan) -> Iterator[str]:
    """With `selection`: different numbers of rows among which losses with parameters are chosen."""
    if plan.suite.selection is None:
        return
    if plan.suite.tune:
        budget = loss_budgets(plan.suite, plan.losses, plan.rows)
        if _differ(budget.values()):
            yield f"tuning budget: points to choose from are {_by_value(budget)}"
        return
    budget = {
        name: len(rows)
        for name, rows in _by_entry(plan.rows).items()
        if any(row.loss.params for row in rows)
    }
    if _differ(budget.values()):
        yield (
            f"tuning budget: rows to choose from are {_by_value(budget)}; give every loss with "
            "parameters a grid of the same size"
        )


def loss_budgets(
    suite: Suite, losses: Iterable[LossEntry | Search], rows: Iterable[Row]
) -> dict[str, int]:
    """Number of points of each loss in a column: the rows of its grids, or those of its search.

    Args:
        suite: Suite with `selection`.
        losses: Losses and searches of the rows.
        rows: Rows; of searches, those proposed so far.
    """
    samples = (suite.selection.samples if suite.selection else None) or 0
    searches = {loss.entry: 0 for loss in losses if isinstance(loss, Search)}
    budgets: dict[str, int] = {}
    for name, own in _by_entry(rows).items():
        budgets[name] = searches.get(name, len(own))
    for loss in losses:
        if isinstance(loss, Search) and loss.entry in budgets:
            budgets[loss.entry] += int(min(samples, loss.combinations))
    return budgets


def tuning_texts(plan: Plan) -> Iterator[str]:
    """With `tune`: what was chosen for each loss, from how many points."""
    suite = plan.suite
    budgets = set(loss_budgets(suite, plan.losses, plan.rows).values())
    if not suite.tune or len(budgets) != 1:
        return
    keys = ", ".join(f"{key} {format_space(suite, key)}" for key in suite.tune)
    parameters: dict[str, list[str]] = {}
    for row in plan.rows:
        own = parameters.setdefault(row.entry, [])
        own += [key for key in row.varied if key not in row.tuned and key not in own]
    others = "; ".join(f"{name} with {', '.join(own)}" for name, own in parameters.items() if own)
    points = budgets.pop()
    yield f"each loss is tuned with {points} point{'s' * (points > 1)}: {keys}" + (
        f"; together with parameters of the loss: {others}" if others else ""
    )


def _untuned(plan: Plan) -> Iterator[str]:
    if plan.suite.selection is not None and not plan.suite.tune:
        for name, rows in _by_entry(plan.rows).items():
            if not any(row.loss.params for row in rows):
                yield f"{name}: has no parameters, nothing was chosen for it"


def _tuned_on_test(plan: Plan) -> Iterator[str]:
    """Without `selection`: losses with several rows, all measured on the test set."""
    if plan.suite.selection is None:
        for name, rows in _by_entry(plan.rows).items():
            if len(rows) > 1:
                yield (
                    f"{name}: {len(rows)} rows, all measured on the test set; quoting the best "
                    "of them is tuning on the test set (use `selection` to choose on held-out "
                    "images)"
                )


def small_classes(facts: DataFacts) -> Iterator[str]:
    """Classes with few images, by the use of the images."""
    for kind, counts in facts.class_counts.items():
        small = sorted((n, name) for n, name in zip(counts, facts.class_names, strict=True))
        small = [(n, name) for n, name in small if n < MIN_IMAGES]
        if small:
            named = ", ".join(f"{name} {n}" for n, name in small[:MAX_NAMED])
            more = ", ..." if len(small) > MAX_NAMED else ""
            verb = "has" if len(small) == 1 else "have"
            yield (
                f"{len(small)} of {len(counts)} classes {verb} fewer than {MIN_IMAGES} {kind} "
                f"images: {named}{more}"
            )


def _heads(plan: Plan, variant: str) -> Iterator[tuple[Level, str]]:
    """Differences between the heads: their training requirements and sizes."""
    rows = [row for row in plan.rows if row.applies_to(variant)]
    recipes = [plan.trial(row, variant, 0).recipe for row in rows]
    lines: dict[str, list[Row]] = {}
    sizes: dict[int, list[Row]] = {}
    for row in rows:
        key = head_key(variant, row.loss)
        if key in plan.unusable_heads:
            yield "fails", f"{row.label} cannot be trained: {plan.unusable_heads[key]}"
        elif key in plan.head_requirements:
            need = plan.head_requirements[key]
            sizes.setdefault(need.parameters, []).append(row)
            for text in _requirement_texts(need, plan.settings[variant], recipes):
                lines.setdefault(text, []).append(row)
    for text, own in lines.items():
        yield "listed", f"{_names(own, rows)}: {text}"
    if len(sizes) > 1:
        by_size = (f"{n} for {_names(own, rows)}" for n, own in sizes.items())
        yield "listed", f"number of trainable parameters of the head is {'; '.join(by_size)}"


def _requirement_texts(
    need: HeadRequirements, settings: ColumnSettings, recipes: Sequence[Recipe]
) -> Iterator[str]:
    if need.samples_per_class is not None:
        yield (
            f"training images are shuffled in groups of {need.samples_per_class} of the same "
            "class, not one by one"
        )
    if need.self_updated:
        names = ", ".join(need.self_updated)
        clipped = any(recipe.clip_norm is not None for recipe in recipes)
        averaged = any(recipe.weight_averaging is not None for recipe in recipes)
        lacking = ["clipping"] * clipped + ["averaging"] * averaged
        without = f", and without {' or '.join(lacking)}" if lacking else ""
        yield f"{names} updated by the loss after each step, not by the optimizer{without}"
    for name, scale in need.lr_scales.items():
        yield f"learning rate of {name} is {scale:g} times the recipe's"
    if need.undecayed and any(_decays_weights(recipe.optimizer) for recipe in recipes):
        yield f"no weight decay on {', '.join(need.undecayed)}"
    if need.scheduled:
        yield f"{', '.join(need.scheduled)} changes with the training's progress"
    if "class_counts" in need.needs:
        yield "uses the number of training images of each class"
    if "epochs" in need.needs:
        yield "uses the number of epochs"
    if "sample_indices" in need.needs:
        yield "uses the indices of the training images"
    if need.class_means:
        yield "classified by the nearest class mean of the training set, without a linear layer"
    verified = any(chosen.name == "verification" for chosen in settings.evaluate)
    if verified and need.verification_distance != "cosine":
        yield f"faces compared by their {need.verification_distance.title()} distance, not cosine"


def _decays_weights(optimizer: Component) -> bool:
    """Whether an optimizer decays weights; in ASGD `lambd` does so, too."""
    of_asgd = optimizer.name == "torch.optim.ASGD" and optimizer.params.get("lambd")
    return bool(of_asgd or optimizer.params.get("weight_decay"))


def _names(some: Sequence[Row], rows: Iterable[Row]) -> str:
    """Labels of some rows; an entry is named once if all its rows are among them."""
    names = []
    for name, own in _by_entry(rows).items():
        named = [row for row in own if row in some]
        names += [name] if named == own else [row.label for row in named]
    return ", ".join(names)


def _by_entry(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.entry, []).append(row)
    return found


def _differ(values: Iterable[Any]) -> bool:
    listed = list(values)
    return any(value != listed[0] for value in listed)


def _by_value(by_row: Mapping[str, Any]) -> str:
    """`3 for lgm, 2 for softmax, center`."""
    rows: dict[str, list[str]] = {}
    for row, value in by_row.items():
        rows.setdefault(str(value), []).append(row)
    return "; ".join(f"{value} for {', '.join(own)}" for value, own in rows.items())
