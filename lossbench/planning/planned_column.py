"""A column of a plan: digests and facts of its data, and its evaluations."""

from __future__ import annotations

from dataclasses import dataclass, field

from lossbench.planning.revisions import DataFacts
from lossbench.planning.trial import PlannedEvaluation
from lossbench.suite.schema import Holdout


@dataclass(frozen=True)
class PlannedColumn:
    """Digests and facts of a column's data, and its evaluations.

    Attributes:
        data_digest: Digest of the data set.
        validation_digest: Digest of the data set with its validation set, if `selection` chooses on
            it.
        holdout: Part of the data that `selection` chooses on, as in `Trial`; 0 without `selection`.
        weights_digest: Digest of the file with the initial weights of the model; empty for random
            weights.
        evaluations: Evaluations in the suite's order, with what their values depend on.
        facts: Facts about the data.
    """

    data_digest: str = ""
    validation_digest: str = ""
    holdout: Holdout = 0.0
    weights_digest: str = ""
    evaluations: tuple[PlannedEvaluation, ...] = ()
    facts: DataFacts = field(default_factory=DataFacts)
