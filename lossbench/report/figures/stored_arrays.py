"""Arrays that the first finished trial of each row stored."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lossbench.analysis.predictions import Arrays, ReadArrays
from lossbench.planning.rows import Row
from lossbench.planning.selection import Stage
from lossbench.planning.trial import Trial
from lossbench.records import TrialResult


@dataclass(frozen=True)
class StoredArrays:
    """Arrays of one row, from its first finished seed.

    Attributes:
        row: Row of the suite.
        trial: Trial that stored the arrays.
        result: Result of the trial.
        arrays: Arrays by name.
    """

    row: Row
    trial: Trial
    result: TrialResult
    arrays: Arrays

    @property
    def title(self) -> str:
        """Label of the row, with the trial's error if it was measured."""
        error = self.result.metrics.get("error")
        return self.row.label if error is None else f"{self.row.label}\n{error:.2f} % error"


def find_arrays(
    stage: Stage, variant: str, rows: Iterable[Row], artifact: str, read: ReadArrays
) -> list[StoredArrays]:
    """Arrays of the first finished trial of every row that stored the artifact."""
    found = []
    for row in rows:
        for trial, result in stage.finished(variant, row.label):
            arrays = read(trial.identity, artifact)
            if arrays is not None:
                found.append(StoredArrays(row, trial, result, arrays))
                break
    return found
