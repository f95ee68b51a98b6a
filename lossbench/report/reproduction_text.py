"""Comparisons with published numbers in words."""

from __future__ import annotations

from collections.abc import Sequence

from lossbench.analysis.number_format import (
    PERCENT_SPEC,
    difference_unit,
    format_number,
    format_signed,
    format_signed_interval,
    with_unit,
)
from lossbench.analysis.reproduction import PUBLISHED_SEEDS, Reproduction
from lossbench.analysis.statistics import LEVEL
from lossbench.analysis.tables import Table


def describe_reproduction(found: Reproduction | None, spec: str = PERCENT_SPEC) -> str:
    """`worse, +0.12 (+0.03 to +0.21)`; empty without a published or a measured value."""
    if found is None or found.gap is None:
        return ""
    gap = format_signed(found.gap, spec)
    if found.interval is None:
        return f"{gap}, spread unknown"
    return f"{found.outcome}, {gap} ({format_signed_interval(found.interval, spec)})"


def reproduction_notes(table: Table) -> list[str]:
    """How the comparisons with published numbers were made; empty without any."""
    compared = [r for r in table.reproductions.values() if r.interval is not None]
    if not compared:
        return []
    unit = difference_unit(table.unit)
    lines = [
        f"Published numbers: measured minus published mean, with Welch's {100 * LEVEL:.0f} % "
        f"interval; {_rule(compared, table.spec, unit)}Not corrected for several comparisons."
    ]
    if any(r.published.std is not None for r in compared):
        lines.append(
            f"A published ± is taken as the standard deviation of {PUBLISHED_SEEDS} trainings; "
            "where it is a standard error, the interval is too narrow."
        )
    if any(r.published.std is None for r in compared):
        lines.append(
            "A published number without ± has no known spread: its interval has the spread of the "
            "measured values only and is too narrow."
        )
    return [" ".join(lines)]


def _rule(compared: Sequence[Reproduction], spec: str, unit: str) -> str:
    margins = [r.margin for r in compared if r.margin is not None]
    outside = "better or worse if it excludes 0, otherwise undecided. "
    if not margins:
        return outside
    low, high = (format_number(bound, spec) for bound in (min(margins), max(margins)))
    margin = with_unit(low if low == high else f"{low} to {high}", unit)
    return f"reproduced if it lies within ± the margin ({margin}), else {outside}"
