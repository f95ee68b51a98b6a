"""Format specifications, signs and units of numbers."""

from __future__ import annotations

import pytest

from lossbench.analysis.number_format import (
    difference_unit,
    format_mean_std,
    format_number,
    format_signed,
    format_signed_interval,
    format_spec,
    is_percentage,
    with_unit,
)
from lossbench.analysis.statistics import Interval


@pytest.mark.parametrize(
    ("unit", "values", "written"),
    [
        ("% of images", [4.567, 90.0], "4.57"),
        ("%", [0.001], "0.00"),
        ("", [0.12345, 0.9], "0.1235"),
        ("s", [447.8, 12.0], "447.80"),
        ("nats", [-3.21987, 1.0], "-3.220"),
        ("", [0.00123456], "0.001235"),
        ("", [1.23456e-9, 2e-10], "1.235e-09"),
        ("", [1.23456e12], "1.235e+12"),
        ("", [0.0], "0.00"),
        ("", [0.5, float("nan"), float("inf")], "0.5000"),
    ],
)
def test_values_are_written_with_the_digits_they_need(
    unit: str, values: list[float], written: str
) -> None:
    assert format(values[0], format_spec(unit, values)) == written


@pytest.mark.parametrize(
    ("value", "spec", "number", "signed"),
    [
        (0.126, ".2f", "0.13", "+0.13"),
        (-0.126, ".2f", "−0.13", "−0.13"),
        (-0.004, ".2f", "0.00", "0.00"),
        (0.004, ".2f", "0.00", "0.00"),
        (-0.0, ".3e", "0.000e+00", "0.000e+00"),
        (-1.25e-9, ".2e", "−1.25e-09", "−1.25e-09"),
        (float("-inf"), ".2f", "−inf", "−inf"),
        (None, ".2f", "–", "–"),
    ],
)
def test_numbers_that_round_to_zero_have_no_sign(
    value: float | None, spec: str, number: str, signed: str
) -> None:
    assert format_number(value, spec) == number
    assert format_signed(value, spec) == signed


def test_intervals_and_standard_deviations_that_do_not_exist_are_left_out() -> None:
    assert format_signed_interval(Interval(-0.001, 0.2)) == "0.00 to +0.20"
    assert format_signed_interval(None) == "–"
    assert format_mean_std(-0.001, 0.25) == "0.00 ± 0.25"
    assert format_mean_std(1.5, None) == "1.50"
    assert format_mean_std(None, None) == "–"


def test_differences_have_the_metrics_unit() -> None:
    assert with_unit("0.5", difference_unit("% of pairs")) == "0.5 percentage points"
    assert with_unit("1", difference_unit("% of pairs")) == "1 percentage point"
    assert with_unit("0.5", difference_unit("s")) == "0.5 s"
    assert with_unit("0.5", difference_unit("")) == "0.5"


@pytest.mark.parametrize(
    ("unit", "differences"),
    [
        ("%", "percentage points"),
        ("% of pairs", "percentage points"),
        ("%/s", "%/s"),
        ("ms", "ms"),
        ("", ""),
    ],
)
def test_only_shares_of_100_differ_by_percentage_points(unit: str, differences: str) -> None:
    assert difference_unit(unit) == differences
    assert is_percentage(unit) == (differences == "percentage points")
