"""Error rates of `lossbench check`: false alarms and regressions found, in simulated checks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lossbench.gate.baseline import Baseline, BaselineCell, BaselineMetric
from lossbench.gate.regression import ALPHA, check_cells

Floats = NDArray[np.float64]
Spreads = Literal["equal", "rows e^N(0, 0.7)", "rows e^N(0, 1)", "cells e^N(0, 0.7)", "one cell x5"]
SHIFT = 3.0
"""True worsening of one cell in the checks with a regression, in standard deviations of its
values."""
_TINY = 1e-9  # minimum effect, so that only the noise limit decides
_COLUMN_RATIO = 1.4  # of the spreads of neighbouring columns
_METRIC = BaselineMetric(name="error", unit="%", direction="lower", min_effect=_TINY)


@dataclass(frozen=True)
class Scenario:
    """Tables that are checked.

    Attributes:
        seeds: Number of seeds per cell.
        columns, rows: Size of the table.
        spreads: Standard deviations of the cells.
        matched: Whether both sides have the same seeds.
        skewed: Whether the noise is exponential instead of normal.
    """

    seeds: int
    columns: int
    rows: int
    spreads: Spreads = "equal"
    matched: bool = True
    skewed: bool = False

    @property
    def name(self) -> str:
        """`rows e^N(0, 0.7), other seeds`."""
        other = ["other seeds"] * (not self.matched) + ["skewed"] * self.skewed
        return ", ".join([self.spreads, *other])


SCENARIOS = (
    *(Scenario(3, 1, rows) for rows in (4, 20, 60)),
    *(Scenario(3, 3, 4, spreads) for spreads in ("equal", "rows e^N(0, 0.7)", "one cell x5")),
    Scenario(3, 3, 4, "cells e^N(0, 0.7)"),
    Scenario(3, 1, 20, "rows e^N(0, 0.7)"),
    Scenario(3, 1, 20, "rows e^N(0, 1)"),
    Scenario(3, 1, 20, "one cell x5"),
    Scenario(3, 2, 10, "rows e^N(0, 0.7)", matched=False),
    Scenario(3, 1, 20, "rows e^N(0, 0.7)", skewed=True),
    Scenario(5, 1, 20, "rows e^N(0, 0.7)"),
    Scenario(5, 3, 4, "rows e^N(0, 0.7)"),
    Scenario(2, 1, 4, "rows e^N(0, 1)"),
    Scenario(2, 1, 20, "rows e^N(0, 0.7)"),
)


@dataclass(frozen=True)
class Rates:
    """Shares of the simulated checks of one scenario.

    Attributes:
        scenario: Tables that were checked.
        checks: Number of checks without any change.
        false: Share of these with a regression: false alarms.
        standard_error: Standard error of this share.
        target: Promised largest share; None for two seeds and for skewed noise.
        found: Share of checks in which the cell that has truly become worse is a regression.
    """

    scenario: Scenario
    checks: int
    false: float
    standard_error: float
    target: float | None
    found: float

    @property
    def bar(self) -> float | None:
        """Target plus two standard errors."""
        return None if self.target is None else self.target + 2 * self.standard_error


def measure(checks: int, scenarios: tuple[Scenario, ...] = SCENARIOS) -> Iterator[Rates]:
    """Check simulated tables, with no change and with one cell that is `SHIFT` worse.

    Args:
        checks: Number of checks without a change per scenario; a quarter of it with one.
        scenarios: Tables to check.
    """
    for scenario in scenarios:
        random = np.random.default_rng(0)
        alarms = sum(any(_regressions(scenario, 0.0, random)) for _ in range(checks))
        again = max(1, checks // 4)
        found = sum(_regressions(scenario, SHIFT, random)[0] for _ in range(again))
        share = alarms / checks
        yield Rates(
            scenario=scenario,
            checks=checks,
            false=share,
            standard_error=math.sqrt(share * (1 - share) / checks),
            target=ALPHA if scenario.seeds > 2 and not scenario.skewed else None,
            found=found / again,
        )


def _regressions(scenario: Scenario, shift: float, random: np.random.Generator) -> list[bool]:
    """Check one random table; the first cell is worse by `shift` standard deviations."""
    spreads = _spreads(scenario, random)
    size = (scenario.columns, scenario.rows, scenario.seeds)
    draw = random.exponential if scenario.skewed else random.standard_normal
    before, after = (spreads[..., None] * draw(size=size) for _ in range(2))  # (C, R, S) each
    after[0, 0] += shift * spreads[0, 0]
    first_seed = 0 if scenario.matched else scenario.seeds
    checked = check_cells(_baseline(before, 0), _baseline(after, first_seed))
    return [cell.verdict == "regression" for cell in checked]


def _spreads(scenario: Scenario, random: np.random.Generator) -> Floats:
    """(C, R) standard deviations of the cells; that of an exponential variable is 1, too."""
    shape = (scenario.columns, scenario.rows)
    spreads = np.ones(shape)
    if scenario.spreads == "rows e^N(0, 0.7)":
        spreads *= np.exp(0.7 * random.standard_normal(scenario.rows))
    elif scenario.spreads == "rows e^N(0, 1)":
        spreads *= np.exp(random.standard_normal(scenario.rows))
    elif scenario.spreads == "cells e^N(0, 0.7)":
        spreads *= np.exp(0.7 * random.standard_normal(shape))
    elif scenario.spreads == "one cell x5":
        spreads[0, 0] = 5.0
    return np.asarray(spreads * _COLUMN_RATIO ** np.arange(scenario.columns)[:, None])


def _baseline(values: Floats, first_seed: int) -> Baseline:
    """A baseline with only what a verdict depends on; (C, R, S) values."""
    columns, rows, seeds = values.shape
    cells = [
        BaselineCell(
            variant=f"column {c}",
            row=f"row {r}",
            metric=_METRIC.name,
            seeds=list(range(first_seed, first_seed + seeds)),
            values=values[c, r].tolist(),
            diverged=[],
            loss=f"row {r}",
            params={},
        )
        for c in range(columns)
        for r in range(rows)
    ]
    content: dict[str, Any] = {"metrics": [_METRIC], "cells": cells}
    return Baseline.model_construct(**content)
