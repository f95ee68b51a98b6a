"""Time budget of a run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from lossbench.planning.costs import Costs
from lossbench.planning.trial import Trial

START_SEC = 10.0
"""Time that new workers need for imports, before their first training step."""
PROBE_SEC = 5.0
"""Maximum time for probing trials before a run with a budget."""


@dataclass
class Budget:
    """Time budget of a run.

    Attributes:
        deadline: End of the budget, on the monotonic clock.
        costs: Costs of the trials; None if they are still to be measured on the cluster.
    """

    deadline: float
    costs: Costs | None = None

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.deadline

    def fitting(self, left: Sequence[Trial], concurrent: int) -> list[Trial]:
        """Trials that are expected to finish in time."""
        assert self.costs is not None, "not measured yet"
        seconds = self.deadline - time.monotonic() - START_SEC
        return self.costs.select_within(left, concurrent, seconds)
