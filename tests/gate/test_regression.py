"""The verdicts of a check: by example, against scipy, and by how often they are wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from benchmarks.check_rates import Scenario, measure
from lossbench.analysis.statistics import larger_share_p
from lossbench.gate.regression import CheckedCell, check_cells, exit_code
from lossbench.planning.plan import Plan
from lossbench.planning.selection import choose_rows, final_trials
from tests.gate.files import MakePlan, check, update
from tests.gate.synthetic_baseline import SPREAD, Values, make_baseline
from tests.report.synthetic_report import GRID, Results, result_of


def judged(before: Values, after: Values, first_seed: int = 0, **metric: Any) -> CheckedCell:
    """The verdict on the first row."""
    return check_cells(make_baseline(before, **metric), make_baseline(after, first_seed, **metric))[
        0
    ]


STEADY: Values = {"softmax": [5.0, 5.2, 5.4], **SPREAD}


@pytest.mark.parametrize(
    ("after", "verdict"),
    [
        ([5.0, 5.2, 5.4], "identical"),
        ([5.0, 5.2], "identical"),
        ([5.0, 5.2, 5.4, 9.0], "identical"),  # the same code; another seed is no change
        ([5.0, 5.2, 5.5], "pass"),
        ([8.0, 8.1, 8.5], "regression"),
        ([6.5, 10.2, 14.4], "regression"),  # wildly worse: beyond the baseline's noise
        ([2.0, 2.3, 2.2], "improved"),
        ([5.9, 5.2, 5.9], "undecided"),
        ([5.0, 5.2, None], "undecided"),
        ([8.0, 8.1, None], "regression"),
        ([None, None, None], "regression"),
        ([None], "regression"),  # the cell has lost its number
        ([9.0], "undecided"),  # one seed may train badly
        ([5.1, 5.3, 15.0], "undecided"),  # so may one of three
    ],
)
def test_same_seeds(after: list[float | None], verdict: str) -> None:
    found = judged(STEADY, {"softmax": after, **SPREAD})
    assert found.verdict == verdict, found.reason
    assert found.reason


@pytest.mark.parametrize(
    ("after", "verdict"),
    [
        ([5.1, 5.2, 5.3], "pass"),
        ([5.0, 5.2, 5.4], "pass"),  # equal values of other seeds are luck, not identity
        ([5.3, 5.5, 5.7], "undecided"),
        ([8.0, 8.1, 8.5], "regression"),
        ([2.0, 2.3, 2.2], "improved"),
        ([5.1, 5.3, 15.0], "undecided"),
        ([8.0, 8.5], "regression"),
        ([8.0], "undecided"),
        ([5.4], "undecided"),
        ([5.1, None, 5.3], "undecided"),
    ],
)
def test_new_seeds(after: list[float | None], verdict: str) -> None:
    found = judged(STEADY, {"softmax": after, **SPREAD}, first_seed=3)
    assert found.verdict == verdict, found.reason
    assert found.matched == ()


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ([None, 5.0, 5.2], [None, None, None], "regression"),
        ([None, None, 5.2], [None, None, None], "regression"),
        ([None, 5.0, 5.2], [None], "identical"),  # as before with this seed
        ([None, 5.0, 5.2], [None, None], "regression"),
        ([None, None, None], [None, None, None], "identical"),
        ([None, None], [None, None, None], "identical"),
        ([None, None, None], [5.0, 5.1, None], "improved"),
        ([None, 5.0, 5.2], [None, 5.0, 5.2], "identical"),
        ([None, 5.0, 5.2], [5.1, 5.0, 5.2], "pass"),
        ([5.0, 5.1, 5.2], [None, None, 60.0], "regression"),
        ([5.0, 5.1, 5.2], [60.0, None, None], "regression"),
        ([5.0, 5.1, 5.2], [None, None, 5.2], "undecided"),
        ([5.0, 5.1, 5.2], [None, None, 0.1], "undecided"),
        ([None, None, 5.2], [None, None, 60.0], "undecided"),
    ],
)
def test_divergence(before: list[float | None], after: list[float | None], verdict: str) -> None:
    found = judged({"softmax": before, **SPREAD}, {"softmax": after, **SPREAD})
    assert found.verdict == verdict, found.reason


COUNTS = [(n, d) for n in range(4) for d in range(4) if n + d]
"""How many seeds gave a value and how many diverged, of up to six."""


@pytest.mark.parametrize(("was", "was_lost"), COUNTS)
@pytest.mark.parametrize(("now", "now_lost"), COUNTS)
def test_verdicts_by_the_number_of_seeds_with_a_value(
    was: int, was_lost: int, now: int, now_lost: int
) -> None:
    before = [5.0, 5.2, 5.4][:was] + [None] * was_lost
    after = [5.1, 5.2, 5.3][:now] + [None] * now_lost
    found = judged({"softmax": before, **SPREAD}, {"softmax": after, **SPREAD}, first_seed=10)
    if not now:
        expected = {"regression"} if was else {"pass"}
    elif not was:
        expected = {"improved"}
    elif now_lost * (was + was_lost) > was_lost * (now + now_lost):
        expected = {"undecided"}
    else:
        expected = {"pass", "undecided"}  # by the values
    assert found.verdict in expected, found.reason


def test_many_seeds_that_diverge_are_more_than_chance_allows() -> None:
    values = list(np.linspace(5, 5.4, 10))

    def after(diverged: int) -> CheckedCell:
        now = [None] * diverged + values[diverged:]
        return judged({"softmax": values, **SPREAD}, {"softmax": now, **SPREAD})

    assert after(9).verdict == after(8).verdict == "regression"
    assert "8 of 10 seeds diverged" in after(8).reason
    assert after(2).verdict == "undecided"


@pytest.mark.parametrize("before", [(0, 5), (1, 3), (2, 2), (4, 9)])
@pytest.mark.parametrize("after", [(5, 5), (2, 3), (1, 2), (7, 8)])
def test_the_p_value_of_more_diverged_seeds_is_fishers(
    before: tuple[int, int], after: tuple[int, int]
) -> None:
    table = [[now, of - now] for now, of in (after, before)]
    expected = stats.fisher_exact(table, alternative="greater").pvalue
    assert larger_share_p(before, after) == pytest.approx(expected)


def contains_0(found: CheckedCell) -> bool:
    assert found.interval is not None
    return found.interval.low <= 0 <= found.interval.high


@pytest.mark.parametrize(
    ("after", "others", "explained"),
    [
        ([6.5, 10.2, 14.4], SPREAD, "contains 0 because the values vary more between seeds"),
        ([5.9, 5.9, 6.8], {}, "excludes 0, but it is the interval of this cell alone"),
        ([9.0], SPREAD, "excludes 0, but a single seed may train badly"),
        ([5.3, 5.6, 5.9], {}, "excludes 0, but the difference is below the minimum effect"),
    ],
)
def test_an_interval_that_seems_to_contradict_the_verdict_is_explained(
    after: list[float], others: Values, explained: str
) -> None:
    moved = {row: [v + 0.4 * (-1) ** i for i, v in enumerate(x)] for row, x in others.items()}
    found = judged({"softmax": [5.0, 5.2, 5.4], **others}, {"softmax": after, **moved})
    assert contains_0(found) == ("contains" in explained)
    assert (found.verdict == "regression") == ("contains" in explained)
    assert explained in found.reason


def test_no_interval_contradicts_its_verdict_without_an_explanation() -> None:
    rng = np.random.default_rng(1)
    contradictions = 0
    for _ in range(60):
        before, after = draw(rng, [0.1, 0.2, 0.4, 0.8], shift=float(rng.uniform(-8, 8)))
        if rng.random() < 0.3:
            after["r0"] = [None, *after["r0"][1:]]
        for found in check_cells(make_baseline(before), make_baseline(after, 3)):
            if found.interval and found.verdict in ("regression", "improved", "undecided"):
                contradicts = contains_0(found) == (found.verdict != "undecided")
                assert ("the interval" in found.reason) == contradicts, found.reason
                contradictions += contradicts
    assert contradictions > 3


def test_without_any_known_spread_nothing_is_decided() -> None:
    found = judged({"softmax": [5.0]}, {"softmax": [9.0]})
    assert (found.verdict, found.interval) == ("undecided", None)


def test_single_seeds_use_the_spread_of_the_other_cells() -> None:
    twice = judged({"softmax": [5.0], **SPREAD}, {"softmax": [9.0, 9.5]}, first_seed=3)
    assert twice.verdict == "regression"
    assert judged({"softmax": [5.0], **SPREAD}, {"softmax": [5.1]}).verdict == "undecided"
    wide = judged({"softmax": [5.0], **SPREAD}, {"softmax": [5.1]}, min_effect=1.0)
    assert wide.verdict == "pass"


def test_higher_is_better_mirrors_everything() -> None:
    mirrored = {"direction": "higher"}
    better = judged(STEADY, {"softmax": [8.0, 8.1, 8.5], **SPREAD}, **mirrored)
    worse = judged(STEADY, {"softmax": [2.0, 2.3, 2.2], **SPREAD}, **mirrored)
    assert (better.verdict, worse.verdict) == ("improved", "regression")
    assert worse.delta == pytest.approx(-3.0333333)


def test_a_worsening_below_the_minimum_effect_is_not_a_regression() -> None:
    after = {"softmax": [5.3, 5.51, 5.7], **SPREAD}  # clearly worse, by 0.3
    assert judged(STEADY, after).verdict == "pass"
    assert judged(STEADY, after, min_effect=0.2).verdict == "regression"


def test_a_difference_without_spread_is_compared_with_the_baselines_noise() -> None:
    assert judged(STEADY, {"softmax": [9.0, 9.2, 9.4], **SPREAD}).verdict == "regression"


def test_intervals_are_those_of_the_t_tests() -> None:
    before, after = [5.0, 5.3, 5.4], [5.9, 5.7, 6.4]
    unpaired = judged({"a": before}, {"a": after}, first_seed=3)
    expected = stats.ttest_ind(after, before).confidence_interval()
    assert unpaired.interval is not None
    assert (unpaired.interval.low, unpaired.interval.high) == pytest.approx(tuple(expected))
    paired = judged({"a": before}, {"a": after})
    expected = stats.ttest_rel(after, before).confidence_interval()
    assert paired.interval is not None
    assert (paired.interval.low, paired.interval.high) == pytest.approx(tuple(expected))


def test_a_new_row_fails_nothing_and_a_few_common_seeds_are_not_matched() -> None:
    before = make_baseline(STEADY)
    found = check_cells(before, make_baseline({**STEADY, "lgm": [1.0, 2.0, 3.0]}))
    assert found[-1].verdict == "new"
    assert exit_code(found) == 0
    assert judged(STEADY, {"softmax": [5.4, 5.0, 5.2]}, first_seed=2).matched == ()


def test_exit_codes() -> None:
    def code(*rows: Sequence[float | None]) -> int:
        after = {f"row{i}": row for i, row in enumerate(rows)}
        before = {f"row{i}": [5.0, 5.2, 5.4] for i in range(len(rows))}
        return exit_code(
            check_cells(make_baseline({**before, **SPREAD}), make_baseline({**after, **SPREAD}))
        )

    same, worse, unclear = [5.0, 5.2, 5.4], [8.0, 8.1, 8.5], [5.0, 5.2, None]
    assert code(same, same) == 0
    assert code(same, unclear) == 3
    assert code(unclear, worse) == 1


def draw(
    rng: np.random.Generator, spreads: Sequence[float], shift: float = 0.0
) -> tuple[Values, Values]:
    """Two tables of the same losses, three seeds each; the first loss is worse in the second."""
    before = {f"r{i}": list(5 + s * rng.standard_normal(3)) for i, s in enumerate(spreads)}
    after = {f"r{i}": list(5 + s * rng.standard_normal(3)) for i, s in enumerate(spreads)}
    after["r0"] = [value + shift * spreads[0] for value in after["r0"]]
    return before, after


def share_of_alarms(shift: float, tables: int = 80) -> float:
    """Share of alarms for tables of 16 losses with spreads from 0.2 to 1.6 and other seeds."""
    rng = np.random.default_rng(0)
    spreads = list(np.geomspace(0.2, 1.6, 16))
    alarms = 0
    for _ in range(tables):
        before, after = draw(rng, spreads[::-1], shift)
        found = check_cells(
            make_baseline(before, min_effect=0.01), make_baseline(after, 3, min_effect=0.01)
        )
        alarms += exit_code(found) == 1
    return alarms / tables


def test_noise_alone_rarely_fails_a_whole_table_and_a_bad_loss_nearly_always_does() -> None:
    assert share_of_alarms(shift=0) <= 0.0625  # 5 of 80; 5 % is the bound
    assert share_of_alarms(shift=10) >= 0.9


def test_two_seeds_and_unequal_noise_stay_within_the_promised_rate() -> None:
    """20 losses with spreads of 0.4 e^N(0, 0.7), checked with the same two seeds."""
    rng = np.random.default_rng(5)
    alarms, tables = 0, 500
    for _ in range(tables):
        spreads = 0.4 * np.exp(0.7 * rng.standard_normal(20))
        before, after = (
            make_baseline(
                {f"r{i}": list(5 + s * rng.standard_normal(2)) for i, s in enumerate(spreads)},
                min_effect=0.01,
            )
            for _ in range(2)
        )
        alarms += exit_code(check_cells(before, after)) == 1
    assert alarms / tables <= 0.05  # 0.034 in 10,000 tables; 0.068 if spreads were pooled freely


def test_several_columns_stay_within_the_promised_rate() -> None:
    """3 columns of 4 losses with spreads of e^N(0, 0.7), checked with the same three seeds."""
    [rates] = measure(300, (Scenario(3, 3, 4, "rows e^N(0, 0.7)"),))
    # 0.043 in 6,000 tables; 0.065 if each column were pooled by itself
    assert rates.false <= 0.05
    assert rates.found >= 0.25


def test_a_loss_without_any_chosen_row_is_a_regression(
    make_plan: MakePlan, run_all: Callable[[Plan], Results], tmp_path: Path
) -> None:
    plan, path = make_plan(GRID), tmp_path / "synthetic.json"
    results = run_all(plan)
    update(plan, results, path)

    def with_center(status: str, seeds: int, row: str = "center") -> Results:
        """Some seeds of the held-out part ended otherwise; others of the test set are kept."""
        ended = {
            t.identity: result_of(t, 5.0, status=status)
            for t in plan.trials
            if t.row.startswith(row) and t.seed < seeds
        }
        return {**results, **ended}

    text, code = check(plan, with_center("diverged", 1), path)
    assert code == 1
    assert "nothing was chosen for center: none of its rows finished all seeds" in text
    assert text.count("  regression\n") == 2  # the test set's cells of both columns
    text, code = check(plan, with_center("stopped", 3, "center(weight=0.001)"), path)
    assert code == 3
    assert "every seed was stopped early in favour of other rows" in text


def test_another_chosen_row_leaves_the_old_one_undecided(
    make_plan: MakePlan, run_all: Callable[[Plan], Results], tmp_path: Path
) -> None:
    plan, path = make_plan(GRID), tmp_path / "synthetic.json"
    results = run_all(plan)
    update(plan, results, path)
    best = next(row for row in plan.rows if row.label.startswith("center"))
    promoted = {
        t.identity: results[t.identity].model_copy(update={"metrics": {"error": 0.1}})
        for t in plan.trials
        if t.row == best.label
    }
    changed = {**results, **promoted}
    scores = {t.identity: changed[t.identity].metrics["error"] for t in plan.trials}
    for trial in final_trials(plan, choose_rows(plan, scores)):
        template = results[next(iter(results))]
        changed.setdefault(trial.identity, template.model_copy(update={"identity": trial.identity}))
    text, code = check(plan, changed, path)
    assert code == 3
    assert "selection chose a different row than in the baseline" in text
