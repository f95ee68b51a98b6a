"""Power, numbers of seeds and minimum detectable differences, against scipy and simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from lossbench.analysis.power import (
    SeedSpread,
    equivalence_power,
    min_detectable_difference,
    power,
    seeds_to_decide,
)


def paired(n: int, sd: float) -> SeedSpread:
    """Spread of a paired t test, which has n - 1 degrees of freedom."""
    return SeedSpread(sd, n - 1, n)


@pytest.mark.parametrize(
    ("n", "effect", "alpha", "df"), [(3, 2, 0.05, 2), (5, 1.5, 0.01, 20.5), (40, 0.4, 0.05, 39)]
)
def test_power_matches_the_noncentral_t_distribution(
    n: int, effect: float, alpha: float, df: float
) -> None:
    critical, shift = stats.t.isf(alpha / 2, df), effect * math.sqrt(n)
    expected = stats.nct.sf(critical, df, shift) + stats.nct.cdf(-critical, df, shift)
    assert power(n, effect, alpha, df) == pytest.approx(expected, abs=5e-4)


def test_power_without_an_effect_is_the_level() -> None:
    assert power(3, 0, 0.05, 2) == pytest.approx(0.05, abs=1e-3)


@pytest.mark.parametrize(("effect", "margin"), [(0.0, 1.5), (0.8, 2.0), (1.4, 1.5)])
def test_power_of_equivalence_is_the_share_of_intervals_within_the_margin(
    effect: float, margin: float
) -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(effect, 1, (40_000, 6))
    half = stats.t.isf(0.025, 5) * samples.std(1, ddof=1) / math.sqrt(6)
    inside = np.abs(samples.mean(1)) + half <= margin
    found = equivalence_power(6, effect, margin, 0.05, 5)
    assert found == pytest.approx(inside.mean(), abs=0.01)


@pytest.mark.parametrize(("effect", "alpha"), [(1.0, 0.05), (0.3, 0.05), (0.5, 0.005)])
def test_seeds_to_decide_is_the_first_number_with_enough_power(effect: float, alpha: float) -> None:
    slow = next(n for n in itertools.count(2) if power(n, effect, alpha, n - 1) >= 0.8)
    assert seeds_to_decide(-3 * effect, paired(3, 3.0), alpha) == slow


def test_textbook_sample_sizes() -> None:
    assert seeds_to_decide(1.0, paired(3, 1.0), 0.05) == 10
    assert seeds_to_decide(0.5, paired(3, 1.0), 0.05) == 34
    assert seeds_to_decide(0.01, paired(3, 1.0), 0.05) is None  # some 78,000


def test_a_small_difference_is_decided_by_equivalence() -> None:
    spread = paired(3, 1.0)
    assert seeds_to_decide(0.0, spread, 0.05) is None
    needed = seeds_to_decide(0.0, spread, 0.05, margin=1.0)
    assert needed is not None
    assert equivalence_power(needed, 0.0, 1.0, 0.05, needed - 1) >= 0.8
    assert equivalence_power(needed - 1, 0.0, 1.0, 0.05, needed - 2) < 0.8
    assert seeds_to_decide(2.0, spread, 0.05, margin=1.0) == seeds_to_decide(2.0, spread, 0.05)


def test_degrees_of_freedom_grow_with_the_seeds() -> None:
    pooled = SeedSpread(1.0, 20.0, 3)
    assert pooled.df_with(5) == 40
    found = seeds_to_decide(1.5, pooled, 0.01)
    assert found is not None
    assert power(found, 1.5, 0.01, 10.0 * (found - 1)) >= 0.8
    assert found < (seeds_to_decide(1.5, paired(3, 1.0), 0.01) or 0)


@pytest.mark.parametrize(("n", "alpha"), [(2, 0.05), (2, 0.0005), (3, 0.05), (10, 0.01)])
def test_the_minimum_detectable_difference_has_the_stated_power(n: int, alpha: float) -> None:
    gap = min_detectable_difference(paired(n, 2.5), alpha)
    rng = np.random.default_rng(0)
    samples = rng.normal(gap, 2.5, (20_000, n))
    found = np.mean(stats.ttest_1samp(samples, 0, axis=1).pvalue <= alpha)
    assert found == pytest.approx(0.8, abs=0.012)  # 4 standard errors


def test_an_equivalence_is_sought_only_among_fewer_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def counted(n: int, *arguments: float) -> float:
        asked.append(n)
        return equivalence_power(n, *arguments)

    monkeypatch.setattr("lossbench.analysis.power.equivalence_power", counted)
    difference = seeds_to_decide(1.0, paired(3, 1.0), 0.05)
    assert seeds_to_decide(1.0, paired(3, 1.0), 0.05, margin=1.01) == difference == 10
    assert asked == [9]
    assert seeds_to_decide(1.0, paired(3, 1.0), 0.05, margin=3.0) == 5
    assert max(asked) == 9
