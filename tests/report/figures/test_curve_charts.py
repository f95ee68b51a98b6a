"""Axes of the page's charts."""

from __future__ import annotations

import pytest

from lossbench.report.figures.curve_charts import Axis, ticks


@pytest.mark.parametrize(
    ("low", "high", "logarithmic", "expected"),
    [
        (0, 100, False, [0, 20, 40, 60, 80, 100]),
        (1, 4, False, [1, 1.5, 2, 2.5, 3, 3.5, 4]),
        (0.3, 41, True, [0.5, 1, 2, 5, 10, 20]),
        (1e-6, 10, True, [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 10]),
    ],
)
def test_ticks_are_round(low: float, high: float, logarithmic: bool, expected: list[float]) -> None:
    assert list(ticks(low, high, logarithmic)) == pytest.approx(expected)
    axis = Axis(low, high, 100, 0, logarithmic)
    assert (axis(low), axis(high)) == (100, 0)
