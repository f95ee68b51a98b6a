"""Results of pruned trials: their epochs so far, without metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lossbench.planning.trial import Trial
from lossbench.records import TrialResult
from lossbench.runner.environment import environment


def pruned_result(
    trial: Trial,
    reason: str,
    paused: Mapping[str, TrialResult],
    results: Mapping[str, TrialResult],
    device: str,
) -> TrialResult:
    """Result of a pruned trial.

    Args:
        trial: The trial.
        reason: Reason why it is pruned.
        paused: Partial results of the trials that are paused at a rung, by identity.
        results: Results of the trials that have ended, by identity.
        device: Type of the run's device, `cpu` or `cuda`.
    """
    if partial := paused.get(trial.identity):
        return partial.model_copy(update={"reason": reason})
    # pruned with its row, before its first epoch: record the device of the trials that were trained
    devices = [result.device for result in (*paused.values(), *results.values())]
    same_type = [name for name in devices if (name == "cpu") == (device == "cpu")]
    return TrialResult(
        identity=trial.identity,
        status="stopped",
        reason=reason,
        metrics={},
        history=(),
        wall_time_sec=0.0,
        peak_memory_mib=0.0,
        device=same_type[0] if same_type else device,
        environment=environment(trial),
    )


def pruned_line(trials: Iterable[Trial]) -> str:
    """`pruned: 2-D/lgm(alpha=0), 2-D/lgm(alpha=1)`."""
    cells = dict.fromkeys(f"{trial.variant}/{trial.row}" for trial in trials)
    return f"pruned: {', '.join(cells)}"
