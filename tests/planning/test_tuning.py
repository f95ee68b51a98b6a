"""Tuned recipe keys: recipes, names, rows, budgets, identities and the names of chosen rows."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from lossbench.assembly.check import check
from lossbench.planning.fairness import audit, loss_budgets, tuning_texts
from lossbench.planning.plan import Plan
from lossbench.planning.plan_file import PlanRecord, plan_of, plan_record
from lossbench.planning.search import Point, Search, propose
from lossbench.planning.selection import (
    PlanWithResults,
    choose_rows,
    final_rows,
    final_trials,
    load_plan_with_results,
)
from lossbench.planning.status import PlanStatus
from lossbench.planning.trial import Trial
from lossbench.planning.tuning import short_names, tuned_recipe
from lossbench.suite.grammar import SearchRange
from lossbench.suite.load import load_suite
from lossbench.suite.origin import SuiteError
from lossbench.suite.schema import Component, Recipe
from tests.report.synthetic_report import result_of
from tests.synthetic_plans import SyntheticStore

LR = "recipe.optimizer.lr"
DECAY = "recipe.optimizer.weight_decay"
SUITE = """\
suite: tuning
dataset: digits
model: {{name: digits_cnn, feature_dim: 2}}
recipe: {{epochs: 4, batch_size: 64, optimizer: {{name: sgd, lr: {lr}, momentum: 0.9}}}}
variants: {{2-D: {{}}, 3-D: {{model: {{feature_dim: 3}}}}}}
seeds: [0, 1]
reference: softmax
losses: {losses}
{more}
"""
GRID = f"tune: {{{LR}: {{grid: [0.01, 0.1, 1]}}}}\nselection: {{holdout: 0.2}}\n"
SEARCH = (
    f"tune: {{{LR}: {{search: {{low: 0.001, high: 1, log: true}}}},"
    f" {DECAY}: {{search: [0, 0.001]}}}}\n"
    "selection: {samples: 12}\n"
)
LGM = "{lgm: {alpha: 0.3, lambda: 0.1}}"
FULL = Recipe.model_validate(
    {
        "epochs": 4,
        "batch_size": 64,
        "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9},
        "schedule": {"name": "multistep", "milestones": [2.0], "gamma": 0.1},
    }
)


def plan_from(folder: Path, more: str, losses: str = f"[softmax, {LGM}]", lr: float = 0.05) -> Plan:
    path = folder / "suite.yaml"
    path.write_text(SUITE.format(losses=losses, more=more, lr=lr), encoding="utf-8")
    return check(load_suite(path), folder)


def own_optimum(trial: Trial) -> float:
    """Error with its minimum at another learning rate for each loss and column."""
    best = {"softmax": 0.1, "lgm": 0.01}[trial.loss.name] * (10 if trial.variant == "3-D" else 1)
    lr = trial.recipe.optimizer.params["lr"]
    return 2 + abs(math.log10(lr / best)) + 0.01 * trial.seed


def test_a_tuned_recipe_differs_in_its_keys_only_and_is_validated() -> None:
    tuned = {LR: 0.3, "recipe.batch_size": 32, "recipe.schedule.gamma": 0.5}
    recipe = tuned_recipe(FULL, tuned)
    expected = FULL.model_dump()
    expected["batch_size"] = 32
    expected["optimizer"]["params"]["lr"] = 0.3
    expected["schedule"]["params"]["gamma"] = 0.5
    assert recipe.model_dump() == expected
    assert FULL.optimizer.params["lr"] == 0.05
    assert tuned_recipe(FULL, {}) == FULL
    with pytest.raises(ValidationError):
        tuned_recipe(FULL, {"recipe.batch_size": 1})
    with pytest.raises(KeyError):
        tuned_recipe(FULL, {"recipe.optimizer.beta1": 0.9})


def test_a_tuned_value_that_identities_leave_out_gives_the_trial_without_the_key(
    tmp_path: Path,
) -> None:
    """No warm-up is the default of a key that was added later."""
    tune = "tune: {recipe.schedule.warmup: {grid: [0, 1.5]}}\nselection: {compare: [softmax]}\n"
    plan = plan_from(tmp_path, tune)
    plain = plan_from(tmp_path, "")
    assert [row.label for row in plan.rows[:2]] == ["softmax(warmup=0)", "softmax(warmup=1.5)"]
    without = plain.trial(plain.rows[0], "2-D", 0).identity
    own, other, compared = (
        plan.trial(r, "2-D", 0).identity for r in (*plan.rows[:2], *plan.compared)
    )
    assert own == compared == without != other
    again = plan_of(PlanRecord.model_validate_json(plan_record(plan).model_dump_json()))
    assert [t.identity for t in again.trials] == [t.identity for t in plan.trials]
    assert "omitted" not in plan_record(plain).model_dump_json()
    searched = plan_from(
        tmp_path,
        "tune: {recipe.schedule.warmup: {search: {low: 0, high: 2}}}\nselection: {samples: 3}\n",
    )
    assert searched.rows[0].tuned == {"recipe.schedule.warmup": 0.0}  # the recipe's own comes first


def test_names_are_the_shortest_unique_ends() -> None:
    assert short_names([LR, DECAY], ["alpha"]) == {LR: "lr", DECAY: "weight_decay"}
    assert short_names(["recipe.schedule.gamma"], ["gamma"]) == {
        "recipe.schedule.gamma": "schedule.gamma"
    }
    assert short_names(["recipe.a.x", "recipe.b.x"], []) == {
        "recipe.a.x": "a.x",
        "recipe.b.x": "b.x",
    }


def test_a_grid_gives_every_loss_one_row_per_value(tmp_path: Path) -> None:
    plan = plan_from(tmp_path, GRID)
    assert [row.label for row in plan.rows] == [
        *("softmax(lr=0.01)", "softmax(lr=0.1)", "softmax(lr=1)"),
        *("lgm(lr=0.01)", "lgm(lr=0.1)", "lgm(lr=1)"),
    ]
    assert [row.tuned for row in plan.rows[:3]] == [{LR: 0.01}, {LR: 0.1}, {LR: 1.0}]
    lrs = [t.recipe.optimizer.params["lr"] for t in plan.trials if t.variant == "2-D"]
    assert lrs == [0.01, 0.1, 1.0] * 4


@pytest.mark.parametrize(
    ("key", "value", "change"),
    [
        (LR, 0.1, {"optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9}}),
        ("recipe.epochs", 5, {"epochs": 5}),
        ("recipe.batch_size", 32, {"batch_size": 32}),
        ("recipe.clip_norm", 2, {"clip_norm": 2.0}),
        # a milestone that rounding moved: the revision depends on the steps with this batch size
        ("recipe.batch_size", 25, {"batch_size": 25}),
    ],
)
@pytest.mark.parametrize("holdout", [0.0, 0.2])
def test_a_training_is_shared_with_suites_whose_recipe_has_the_value(
    tmp_path: Path, key: str, value: float, change: dict[str, object], holdout: float
) -> None:
    base = {
        "epochs": 4,
        "batch_size": 64,
        "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9},
    }
    schedule = {"name": "step", "every": 0.36, "gamma": 0.9}
    more = f"tune: {{{key}: {{grid: [{value}]}}}}\nselection: {{holdout: 0.2}}\n"
    suites = []
    for index, (recipe, rest) in enumerate(((base, more), ({**base, **change}, ""))):
        path = tmp_path / f"{index}.yaml"
        content = load_suite_text({**recipe, "schedule": schedule}, rest)
        path.write_text(content, encoding="utf-8")
        suites.append(check(load_suite(path), tmp_path))
    tuned, plain = suites
    ours = tuned.trial(tuned.rows[0], "default", 0, holdout)
    theirs = plain.trial(plain.rows[0], "default", 0, holdout)
    if holdout:  # the other suite has no held-out part, and so no steps of it
        ours, theirs = (t.model_copy(update={"revisions": {}}) for t in (ours, theirs))
    assert ours.recipe == theirs.recipe
    assert ours.identity == theirs.identity
    untuned = replace(tuned.rows[0], tuned={})
    assert tuned.trial(untuned, "default", 0, holdout).identity != ours.identity


def load_suite_text(recipe: dict[str, object], more: str) -> str:
    return (
        "suite: shared\ndataset: digits\nmodel: {name: digits_cnn, feature_dim: 2}\n"
        f"recipe: {json.dumps(recipe)}\nlosses: [softmax]\n{more}"
    )


def test_without_tune_nothing_is_added_to_the_content_of_a_suite(tmp_path: Path) -> None:
    plan = plan_from(tmp_path, "")
    assert "tune" not in plan.suite.model_dump()
    text = plan_record(plan).model_dump_json()
    assert "tune" not in text


def test_chosen_rows_have_one_name_in_all_columns(tmp_path: Path) -> None:
    plan = plan_from(tmp_path, GRID)
    scores = {t.identity: own_optimum(t) for t in plan.trials}
    chosen = choose_rows(plan, scores)
    assert {place: row.tuned[LR] for place, row in chosen.items()} == {
        ("2-D", "softmax"): 0.1,
        ("3-D", "softmax"): 1.0,
        ("2-D", "lgm"): 0.01,
        ("3-D", "lgm"): 0.1,
    }
    final = final_rows(plan, chosen)
    assert list(final) == [("2-D", "softmax"), ("3-D", "softmax"), ("2-D", "lgm"), ("3-D", "lgm")]
    trials = final_trials(plan, chosen)
    assert {(t.variant, t.row): t.recipe.optimizer.params["lr"] for t in trials} == {
        place: row.tuned[LR] for place, row in chosen.items()
    }
    assert all(not trial.holdout for trial in trials)
    assert len(trials) == 8


def test_compared_rows_have_the_values_of_the_recipe(tmp_path: Path) -> None:
    more = GRID.replace("0.2}", f"0.2, compare: [softmax, {LGM}]}}")
    plan = plan_from(tmp_path, more)
    assert [row.label for row in plan.compared] == ["softmax(untuned)", "lgm(untuned)"]
    found = PlanWithResults(plan, {t.identity: result_of(t, own_optimum(t)) for t in plan.trials})
    labels = [row.label for row in found.test_stage.listed_rows]
    assert labels == ["softmax", "softmax(untuned)", "lgm", "lgm(untuned)"]
    lrs = {t.recipe.optimizer.params["lr"] for t in found.test_stage.trials if "untuned" in t.row}
    assert lrs == {0.05}
    assert found.test_stage.reference_labels("softmax") == {"2-D": "softmax", "3-D": "softmax"}
    assert [row.label for row in plan.narrowed("lgm").compared] == ["lgm(untuned)"]


def test_a_row_to_compare_that_is_the_chosen_one_is_trained_once(tmp_path: Path) -> None:
    more = GRID.replace("0.2}", "0.2, compare: [softmax]}")
    plan = plan_from(tmp_path, more, lr=0.1)  # chosen for softmax in 2-D
    found = PlanWithResults(plan, {t.identity: result_of(t, own_optimum(t)) for t in plan.trials})
    assert found.chosen["2-D", "softmax"].tuned == {LR: 0.1}
    stage = found.test_stage
    both = [stage.cells["2-D", label][0][0].identity for label in ("softmax", "softmax(untuned)")]
    assert len(set(both)) == 1
    identities = [trial.identity for trial in found.trials]
    assert len(identities) == len(set(identities))
    assert set(identities) == {t.identity for s in found.stages for t in s.trials}


def test_a_searched_parameter_of_a_compared_row_may_have_any_value(tmp_path: Path) -> None:
    losses = "[softmax, {lgm: {alpha: {search: {low: 0.01, high: 3.0, log: true}}, lambda: 0.1}}]"
    more = SEARCH.replace("12}", "12, compare: [{lgm: {alpha: 0.77, lambda: 0.1}}]}")
    plan = plan_from(tmp_path, more, losses)
    assert [row.label for row in plan.compared] == ["lgm(alpha=0.77,untuned)"]


def test_every_loss_has_as_many_points_and_finds_its_own_region(tmp_path: Path) -> None:
    losses = "[softmax, {lgm: {alpha: {search: {low: 0.01, high: 3.0, log: true}}, lambda: 0.1}}]"
    plan = plan_from(tmp_path, SEARCH.replace("12", "24"), losses)
    found = load_plan_with_results(plan, SyntheticStore(own_optimum))
    counts = {
        (variant, entry): sum(r.entry == entry and r.applies_to(variant) for r in found.plan.rows)
        for variant in ("2-D", "3-D")
        for entry in ("softmax", "lgm")
    }
    assert set(counts.values()) == {24}
    for (variant, entry), row in found.chosen.items():
        best = {"softmax": 0.1, "lgm": 0.01}[entry] * (10 if variant == "3-D" else 1)
        assert abs(math.log10(row.tuned[LR] / best)) < 0.25
    assert set(found.chosen["2-D", "lgm"].varied) == {"alpha", LR, DECAY}
    again = load_plan_with_results(
        plan, SyntheticStore(own_optimum, dict(found.plan.search_points))
    )
    assert again.plan.rows == found.plan.rows
    assert PlanStatus(found.plan, found.trials, found.results).expected_trials == []


@pytest.mark.parametrize("samples", [3, 5, 6, 9])
def test_a_search_of_listed_values_has_all_of_them_or_as_many_as_wanted(samples: int) -> None:
    spaces = {LR: (0.01, 0.1, 1.0), DECAY: (0.0, 0.001)}
    search = Search(Component(name="softmax"), {}, tuned=spaces)
    for score in (lambda p: 1.0, lambda p: p.tuned[LR], lambda p: math.nan):
        points = propose(search, samples, score, own_values={LR: 0.05, DECAY: 0.0}).points
        assert len({point.key for point in points}) == len(points) == min(samples, 6)


def test_a_search_begins_with_the_values_of_the_recipe_and_the_defaults() -> None:
    loss = Component(name="lgm", params={"alpha": 0.1})
    spaces = {LR: SearchRange(low=0.001, high=1, log=True)}
    search = Search(loss, {"alpha": SearchRange(low=0, high=1)}, tuned=spaces)
    points = propose(search, 4, lambda p: None, own_values={LR: 0.05}).points
    assert points[0] == Point(loss, {LR: 0.05})
    assert len({point.tuned[LR] for point in points}) == 4


def test_a_record_of_a_plan_keeps_the_tuned_rows_and_searches(tmp_path: Path) -> None:
    for more in (GRID.replace("0.2}", "0.2, compare: [softmax]}"), SEARCH):
        plan = plan_from(tmp_path, more)
        record = PlanRecord.model_validate_json(plan_record(plan).model_dump_json())
        again = plan_of(record)
        assert (again.rows, again.compared, again.losses) == (
            plan.rows,
            plan.compared,
            plan.losses,
        )
        assert [t.identity for t in again.trials] == [t.identity for t in plan.trials]
        assert again.table_identity == plan.table_identity


def test_tuned_tables_are_other_tables(tmp_path: Path) -> None:
    plain = plan_from(tmp_path, "selection: {holdout: 0.2}\n").table_identity
    assert plan_from(tmp_path, GRID).table_identity != plain
    assert plan_from(tmp_path, GRID.replace("1]", "1, 2]")).table_identity != plain


def test_a_budget_of_one_point_is_singular(tmp_path: Path) -> None:
    plan = plan_from(tmp_path, GRID.replace("0.01, 0.1, 1]", "0.1]"))
    assert f"each loss is tuned with 1 point: {LR} one of 0.1" in list(tuning_texts(plan))


def test_tuned_values_are_listed_and_other_differences_fail(tmp_path: Path) -> None:
    plan = plan_from(tmp_path, GRID)
    found = PlanWithResults(plan, {t.identity: result_of(t, own_optimum(t)) for t in plan.trials})
    differences = audit(plan, found.trials, {})
    assert {d.level for d in differences} == {"listed"}
    texts = [d.text for d in differences]
    assert f"each loss is tuned with 3 points: {LR} one of 0.01, 0.1, 1" in texts
    assert f"2-D: {LR}, tuned for each loss, is 0.1 for softmax; 0.01 for lgm" in texts
    assert not any("nothing was chosen" in text for text in texts)

    def changed(trial: Trial) -> Trial:
        recipe = trial.recipe.model_copy(update={"epochs": 3})
        return trial.model_copy(update={"recipe": recipe}) if trial.row == "lgm" else trial

    worse = audit(plan, map(changed, found.trials), {})
    assert any(d.level == "fails" and "recipe.epochs" in d.text for d in worse)


def test_a_value_that_is_no_point_of_the_loss_fails(tmp_path: Path) -> None:
    plan = plan_from(tmp_path, GRID)
    found = PlanWithResults(plan, {t.identity: result_of(t, own_optimum(t)) for t in plan.trials})

    def changed(trial: Trial) -> Trial:
        recipe = tuned_recipe(trial.recipe, {LR: 0.42})
        return trial.model_copy(update={"recipe": recipe}) if trial.row == "lgm" else trial

    worse = audit(plan, map(changed, found.trials), {})
    assert any(d.level == "fails" and LR in d.text for d in worse)


def test_uneven_budgets_fail(tmp_path: Path) -> None:
    plan = plan_from(tmp_path, GRID)
    fewer = replace(plan, rows=plan.rows[1:])
    assert loss_budgets(fewer.suite, fewer.losses, fewer.rows) == {"softmax": 2, "lgm": 3}
    texts = [d.text for d in audit(fewer, fewer.trials, {}) if d.level == "fails"]
    assert texts == ["tuning budget: points to choose from are 2 for softmax; 3 for lgm"]


COLUMNS = "{plain: {}, adaptive: {recipe: {optimizer: {name: adamw, lr: 0.002}}}}"


def test_columns_are_tuned_from_their_own_recipes(tmp_path: Path) -> None:
    searched = "search: {low: 0.0001, high: 1, log: true}"
    more = (
        f"tune: {{{LR}: {{{searched}}}}}\n"
        f"selection: {{samples: 9, compare: [softmax]}}\nvariants: {COLUMNS}\n"
    )
    path = tmp_path / "columns.yaml"
    body = SUITE.replace("variants: {{2-D: {{}}, 3-D: {{model: {{feature_dim: 3}}}}}}\n", "")
    path.write_text(body.format(losses=f"[softmax, {LGM}]", more=more, lr=0.05), encoding="utf-8")
    plan = check(load_suite(path), tmp_path)
    lrs = {
        variant: {row.tuned[LR] for row in plan.rows if row.applies_to(variant)}
        for variant in ("plain", "adaptive")
    }
    assert lrs["plain"] - lrs["adaptive"] == {0.05}
    assert lrs["adaptive"] - lrs["plain"] == {0.002}
    found = load_plan_with_results(plan, SyntheticStore(lambda t: 1.0 + t.seed))
    recipes = {(t.variant, t.row): t.recipe.optimizer for t in found.test_stage.trials}
    assert recipes["adaptive", "softmax(untuned)"].params["lr"] == 0.002
    assert recipes["plain", "softmax(untuned)"].params["lr"] == 0.05
    assert {key: optimizer.name for key, optimizer in recipes.items() if key[1] == "lgm"} == {
        ("plain", "lgm"): "sgd",
        ("adaptive", "lgm"): "adamw",
    }
    assert {d.level for d in audit(found.plan, found.trials, {})} == {"listed"}


def test_a_key_has_to_exist_in_the_recipe_of_every_column(tmp_path: Path) -> None:
    more = (
        "tune: {recipe.optimizer.momentum: {grid: [0.5, 0.9]}}\nselection: {holdout: 0.2}\n"
        f"variants: {COLUMNS}\n"
    )
    path = tmp_path / "columns.yaml"
    body = SUITE.replace("variants: {{2-D: {{}}, 3-D: {{model: {{feature_dim: 3}}}}}}\n", "")
    path.write_text(body.format(losses="[softmax]", more=more, lr=0.05), encoding="utf-8")
    with pytest.raises(SuiteError, match="is no key of the recipe of adaptive that can be tuned"):
        check(load_suite(path), tmp_path)
