"""Early stopping of held-out trials: asynchronous successive halving, loss by loss.

Reference: Li et al., A System for Massively Parallel Hyperparameter Tuning, MLSys 2020 (ASHA).
"""

from __future__ import annotations

from typing import Any

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from lossbench.orchestration.recorder import Recorder

KEPT = 3
"""One in this many goes on at each rung."""
RUNGS = 2
"""An epoch count E has rungs at E / 9 and E / 3."""


class Halving(FIFOScheduler):
    """Stops trials that are behind others of their loss and column at a rung.

    Each loss is on its own, and each column: one that learns slowly, with a margin that grows for
    instance, is not stopped because another is ahead of it early.

    Args:
        recorder: Is told what was stopped.
        epochs: Of each trial.
    """

    def __init__(self, recorder: Recorder, epochs: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._recorder, self._epochs = recorder, epochs
        self._groups: dict[tuple[str, str], ASHAScheduler] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: it is pickled for a restore, which is not used here."""
        return {}

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        self._group(trial).on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        action = self._group(trial).on_trial_result(tune_controller, trial, result)
        if action == TrialScheduler.STOP:
            self._recorder.give_up(trial)
        return str(action)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        self._group(trial).on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        self._group(trial).on_trial_remove(tune_controller, trial)

    def _group(self, trial: Any) -> ASHAScheduler:
        mine = self._recorder.trial_of(trial)
        key = (mine.variant, mine.loss.name)
        if key not in self._groups:
            self._groups[key] = ASHAScheduler(
                time_attr="epoch",
                metric="holdout_error",
                mode="min",
                max_t=self._epochs,
                grace_period=max(self._epochs // KEPT**RUNGS, 1),
                reduction_factor=KEPT,
                stop_last_trials=False,
            )
        return self._groups[key]
