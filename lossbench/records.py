"""What a trial leaves behind: frozen, plain data."""

from __future__ import annotations

from typing import Literal

from lossbench.suite import Strict

Status = Literal["finished", "diverged", "stopped"]
OF_ALL = frozenset({"device", "lossbench", "code", "python", "torch", "numpy", "platform"})
"""What every result should know of its making; of a library only those that use it know."""


class EpochRecord(Strict):
    """One epoch of one trial.

    Attributes:
        epoch: 1 for the first.
        timestamp_ms: When it ended, in milliseconds since 1970.
        metrics: `train_loss`, `train_<term>`, `train_error` (percent, in training mode),
            `lr`, and `test_error` or `holdout_error` (percent).
    """

    epoch: int
    timestamp_ms: int
    metrics: dict[str, float]


class TrialResult(Strict):
    """What a trial leaves behind, apart from its arrays.

    Attributes:
        identity: Of the trial.
        status: `diverged` if its loss was not finite, or its answers collapsed (see
            `lossbench.collapse`); `stopped` if it was behind others on the held-out part: no
            result, but not to be run again.
        reason: Why it counts as diverged, or when it was stopped. Of a finished trial that is no
            better than guessing, a note on that; else empty.
        metrics: After the last epoch, by the suite's names (`error` in percent). Measured on
            the test set, or on the held-out part if the trial has one.
        history: One record an epoch.
        wall_time_sec: Of the training, without evaluation and start-up.
        peak_memory_mib: While training, without evaluation: of the whole process (CPU, its resident
            set with all libraries), or of the GPU's allocator.
        device: `cpu`, or the GPU's name.
        environment: Versions of Python and the libraries that decide the numbers.
    """

    identity: str
    status: Status
    reason: str = ""
    metrics: dict[str, float]
    history: tuple[EpochRecord, ...]
    wall_time_sec: float
    peak_memory_mib: float
    device: str
    environment: dict[str, str]

    @property
    def no_better_than_guessing(self) -> bool:
        """Whether it finished, but its answers are not shown to be better than guessing."""
        return self.status == "finished" and bool(self.reason)
