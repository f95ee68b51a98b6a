"""Results of trials as frozen, plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Frozen model with exact types that accepts no unknown key and no infinities."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Status = Literal["finished", "diverged", "stopped"]
"""Status of a result; a pruned trial is stored as `stopped`, as earlier versions did."""
REQUIRED_ENVIRONMENT_KEYS = frozenset(
    {"device", "lossbench", "code", "python", "torch", "numpy", "platform"}
)
"""Keys that the environment of every result should have; other libraries are recorded only by
trials that use them."""


class EpochRecord(Strict):
    """One epoch of one trial.

    Attributes:
        epoch: Number of the epoch, from 1.
        timestamp_ms: End of the epoch in milliseconds since 1970.
        metrics: `train_loss`, `train_<term>`, `train_error` (percent, in training mode),
            `lr`, and `test_error` or `holdout_error` (percent).
    """

    epoch: int
    timestamp_ms: int
    metrics: dict[str, float]


class TrialResult(Strict):
    """Result of a trial, without its arrays.

    Attributes:
        identity: Identity of the trial.
        status: `diverged` if its loss was not finite, or its predictions collapsed (see
            `lossbench.planning.divergence`); `stopped` if it was pruned because it was behind
            others on the held-out part.
        reason: Reason why it counts as diverged, or epoch after which it was pruned; a note if it
            finished no better than guessing; otherwise empty.
        metrics: After the last epoch, by the suite's names (`error` in percent). Measured on
            the test set, or on the held-out part if the trial has one.
        history: One record per epoch.
        wall_time_sec: Duration of the training, without evaluation and start-up.
        peak_memory_mib: Peak memory of the training, without evaluation: of the whole process (CPU:
            its resident set with all libraries), or of the GPU's allocator.
        device: `cpu`, or the name of the GPU.
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
    def pruned(self) -> bool:
        """Whether early stopping ended it: it has no metrics, and is not run again."""
        return self.status == "stopped"

    @property
    def no_better_than_guessing(self) -> bool:
        """Whether it finished, but its predictions are not shown to be better than guessing."""
        return self.status == "finished" and bool(self.reason)


Results = Mapping[str, TrialResult]
"""Trial identity -> result; trials that were not run are absent."""
HELD_OUT_PREFIX = "holdout_"
"""Prefix of a metric's name in JSON, CSV and baselines if it is measured on the held-out part."""


class Metric(Strict):
    """A number that a suite's evaluations give for each trial.

    Attributes:
        name: Name in JSON and MLflow: `error`, `fgsm_0.3_eer`.
        label: Name in a heading: `equal error rate, FGSM, ε = 0.3`.
        unit: Unit of its values: `% of images`, `s`; empty if they have none.
        higher_is_better: Whether higher values are better; otherwise lower values are.
        attack: Name of the attack under which it is an error; empty for other metrics.
        epsilon: Size of that attack's perturbation as a share of the pixel range.
    """

    name: str
    label: str
    unit: str = ""
    higher_is_better: bool = False
    attack: str = ""
    epsilon: float | None = None

    def json_name(self, *, held_out: bool) -> str:
        """Name in JSON and CSV: `error`, or `holdout_error` if measured on the held-out part."""
        return f"{HELD_OUT_PREFIX}{self.name}" if held_out else self.name


class Artifact(Strict):
    """Arrays that a suite's evaluations store for each trial, for the report to draw.

    Attributes:
        name: Name of the file, without `.npz`.
        kind: `detection`: how well other inputs are separated from normal ones.
        title: Description of the other inputs.
        key: Short name of the other inputs: `fgsm_0.3`.
        eer_metric: Name of the metric with their equal error rate.
    """

    name: str
    kind: Literal["detection"]
    title: str
    key: str
    eer_metric: str


class Plugin(Strict):
    """A user's file that registers losses.

    Attributes:
        file: Absolute path of the file.
        text: Content of the file.
    """

    file: str
    text: str
