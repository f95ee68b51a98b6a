"""Verdicts after repeated looks: the replay, and a slow one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from lossbench.analysis.comparison import compare_with_reference
from lossbench.analysis.error_spending import Looks, nominal_level, overall_p
from lossbench.analysis.row_spread import estimate_spreads
from lossbench.analysis.sequential import (
    LookPlan,
    SequentialVerdicts,
    compare_other_metric,
    decide,
    expected_trainings,
)
from lossbench.analysis.statistics import Summary

Cells = dict[tuple[str, str], Summary]
PLAN = LookPlan("error", 12, ((0, 1, 2), *((seed,) for seed in range(3, 12))))


def table_of(values: np.ndarray) -> Cells:
    """Cells of (C, R, S) values; NaN marks a diverged seed."""
    cells = {}
    for c, r in np.ndindex(values.shape[:2]):
        there = {seed: float(x) for seed, x in enumerate(values[c, r]) if x == x}
        lost = values.shape[2] - len(there)
        cells[f"c{c}", f"r{r}"] = Summary(tuple(there.values()), lost, 0, tuple(there))
    return cells


def made_up(gaps: list[float], *, columns: int = 2, seeds: int = 12, random: int = 0) -> np.ndarray:
    rng = np.random.default_rng(random)
    values = rng.normal(0, 1, (columns, len(gaps) + 1, seeds)) + rng.normal(
        0, 1, (columns, 1, seeds)
    )
    values[:, 1:] += np.array(gaps)[:, None]
    return values


def labels_of(cells: Mapping[tuple[str, str], Summary]) -> dict[str, str]:
    return dict.fromkeys((variant for variant, _ in cells), "r0")


def decide_all(
    cells: Cells, plan: LookPlan = PLAN, margin: float | None = 1.5
) -> SequentialVerdicts:
    labels = labels_of(cells)
    margins = None if margin is None else dict.fromkeys(labels, margin)
    return decide(cells, plan, "r0", labels, False, margins)


def test_one_look_at_all_seeds_is_the_ordinary_comparison() -> None:
    cells = table_of(made_up([0, 1.5, 3, 6]))
    labels = labels_of(cells)
    plan = LookPlan("error", 12, (tuple(range(12)),))
    found = decide_all(cells, plan)
    once = compare_with_reference(cells, "r0", labels, False, dict.fromkeys(labels, 1.5))
    for a, b in zip(found.verdicts.listed, once.listed, strict=True):
        assert (a.outcome, a.seeds_to_decide) == (b.outcome, b.seeds_to_decide)
        assert a.p_holm == pytest.approx(b.p_holm)
    assert found.limit_reached
    assert found.looks == 1


def replay_slowly(cells: Cells, margin: float | None) -> dict[tuple[str, str], tuple[str, int]]:
    """Outcome and look of every decided comparison, rejected one at a time."""
    labels = labels_of(cells)
    pairs = [key for key in cells if key[1] != "r0"]
    decided: dict[tuple[str, str], tuple[str, int]] = {}
    significant: set[tuple[str, str]] = set()
    numbers: list[int] = []
    for look, n in enumerate(range(3, 13)):
        numbers.append(n)
        seeds = {key: 3 + decided[key][1] if key in decided else n for key in pairs}
        for variant in labels:
            seeds[variant, "r0"] = max(s for key, s in seeds.items() if key[0] == variant)
        seen = {
            key: Summary(cell.values[: seeds[key]], seeds=tuple(range(seeds[key])))
            for key, cell in cells.items()
        }
        spreads = estimate_spreads(seen, labels)
        p, half = {}, {}
        for variant, row in (key for key in pairs if key not in decided):
            spread = spreads.difference(variant, row, "r0")
            assert spread is not None
            gap = np.mean(np.subtract(cells[variant, row].values, cells[variant, "r0"].values)[:n])
            error = spread.sd / math.sqrt(n)
            p[variant, row] = 2 * stats.t.sf(abs(gap) / error, spread.df)
            level = nominal_level(0.05 / len(pairs), numbers, 12)
            half[variant, row] = gap, stats.t.isf(level / 2, spread.df) * error
        equivalent = {
            key for key, (gap, h) in half.items() if margin is not None and abs(gap) + h <= margin
        }
        waiting = dict(p)
        while waiting:
            first = min(waiting, key=lambda key: waiting[key])
            level = 0.05 / (len(pairs) - len(significant))
            if waiting.pop(first) > nominal_level(level, numbers, 12):
                break
            significant.add(first)
            if first not in equivalent:
                decided[first] = ("worse" if half[first][0] > 0 else "better"), look
        decided |= dict.fromkeys(equivalent, ("equivalent", look))
    return decided


@pytest.mark.parametrize("margin", [None, 1.0, 2.5])
@pytest.mark.parametrize("random", range(4))
def test_verdicts_and_looks_are_those_of_a_slow_replay(margin: float | None, random: int) -> None:
    cells = table_of(made_up([0, 0.3, 1.5, -2, 3, 6], random=random))
    found = decide_all(cells, margin=margin)
    quick = {
        (d.variant, d.row): (d.verdict.outcome, d.look)
        for d in found.decisions
        if d.look is not None
    }
    assert quick == replay_slowly(cells, margin)
    assert len(quick) > 4
    assert set(found.undecided) == {key for key in cells if key[1] != "r0"} - set(quick)
    for decision in found.decisions:
        verdict = decision.verdict
        assert verdict.interval is not None
        excludes = verdict.interval.low > 0 or verdict.interval.high < 0
        assert verdict.p_holm is not None
        assert excludes is (verdict.p_holm <= 0.05)
        assert verdict.difference.n == 3 + (9 if decision.look is None else decision.look)


def test_seeds_after_the_decision_change_nothing() -> None:
    values = made_up([0, 1.5, 4, 6])
    found = decide_all(table_of(values))
    stops = {(d.variant, d.row): d.look for d in found.decisions if d.look is not None}
    for c, r in np.ndindex(2, 5):
        rows = [look for (variant, _), look in stops.items() if variant == f"c{c}"]
        undecided = len(rows) < 4
        last = (9 if undecided else max(rows)) if r == 0 else stops.get((f"c{c}", f"r{r}"), 9)
        values[c, r, 3 + last :] = 100.0
    again = decide_all(table_of(values))
    assert again.decisions == found.decisions
    assert again.undecided == found.undecided
    assert any(look < 9 for look in stops.values())


def test_the_values_of_a_stopped_row_need_not_exist() -> None:
    """A run trains no more seeds of rows that are decided."""
    cells = table_of(made_up([0, 1.5, 4, 6]))
    found = decide_all(cells)
    trained = {}
    for key, cell in cells.items():
        looks = [d.look for d in found.decisions if d.variant == key[0]]
        if key[1] == "r0":
            look = 9 if None in looks else max(x for x in looks if x is not None)
        else:
            [look] = [d.look for d in found.decisions if (d.variant, d.row) == key]
        n = 12 if look is None else 3 + look
        trained[key] = Summary(cell.values[:n], seeds=cell.seeds[:n])
    assert sum(cell.n for cell in trained.values()) < 2 * 5 * 12
    assert decide_all(trained) == found


def test_the_number_of_rounds_so_far_changes_no_earlier_decision() -> None:
    cells = table_of(made_up([0, 1.5, 2, 4, 6]))
    whole = decide_all(cells)
    for rounds in range(1, 11):
        part = decide_all(cells, replace(PLAN, rounds=PLAN.rounds[:rounds]))
        assert part.looks == rounds
        assert part.limit_reached is (rounds == 10)
        for early, late in zip(part.decisions, whole.decisions, strict=True):
            if early.look is not None:
                assert replace(early.verdict, paired=late.verdict.paired) == late.verdict
                assert early.look == late.look
            else:
                assert late.look is None or late.look >= rounds


def test_a_round_that_is_not_complete_is_no_look() -> None:
    cells = table_of(made_up([0, 1.5, 4, 6], seeds=8))
    complete = decide_all(cells, replace(PLAN, rounds=PLAN.rounds[:5]))
    variant, row = complete.undecided[0]
    cell = cells[variant, row]
    cells[variant, row] = Summary(cell.values[:7], 0, 1, cell.seeds[:7])
    partial = decide_all(cells, replace(PLAN, rounds=PLAN.rounds[:6]))
    assert (partial.looks, partial.undecided) == (5, complete.undecided)
    for a, b in zip(partial.decisions, complete.decisions, strict=True):
        assert (a.look, a.verdict.interval) == (b.look, b.verdict.interval)
    first = {key: Summary(c.values[:2], 0, 1, c.seeds[:2]) for key, c in cells.items()}
    found = decide_all(first, replace(PLAN, rounds=PLAN.rounds[:1]))
    assert found.looks == 0
    assert len(found.undecided) == 8
    assert all(decision.look is None for decision in found.decisions)


def test_a_row_that_diverges_gets_no_more_seeds() -> None:
    values = made_up([0, 1.5, 4, 6])
    values[0, 1, :2] = math.nan  # one value of three
    values[1, 2, 1] = math.nan  # two values of three: gets further seeds
    values[1, 0, 4] = math.nan
    found = decide_all(table_of(values), replace(PLAN, rounds=PLAN.rounds[:1]))
    assert ("c0", "r1") not in found.undecided
    assert ("c1", "r2") in found.undecided
    by_key = {(d.variant, d.row): d.verdict for d in found.decisions}
    assert by_key["c0", "r1"].outcome == "none"
    assert found.verdicts.comparisons == 7
    later = decide_all(table_of(values))
    assert {d.verdict.outcome for d in later.decisions if d.look is not None} >= {"worse"}
    assert later.verdicts.comparisons == 7  # although the row has ten values in the end
    [lost] = [d for d in later.decisions if (d.variant, d.row) == ("c0", "r1")]
    assert (lost.verdict.outcome, lost.look) == ("none", None)


def test_one_seed_at_first_decides_nothing() -> None:
    values = made_up([0, 4, 8])
    plan = LookPlan("error", 12, ((0,), *((seed,) for seed in range(1, 12))))
    first = decide_all(table_of(values), replace(plan, rounds=plan.rounds[:1]))
    assert first.looks == 1
    assert len(first.undecided) == 6
    assert expected_trainings(first) is None
    assert any(d.look is not None for d in decide_all(table_of(values), plan).decisions)


def test_other_metrics_are_tested_at_the_level_of_the_look_at_which_their_row_stopped() -> None:
    cells, other = table_of(made_up([0, 1.5, 4, 6])), table_of(made_up([0, 3, 3, 3], random=5))
    decided = decide_all(cells)
    labels = labels_of(cells)
    found = compare_other_metric(other, decided, "r0", labels, False, dict.fromkeys(labels, 1.5))
    for verdict, decision in zip(found.listed, decided.decisions, strict=True):
        look = 9 if decision.look is None else decision.look
        assert verdict.difference.n == 3 + look
        numbers = list(range(3, 4 + look))
        level = nominal_level(0.05 / 8, numbers, 12)
        assert verdict.equivalence_level == pytest.approx(level)
        assert verdict.spread is not None
        t = abs(verdict.difference.mean or 0) * math.sqrt(3 + look) / verdict.spread.sd
        p = overall_p(2 * float(stats.t.sf(t, verdict.spread.df)), numbers, 12)
        assert verdict.p_holm is not None
        assert p <= verdict.p_holm + 1e-12
        assert verdict.p_holm <= 8 * p + 1e-12
    assert found.comparisons == 8


def test_more_seeds_than_the_limit_are_one_look() -> None:
    cells = table_of(made_up([0, 4]))
    found = decide_all(cells, LookPlan("error", 5, (tuple(range(12)),)))
    assert found.limit_reached
    assert found.verdicts.alpha == pytest.approx(0.05 / 4)


def test_repeated_looks_do_not_inflate_the_error() -> None:
    """Four rows without a difference, ten looks, 100 tables."""
    wrong = 0
    for random in range(100):
        found = decide_all(table_of(made_up([0] * 4, columns=1, random=random)), margin=None)
        wrong += any(d.look is not None for d in found.decisions)
    assert wrong <= 100 * (0.05 + 2.5 * math.sqrt(0.05 * 0.95 / 100))  # 0.16 at the plain level


def test_expected_trainings_are_those_that_come() -> None:
    expected, real = [], []
    for random in range(8):
        cells = table_of(made_up([0, 1, 2, 3, 4], random=random))
        first = decide_all(cells, replace(PLAN, rounds=PLAN.rounds[:1]))
        guess = expected_trainings(first)
        assert guess is not None
        expected.append(guess)
        whole = decide_all(cells)
        stops = {(d.variant, d.row): 9 if d.look is None else d.look for d in whole.decisions}
        for variant in ("c0", "c1"):
            stops[variant, "r0"] = max(look for (v, _), look in stops.items() if v == variant)
        real.append(sum(stops.values()))
    assert np.mean(expected) == pytest.approx(np.mean(real), rel=0.2)
    assert expected_trainings(decide_all(cells)) == 0


def test_tables_without_values() -> None:
    empty, lost, equal = (
        Summary((), 0, 3),
        Summary((), 3),
        Summary((1.0,) * 3, seeds=(0, 1, 2)),
    )
    plan = replace(PLAN, rounds=PLAN.rounds[:1])
    for cell, looks, going in ((empty, 0, True), (lost, 1, False), (equal, 1, True)):
        found = decide_all({("c0", "r0"): cell, ("c0", "r1"): cell}, plan)
        assert found.looks == looks
        assert found.undecided == ((("c0", "r1"),) if going else ())
        assert expected_trainings(found) == (None if going else 0)
    assert decide_all({("c0", "r0"): equal}, plan).undecided == ()


def test_expected_trainings_account_for_a_limited_number_of_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = decide_all(table_of(made_up([0.0], seeds=3)), LookPlan("error", 1000, ((0, 1, 2),)))
    made: list[tuple[int, ...]] = []

    def looks(seeds: tuple[int, ...], max_seeds: int) -> Looks:
        made.append(seeds)
        return Looks(seeds, max_seeds)

    monkeypatch.setattr("lossbench.analysis.sequential.Looks", looks)
    expected = expected_trainings(found)
    assert expected is not None
    assert 4 <= expected <= 4 * 997
    longest = max(made, key=len)
    assert (longest[0], longest[-1], len(longest)) == (3, 1000, 51)
