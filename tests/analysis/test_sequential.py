"""Verdicts after repeated looks: the replay, and a slow one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from lossbench.analysis.comparison import compare_with_reference
from lossbench.analysis.sequential import LookPlan, SequentialVerdicts, decide
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
