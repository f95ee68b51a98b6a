"""Results of trials that early stopping ends: what they have trained so far, without metrics."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lossbench.planning.trial import Trial
from lossbench.records import TrialResult
from lossbench.runner.halving import History
from lossbench.runner.outbox import Spool
from lossbench.runner.trial import environment


@dataclass(frozen=True)
class Stopping:
    """The end of stopped trials.

    Attributes:
        reasons: Reason why each is stopped, by the identity of the trial.
        histories: Epochs that each has trained, by the identity of the trial.
        device: Device of the run.
    """

    reasons: Mapping[str, str]
    histories: Mapping[str, History]
    device: str

    def keep(self, trial: Trial, spool: Spool) -> None:
        """Put the result of a stopped trial into the spool.

        Raises:
            OSError: The disk is full, for instance.
        """
        with tempfile.TemporaryDirectory() as folder:
            text = self._result(trial).model_dump_json()
            (Path(folder) / "result.json").write_text(text, encoding="utf-8")
            spool.keep(trial, Path(folder))

    def line(self, trials: Iterable[Trial]) -> str:
        """`stopped early: 2-D/lgm(alpha=0), 2-D/lgm(alpha=1)`."""
        cells = dict.fromkeys(f"{trial.variant}/{trial.row}" for trial in trials)
        return f"stopped early: {', '.join(cells)}"

    def _result(self, trial: Trial) -> TrialResult:
        history = tuple(self.histories.get(trial.identity, ()))
        times = [record.timestamp_ms for record in history]
        return TrialResult(
            identity=trial.identity,
            status="stopped",
            reason=self.reasons[trial.identity],
            metrics={},
            history=history,
            wall_time_sec=(times[-1] - times[0]) / 1000 if times else 0.0,
            peak_memory_mib=0.0,
            device=self.device,
            environment=environment(trial),
        )
