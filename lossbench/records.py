"""Results of trials as frozen, plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Strict(BaseModel):
    """Frozen model with exact types, without unknown keys, NaN and infinities."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Status = Literal["finished", "diverged", "stopped"]
"""Status of a result; a pruned trial is stored as `stopped`, as earlier versions did."""
REQUIRED_ENVIRONMENT_KEYS = frozenset(
    {"device", "lossbench", "code", "python", "torch", "numpy", "platform"}
)
"""Keys that the environment of every result should have; other libraries are recorded only by
trials that use them."""


class EpochRecord(Strict):
    """Metrics of one epoch of a trial.

    Attributes:
        epoch: Number of the epoch, from 1.
        timestamp_ms: Time of the end of the epoch in milliseconds since 1970.
        metrics: Values of `train_loss`, `train_<term>`, `train_error` (percent, in training mode,
            by noisy labels if there is label noise), `lr`, and `test_error` or `holdout_error`
            (percent).
    """

    epoch: int
    timestamp_ms: int
    metrics: dict[str, float]


ArrayName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+=@-]{0,150}$")]
"""Name of an array artifact, which is part of the name of its file."""


class MeasurementRecord(Strict):
    """Stored values of one evaluation of a trained network, without its arrays.

    Attributes:
        identity: Identity of the measurement; see `planning/measurements.py`.
        name, params: Evaluation with all its parameters.
        metrics: Values by the suite's names.
        divergence: Reason why it could not be measured: a value was not finite; otherwise empty.
        artifacts: Names of the arrays that it stored, without `.npz`.
        wall_time_sec: Duration of the evaluation.
        device: Name of the GPU, or `cpu`.
        environment: Versions of Python and of the libraries that affect the numbers.
    """

    identity: str = Field(pattern=r"^[0-9a-f]{16}$")
    name: str
    params: dict[str, Any]
    metrics: dict[str, float]
    divergence: str = ""
    artifacts: tuple[ArrayName, ...] = ()
    wall_time_sec: float = 0.0
    device: str
    environment: dict[str, str]


class TrialResult(Strict):
    """Result of a trial, without its arrays.

    Attributes:
        identity: Identity of the trial, which is that of its training.
        status: `diverged` if a number was not finite, or its predictions collapsed (see
            `lossbench.planning.divergence`); `stopped` if it was pruned because it was behind
            others on the held-out part.
        reason: Reason why it counts as diverged, or epoch after which it was pruned; a note if it
            finished and is no better than guessing; otherwise empty.
        metrics: Values of `measurements` by the suite's names (`error` in percent), measured on
            the test set, the validation set or the held-out part.
        measurements: The evaluations measured after the last epoch, at once or later.
        weights_digest: Digest of the trained parameters; measurements with the same identity and
            the same digest are of the same network. Empty if it diverged before its end.
        unmeasured: Names of the evaluations that its trial asks for and that are not measured yet;
            never stored.
        failures: Tracebacks of the evaluations that failed with an error, by name; never stored.
        history: One record per epoch.
        wall_time_sec: Duration of the training, without evaluation and start-up.
        peak_memory_mib: Peak memory of the training, without evaluation: resident set of the
            process with all libraries (CPU), or memory of the GPU's allocator.
        device: Name of the GPU, or `cpu`.
        environment: Versions of Python and of the libraries that affect the numbers.
    """

    identity: str
    status: Status
    reason: str = ""
    metrics: dict[str, float]
    measurements: tuple[MeasurementRecord, ...] = ()
    weights_digest: str = ""
    unmeasured: tuple[str, ...] = Field(default=(), exclude=True)
    failures: dict[str, str] = Field(default={}, exclude=True)
    history: tuple[EpochRecord, ...]
    wall_time_sec: float
    peak_memory_mib: float
    device: str
    environment: dict[str, str]

    @property
    def pruned(self) -> bool:
        """Whether it was ended by pruning: it has no metrics, and is not run again."""
        return self.status == "stopped"

    @property
    def no_better_than_guessing(self) -> bool:
        """Whether it finished, but its predictions are not shown to be better than guessing."""
        return self.status == "finished" and bool(self.reason)


Results = Mapping[str, TrialResult]
"""Trial identity -> result; trials that were not trained are absent. A result lacks the metrics of
its `unmeasured` evaluations."""
HELD_OUT_PREFIX = "holdout_"
"""Prefix of a metric's name in JSON, CSV and baselines if it is measured on the held-out part."""
METRIC_GROUPS = (
    "accuracy",
    "calibration",
    "robustness",
    "detection",
    "verification",
    "retrieval",
    "representation",
)
"""Kinds of metrics in the order of reports; `detection` is the detection of other inputs."""


class Metric(Strict):
    """Description of a number that a suite's evaluations measure for each trial.

    Attributes:
        name: Name in JSON and MLflow: `error`, `fgsm_0.3_eer`.
        label: Name in a heading: `equal error rate, FGSM, ε = 0.3`.
        unit: Unit of its values: `% of images`, `s`; empty if they have none.
        higher_is_better: Whether higher values are better; otherwise lower values are.
        judged: Whether one of the directions is better; otherwise it only describes the model, and
            rows are neither compared nor ranked by it.
        optimistic: Whether it was chosen by its own value on the measured images, for example as
            the best of all epochs, so that it is too good on average. Such a metric decides nothing
            unless the user asks for it.
        attack: Name of the attack whose error it is; empty for other metrics.
        epsilon: Size of that attack's perturbation as a fraction of the pixel range.
        group: Kind of the metric, by which reports can group it: one of `METRIC_GROUPS`, or any
            other name for a metric of a plugin; empty if it has none.
    """

    name: str
    label: str
    unit: str = ""
    higher_is_better: bool = False
    judged: bool = True
    optimistic: bool = False
    attack: str = ""
    epsilon: float | None = None
    group: str = ""

    def json_name(self, *, held_out: bool) -> str:
        """Name in JSON and CSV: `error`, or `holdout_error` if measured on the held-out part."""
        return f"{HELD_OUT_PREFIX}{self.name}" if held_out else self.name


class Artifact(Strict):
    """Description of arrays that a suite's evaluations store for each trial, for figures.

    Attributes:
        name: Name of the file, without `.npz`.
        kind: Type of the figure. `detection`: separation of other inputs from normal ones;
            `reliability`: confidence and accuracy in bins; `per_class`: one number per class.
        title: Description of what is shown: for `detection` of the other inputs.
        key: Short name for files, unique in its kind; for `detection` that of the other inputs,
            `fgsm_0.3`.
        eer_metric: For `detection`, name of the metric with the equal error rate of the other
            inputs; else empty.
        metrics: Names of the metrics that summarise the arrays; empty for `detection`.
    """

    name: str
    kind: Literal["detection", "reliability", "per_class"]
    title: str
    key: str
    eer_metric: str = ""
    metrics: tuple[str, ...] = ()


class Plugin(Strict):
    """A user's Python file that registers components.

    Attributes:
        file: Absolute path of the file.
        text: Content of the file.
    """

    file: str
    text: str


class TableSummary(Strict):
    """Content of a table in the tracking store, besides the files of its report.

    Attributes:
        description: Markdown: the best rows and the table of the first metric.
        short_description: The same without the table, for a store with a limit.
        metrics: Names of the metrics, the first one first; those on the held-out part are left out
            unless there are no others.
        ascending: Whether lower values of the first metric are better.
        values: (metric, column, statistic, row) -> value, with the statistics `mean`, `std` and
            `n`; suites without variants leave the column out.
        verdicts: (column, row) -> verdict on the first metric, with its difference.
        columns: Headings of `rows`.
        rows: One per cell and metric.
    """

    description: str
    short_description: str
    metrics: tuple[str, ...]
    ascending: bool
    values: Mapping[tuple[str, ...], float]
    verdicts: Mapping[tuple[str, ...], str]
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float | int | None, ...], ...]
