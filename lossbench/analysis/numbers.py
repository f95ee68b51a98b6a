"""How a metric's values and their differences are written: decimals and unit."""

from __future__ import annotations

import math
from collections.abc import Iterable

PERCENT_SPEC = ".2f"
"""Format specification of percentages."""
_SIGNIFICANT = 4  # digits of the largest value
_LARGEST_FIXED, _SMALLEST_FIXED = 1e7, 1e-4  # beyond these, powers of ten are easier to read


def is_percentage(unit: str) -> bool:
    return unit.startswith("%")


def format_spec(unit: str, values: Iterable[float]) -> str:
    """Format specification of all values of a metric, so that they are written alike.

    Percentages have two decimals. Other values have at least two, and as many as the largest one
    needs for four digits; very small and very large ones are written as powers of ten.

    Args:
        unit: The metric's.
        values: All that are shown together.
    """
    largest = max((abs(v) for v in values if math.isfinite(v)), default=0.0)
    if is_percentage(unit) or largest == 0:
        return PERCENT_SPEC
    if not _SMALLEST_FIXED <= largest < _LARGEST_FIXED:
        return f".{_SIGNIFICANT - 1}e"
    return f".{max(2, _SIGNIFICANT - 1 - math.floor(math.log10(largest)))}f"


def number(value: float, spec: str = PERCENT_SPEC) -> str:
    """`0.12`, `−0.12`, `1.2e-09`."""
    text = format(value, spec)
    return f"−{text[1:]}" if text.startswith("-") else text


def signed_number(value: float, spec: str = PERCENT_SPEC) -> str:
    """`+0.12`, `−0.12`."""
    return number(value, f"+{spec}")


def difference_unit(unit: str) -> str:
    """Unit of a difference of two values: `percentage points` for percentages."""
    return "percentage points" if is_percentage(unit) else unit


def with_unit(text: str, unit: str) -> str:
    """`0.5 percentage points`, `12 s`; the text alone where there is no unit."""
    return f"{text} {unit}" if unit else text
