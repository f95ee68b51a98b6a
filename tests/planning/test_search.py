"""Searches: what is proposed, that a replay proposes it again, and what is refused."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from lossbench.assembly.check import check
from lossbench.planning.plan import Plan
from lossbench.planning.search import ROUND, Search, propose
from lossbench.planning.searched_rows import search_identity, with_searched_rows
from lossbench.planning.selection import (
    choose_rows,
    final_trials,
    load_plan_with_results,
)
from lossbench.planning.trial import PlannedEvaluation, Trial
from lossbench.suite.grammar import SearchRange
from lossbench.suite.load import load_suite
from lossbench.suite.origin import SuiteError
from lossbench.suite.schema import Component
from tests.synthetic_plans import SyntheticStore

SEARCH = Search(
    Component(name="lgm", params={"alpha": 0.1, "lambda": 0.3}),
    {"alpha": SearchRange(low=1e-3, high=10, log=True), "lambda": SearchRange(low=0, high=1)},
)
SUITE = """\
suite: searching
dataset: digits
model: {name: digits_cnn, feature_dim: 2}
recipe: {epochs: 1, batch_size: 64, optimizer: {name: sgd, lr: 0.03}}
variants: {2-D: {}, 3-D: {model: {feature_dim: 3}}}
seeds: [0, 1]
losses:
  - softmax
  - lgm: {alpha: {search: {low: 0.01, high: 3, log: true}}}
selection: {samples: 20}
"""


def bowl(point: Component) -> float:
    alpha, lambda_ = point.params["alpha"], point.params["lambda"]
    return float(math.log10(alpha / 0.5) ** 2 + (lambda_ - 0.7) ** 2)


def points(
    search: Search, samples: int, score: Callable[[Component], float | None]
) -> list[Component]:
    return [p.loss for p in propose(search, samples, lambda p: score(p.loss)).points]


def test_a_search_learns_from_its_scores() -> None:
    found = points(SEARCH, 48, bowl)
    early = min(map(bowl, found[:ROUND]))
    late = sorted(map(bowl, found[-2 * ROUND :]))
    assert len(found) == 48
    assert late[0] < early / 4
    assert late[ROUND] < sorted(map(bowl, found[:ROUND]))[ROUND // 2]  # not by a single hit


def test_a_replay_ends_after_a_round_with_an_unknown_score() -> None:
    whole = points(SEARCH, 40, bowl)
    known = {point.model_dump_json() for point in whole[: ROUND + 3]}
    some = points(SEARCH, 40, lambda p: bowl(p) if p.model_dump_json() in known else None)
    assert some == whole[: 2 * ROUND]
    assert points(SEARCH, 40, lambda p: None) == whole[:ROUND]


def test_the_first_point_is_the_default() -> None:
    assert points(SEARCH, 2, bowl)[0] == SEARCH.loss
    outside = Search(SEARCH.loss, {"alpha": SearchRange(low=1, high=10)})
    assert 1 <= points(outside, 2, bowl)[0].params["alpha"] <= 10


def test_points_are_within_the_range_and_rounded() -> None:
    narrow = Search(SEARCH.loss, {"alpha": SearchRange(low=0.12345, high=0.12349)})
    found = points(narrow, 30, bowl)
    assert all(0.12345 <= point.params["alpha"] <= 0.12349 for point in found)
    for point in points(SEARCH, 30, bowl):
        assert len(f"{point.params['alpha']:.15g}".lstrip("0.").replace(".", "")) <= 3


def test_integers_and_choices_are_proposed_once() -> None:
    whole = Search(SEARCH.loss, {"alpha": SearchRange(low=1, high=4)}, frozenset({"alpha"}))
    found = [point.params["alpha"] for point in points(whole, 60, bowl)]
    assert sorted(found) == [1, 2, 3, 4]
    assert all(isinstance(value, int) for value in found)
    chosen = Search(SEARCH.loss, {"alpha": (0.1, 0.2)})
    assert len(points(chosen, 20, bowl)) == 2


def test_the_search_avoids_points_that_diverge() -> None:
    found = points(SEARCH, 48, lambda p: bowl(p) if p.params["alpha"] < 1 else math.nan)
    assert len(found) == 48
    broken = [p.params["alpha"] >= 1 for p in found]
    assert any(broken[:ROUND])
    assert sum(broken[2 * ROUND :]) < 0.25 * len(broken[2 * ROUND :])  # a quarter of the range


@pytest.fixture
def plan(write_suite: Callable[..., Path], tmp_path: Path) -> Plan:
    return check(load_suite(write_suite(text=SUITE)), tmp_path)


def scores_of(plan: Plan) -> dict[str, float]:
    """The two columns want different alphas."""
    best = {"2-D": 0.03, "3-D": 1.0}
    return {
        t.identity: abs(math.log(t.loss.params.get("alpha", 9) / best[t.variant])) + 0.01 * t.seed
        for t in plan.trials
    }


def test_a_plan_grows_to_the_number_of_samples_in_each_column(plan: Plan) -> None:
    assert len(plan.trials) == 2 * 2 * (1 + ROUND)
    while (grown := with_searched_rows(plan, scores_of(plan))).rows != plan.rows:
        assert {t.identity for t in plan.trials} <= {t.identity for t in grown.trials}
        plan = grown
    for variant in plan.suite.variants:
        own = [row for row in plan.rows if row.applies_to(variant)]
        assert [row.loss.name for row in own].count("lgm") == 20
    chosen = choose_rows(plan, scores_of(plan))
    assert chosen["2-D", "lgm"].loss.params["alpha"] == pytest.approx(0.03, rel=0.5)
    assert chosen["3-D", "lgm"].loss.params["alpha"] == pytest.approx(1.0, rel=0.5)
    assert len(final_trials(plan, chosen)) == 2 * 2 * 2


def test_only_does_not_change_the_points_of_a_search(plan: Plan) -> None:
    narrow = plan.narrowed("3-D/lgm*")
    for _ in range(3):
        plan, narrow = (
            with_searched_rows(plan, scores_of(plan)),
            with_searched_rows(narrow, scores_of(narrow)),
        )
    wanted = {t.identity for t in plan.trials if (t.variant, t.loss.name) == ("3-D", "lgm")}
    assert {t.identity for t in narrow.trials} == wanted
    assert len(wanted) == 2 * 20


def another_sampler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Optuna as another version may be: with a sampler that proposes other points."""
    monkeypatch.setattr(
        "optuna.samplers.TPESampler", lambda **_: optuna.samplers.RandomSampler(seed=7)
    )
    monkeypatch.setattr("lossbench.planning.searched_rows.version", lambda package: "99.0")


def best_alpha(trial: Trial) -> float:
    best = {"2-D": 0.03, "3-D": 1.0}[trial.variant]
    return float(abs(math.log(trial.loss.params.get("alpha", 9) / best)) + 0.01 * trial.seed)


def test_stored_points_replace_those_of_another_sampler(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load_plan_with_results(plan, SyntheticStore(best_alpha))
    assert before.plan.search_notes == ()
    assert {(p.loss, p.variant) for p in before.plan.search_points.values()} == {
        ("lgm", "2-D"),
        ("lgm", "3-D"),
    }
    assert {p.optuna for p in before.plan.search_points.values()} == {optuna.__version__}
    another_sampler(monkeypatch)
    lost = load_plan_with_results(plan, SyntheticStore(best_alpha))
    assert lost.plan.rows != before.plan.rows  # what happened without stored points

    after = load_plan_with_results(plan, SyntheticStore(best_alpha, before.plan.search_points))
    assert [t.identity for t in after.trials] == [t.identity for t in before.trials]
    assert after.plan.search_points == before.plan.search_points
    [note] = after.plan.search_notes
    assert re.match(r"2\d of 4\d points of 2 searches, stored with Optuna \d", note)
    assert note.endswith("proposed now with Optuna 99.0; the stored points are used")


def test_a_search_continues_after_its_stored_points(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load_plan_with_results(plan, SyntheticStore(best_alpha)).plan.search_points
    some = {k: p.model_copy(update={"points": p.points[:11]}) for k, p in before.items()}
    same = load_plan_with_results(plan, SyntheticStore(best_alpha, some)).plan
    assert same.search_points == before
    another_sampler(monkeypatch)
    grown = load_plan_with_results(plan, SyntheticStore(best_alpha, some)).plan
    for identity, proposed in grown.search_points.items():
        assert proposed.points[:11] == before[identity].points[:11]
        assert len(proposed.points) >= 20
        assert proposed.points != before[identity].points
        assert proposed.optuna == f"{optuna.__version__}, 99.0"


def test_identity_of_a_search_depends_on_its_space_and_training(plan: Plan) -> None:
    [search] = plan.searches
    wider = replace(search, spaces={"alpha": SearchRange(low=0.01, high=4, log=True)})
    recipe = plan.suite.recipe.model_copy(update={"epochs": 99})
    longer = replace(plan, suite=plan.suite.model_copy(update={"recipe": recipe}))
    more_measured = replace(
        plan,
        columns={
            name: replace(column, evaluations=(PlannedEvaluation(name="fgsm"),))
            for name, column in plan.columns.items()
        },
    )
    more_seeds = replace(plan, suite=plan.suite.model_copy(update={"seeds": [0, 1, 2]}))
    identity = search_identity(plan, search, "2-D")
    others = [
        search_identity(plan, search, "3-D"),
        search_identity(plan, wider, "2-D"),
        search_identity(longer, search, "2-D"),
    ]
    assert len({identity, *others}) == 4
    assert search_identity(more_seeds, search, "2-D") == identity
    assert search_identity(more_measured, search, "2-D") == identity


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("losses.lgm.alpha.search.low=5", r"low \(5\) should be less than high \(3\)"),
        ("losses.lgm.alpha.search.lo=5", "did you mean 'low'"),
        ("losses.lgm.alpha.search=[1]", "two values or more"),
        ("losses.lgm.alpha.search=[1, 1]", "a value twice"),
        ("losses.lgm.alpha.search.low=0", "above 0"),
        ("losses.lgm.alpha={search: {low: -2, high: 2}}", "greater than or equal to 0, not -2"),
        ("losses.lgm.alpha={search: {low: 1, high: 2}, log: true}", "inside search"),
        ("losses.lgm.alph={search: [1, 2]}", "did you mean 'alpha'"),
        ("losses.lgm.lambda={grid: [1, 2]}", "use only one"),
        ("losses.lgm.covariance={search: [identity, ful]}", "'identity' or 'diagonal'"),
        ("selection={holdout: 0.2}", "needs a held-out part; add selection"),
        ("losses=[softmax]", "no loss has a search"),
        ("selection.compare=[{lgm: {alpha: {search: [1, 2]}}}]", "should be a row, not a search"),
    ],
)
def test_what_is_refused(
    write_suite: Callable[..., Path], tmp_path: Path, override: str, said: str
) -> None:
    with pytest.raises(SuiteError, match=said):
        check(load_suite(write_suite(text=SUITE), [override]), tmp_path)


def test_the_first_round_covers_every_range_evenly() -> None:
    spaces = {
        "alpha": SearchRange(low=0.01, high=100, log=True),
        "lambda": SearchRange(low=0, high=8),
        "margin": SearchRange(low=1, high=4),
        "covariance": ("identity", "diagonal"),
    }
    loss = Component(
        name="lgm", params={"alpha": 0.1, "lambda": 9.0, "margin": 2, "covariance": "x"}
    )
    search = Search(loss, spaces, frozenset({"margin"}))
    first, *others = propose(search, 8, lambda point: None).values
    # defaults where they are in the space, otherwise the centre
    assert first == {"alpha": 0.1, "lambda": 2.67, "margin": 2, "covariance": "identity"}
    exponents = sorted(math.log10(point["alpha"]) for point in others)  # -2 to 2
    assert exponents == pytest.approx([-1.5, -1, -0.5, 0, 0.5, 1, 1.5], abs=0.01)
    shares = sorted(point["lambda"] / 8 for point in others)
    assert shares == pytest.approx([k / 9 for k in range(1, 8)], abs=0.01)
    assert {point["margin"] for point in others} == {1, 2, 3, 4}
    assert {point["covariance"] for point in others} == {"identity", "diagonal"}
    assert all(type(point["margin"]) is int for point in others)
