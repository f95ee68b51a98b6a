"""Made-up baselines of one column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lossbench.gate.baseline import (
    Baseline,
    BaselineCell,
    BaselineColumn,
    BaselineData,
    BaselineMetric,
    Conditions,
)
from lossbench.suite.schema import Component, Recipe

Values = Mapping[str, Sequence[float | None]]
SPREAD = {f"other{i}": [5.0, 5.2 + i / 100, 5.4] for i in range(6)}
"""Further rows of a column, which give it a standard deviation of 0.2."""


def make_baseline(values: Values, first_seed: int = 0, **metric: Any) -> Baseline:
    """Baseline of one column.

    Args:
        values: Row -> its values by seed; None for a diverged seed.
        first_seed: Seed of the first value.
        metric: Fields of the metric that differ from an error in percent.
    """
    conditions = Conditions(
        classes=None,
        train_size=None,
        test_size=None,
        recipe=Recipe(epochs=1, batch_size=2, optimizer=Component(name="sgd")),
        variants={"A": BaselineColumn(model=Component(name="cnn"), augment=[])},
        evaluate=[Component(name="error")],
        holdout=0.0,
        threads=1,
        workers=1,
    )
    cells = []
    for row, listed in values.items():
        by_seed = dict(enumerate(listed, first_seed))
        finished = {seed: value for seed, value in by_seed.items() if value is not None}
        cells.append(
            BaselineCell(
                variant="A",
                row=row,
                metric="error",
                seeds=list(finished),
                values=list(finished.values()),
                diverged=[seed for seed in by_seed if seed not in finished],
                loss=row,
                params={},
            )
        )
    fields = {"name": "error", "unit": "%", "direction": "lower", "min_effect": 0.5, **metric}
    return Baseline(
        suite="made_up",
        command="lossbench run",
        measured="2026-01-01",
        device="cpu",
        environment={},
        data=BaselineData(name="digits", digest="0", other_digests={}),
        conditions_digest=conditions.digest,
        conditions=conditions,
        metrics=[BaselineMetric(**fields)],
        cells=cells,
    )
