"""Made-up rows compared with a reference row."""

from __future__ import annotations

import math
from typing import Any

from lossbench.analysis.comparison import Verdict, Verdicts, compare_with_reference
from lossbench.analysis.statistics import Summary

NAN = math.nan
REFERENCE = [2.0, 2.1, 2.3]
CLEAR = [1.0, 1.11, 1.31]
NOISY = [1.0, 2.0, 2.9]


def summary(*values: float) -> Summary:
    """Summary of the values by seed; NaN marks a diverged seed."""
    there = {seed: value for seed, value in enumerate(values) if value == value}
    return Summary(tuple(there.values()), len(values) - len(there), 0, tuple(there))


def judge_rows(reference: Any, *rows: Any, higher: bool = False) -> Verdicts:
    cells = {("v", str(i)): summary(*values) for i, values in enumerate((reference, *rows))}
    return compare_with_reference(cells, "0", {"v": "0"}, higher)


def only(verdicts: Verdicts) -> Verdict:
    [verdict] = verdicts.listed
    return verdict
