"""Measured means compared with published ones, against scipy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from lossbench.analysis.published import Published
from lossbench.analysis.reproduction import Reproduction, compare_with_published
from lossbench.analysis.statistics import Summary
from lossbench.planning.plan import Plan
from tests.analysis.made_up_tables import MNIST, only_table
from tests.synthetic_plans import with_class_counts

KEY = ("2-D", "lgm")
VALUES = (1.20, 1.32, 1.25)


def compared(
    values: tuple[float, ...],
    mean: float,
    std: float | None,
    margin: float | None = None,
    higher: bool = False,
) -> Reproduction:
    """A table of one cell, whose spread is its own."""
    margins = {} if margin is None else {KEY: margin}
    found = compare_with_published(
        {KEY: Summary(values)}, {KEY: Published(mean, std)}, margins, higher
    )
    return found[KEY]


@pytest.mark.parametrize("std", [0.01, 0.05, 0.3])
@pytest.mark.parametrize("values", [VALUES, (1.0, 1.4), (1.1, 1.2, 1.3, 1.25, 1.6)])
def test_the_interval_is_welchs(values: tuple[float, ...], std: float) -> None:
    found = compared(values, 1.17, std)
    assert found.gap == pytest.approx(np.mean(values) - 1.17)
    assert found.interval is not None
    for bound in (found.interval.low, found.interval.high):
        # a published mean at the bound is the one that Welch's test just rejects
        test = stats.ttest_ind_from_stats(
            np.mean(values),
            np.std(values, ddof=1),
            len(values),
            1.17 + bound,
            std,
            3,
            equal_var=False,
        )
        assert test.pvalue == pytest.approx(0.05, rel=1e-6)


def test_a_number_without_a_standard_deviation_counts_as_exact() -> None:
    found = compared(VALUES, 1.17, None)
    expected = stats.ttest_1samp(VALUES, 1.17).confidence_interval()
    assert found.interval is not None
    assert (found.interval.low + 1.17, found.interval.high + 1.17) == pytest.approx(tuple(expected))


@pytest.mark.parametrize(
    ("values", "mean", "margin", "higher", "outcome"),
    [
        ((1.20, 1.21, 1.22), 1.21, 0.2, False, "reproduced"),
        ((1.20, 1.21, 1.22), 1.14, 0.2, False, "reproduced"),  # a difference that does not matter
        ((1.20, 1.21, 1.22), 1.14, 0.02, False, "worse"),
        ((1.20, 1.21, 1.22), 1.14, None, False, "worse"),
        ((1.20, 1.21, 1.22), 1.14, None, True, "better"),
        ((1.20, 1.21, 1.22), 1.28, None, False, "better"),
        ((1.20, 1.21, 1.22), 1.28, None, True, "worse"),
        ((1.20, 1.21, 1.22), 1.21, None, False, "undecided"),  # no margin, nothing to show
        ((1.00, 1.21, 1.42), 1.21, 0.2, False, "undecided"),
        ((), 1.21, 0.2, False, "none"),
        ((1.3,), 1.21, 0.2, False, "none"),  # no spread is known
    ],
)
def test_outcomes(
    values: tuple[float, ...], mean: float, margin: float | None, higher: bool, outcome: str
) -> None:
    assert compared(values, mean, 0.01, margin, higher).outcome == outcome


def test_other_cells_narrow_the_interval_within_limits() -> None:
    others = {("2-D", f"row{i}"): Summary((2.0, 2.06, 2.12)) for i in range(6)}
    cells = {KEY: Summary((1.20, 1.26, 1.32)), **others}
    alone = compared((1.20, 1.26, 1.32), 1.0, None).interval
    pooled = compare_with_published(cells, {KEY: Published(1.0, None)}, {}, False)[KEY].interval
    assert alone is not None
    assert pooled is not None
    # 4 degrees of freedom: 2 of the cell and at most 2 of the others
    half = stats.t.ppf(0.975, 4) * 0.06 / np.sqrt(3)
    assert (pooled.low, pooled.high) == pytest.approx((0.26 - half, 0.26 + half))
    assert pooled.high < alone.high


def test_intervals_cover_the_gap_as_often_as_they_promise() -> None:
    """Six rows, three seeds, and seeds that shift all rows as much as a row varies by itself."""
    random = np.random.default_rng(0)
    covered = {0.0: 0, 1.0: 0}
    tables = 500
    for _ in range(tables):
        values = random.standard_normal((6, 3)) + random.standard_normal(3)
        cells = {("A", f"row{i}"): Summary(tuple(row)) for i, row in enumerate(values.tolist())}
        for known, scale in ((1.0, np.sqrt(2)), (0.0, 0.0)):
            paper = scale * random.standard_normal((6, 3))
            published = {
                key: Published(float(p.mean()), float(p.std(ddof=1)) if known else None)
                for key, p in zip(cells, paper, strict=True)
            }
            found = compare_with_published(cells, published, {}, False)
            intervals = [r.interval for r in found.values() if r.interval is not None]
            covered[known] += sum(i.low <= 0 <= i.high for i in intervals)
    for count in covered.values():
        assert 0.93 <= count / (6 * tables) <= 0.98


def test_the_margin_is_that_of_the_suite_or_of_the_test_set(
    make_plan: Callable[..., Plan], run_all: Callable
) -> None:
    body = MNIST + "losses: [softmax, {lgm: {alpha: 1}}]\n"
    plan = make_plan(body)
    plan = with_class_counts(plan, {"test": (5000, 5000)})
    table = only_table(plan, run_all(plan))
    found = table.reproductions["2-D", "softmax"]  # 1.82 % of 10,000 images
    assert found.margin == pytest.approx(100 * np.sqrt(0.0182 * 0.9818 / 10_000))
    assert ("own", "softmax") not in table.reproductions
    given = make_plan(body + "min_effect: {error: 0.2}\n")
    found = only_table(given, run_all(given)).reproductions["2-D", "softmax"]
    assert found.margin == 0.2
