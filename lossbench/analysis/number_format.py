"""Text of a metric's values and of their differences: decimals, sign and unit.

The formatting is here because `report` and `gate` both need it and may not import each other, and a
table marks its best rows at the shown precision.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from lossbench.analysis.statistics import Interval

NOTHING = "–"
"""Text in the place of a number that does not exist."""
PERCENT_SPEC = ".2f"
"""Format specification of percentages."""
_SIGNIFICANT = 4  # digits of the largest value
_LARGEST_FIXED, _SMALLEST_FIXED = 1e7, 1e-4  # beyond these, powers of ten are easier to read


def is_percentage(unit: str) -> bool:
    """Whether values are shares of 100: `%` or `% of images`, but not `%/s`."""
    return unit.partition(" ")[0] == "%"


def format_spec(unit: str, values: Iterable[float]) -> str:
    """Format specification shared by all values of a metric.

    Percentages have two decimals. Other values have at least two, and as many as the largest one
    needs for four digits; very small and very large ones are written as powers of ten.

    Args:
        unit: Unit of the metric.
        values: All values that are shown together.
    """
    largest = max((abs(v) for v in values if math.isfinite(v)), default=0.0)
    if is_percentage(unit) or largest == 0:
        return PERCENT_SPEC
    if not _SMALLEST_FIXED <= largest < _LARGEST_FIXED:
        return f".{_SIGNIFICANT - 1}e"
    return f".{max(2, _SIGNIFICANT - 1 - math.floor(math.log10(largest)))}f"


def format_number(value: float | None, spec: str = PERCENT_SPEC) -> str:
    """`0.12`, `−0.12`, `1.2e-09`; without a sign if it rounds to zero, `–` for None."""
    if value is None:
        return NOTHING
    text = format(value, f"z{spec}")
    return f"−{text[1:]}" if text.startswith("-") else text


def format_signed(value: float | None, spec: str = PERCENT_SPEC) -> str:
    """`+0.12`, `−0.12`; without a sign if it rounds to zero, `–` for None."""
    text = format_number(value, spec)
    no_plus = value is None or text.startswith("−") or float(text) == 0
    return text if no_plus else f"+{text}"


def format_signed_interval(interval: Interval | None, spec: str = PERCENT_SPEC) -> str:
    """`−0.12 to +0.30`; `–` for None."""
    if interval is None:
        return NOTHING
    return f"{format_signed(interval.low, spec)} to {format_signed(interval.high, spec)}"


def format_mean_std(mean: float | None, std: float | None, spec: str = PERCENT_SPEC) -> str:
    """`1.17 ± 0.02`; the mean alone if there is no standard deviation, `–` without a mean."""
    if mean is None or std is None:
        return format_number(mean, spec)
    return f"{format_number(mean, spec)} ± {format_number(std, spec)}"


def difference_unit(unit: str) -> str:
    """Unit of the difference of two values: `percentage points` for percentages."""
    return "percentage points" if is_percentage(unit) else unit


def with_unit(text: str, unit: str) -> str:
    """`0.5 percentage points`, `1 percentage point`, `12 s`; the text alone without a unit."""
    if text == "1" and unit == "percentage points":
        unit = "percentage point"
    return f"{text} {unit}" if unit else text
