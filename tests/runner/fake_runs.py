"""Simulated runs without Ray: each trial gets a synthetic result without training."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from lossbench.planning.measurements import missing_evaluations, with_measurements
from lossbench.planning.plan import Plan
from lossbench.planning.trial import Trial
from lossbench.records import EpochRecord, Status, TrialResult
from lossbench.runner.cluster import TrialResources
from lossbench.runner.environment import environment
from lossbench.runner.outbox import Outbox
from lossbench.runner.outcome import RunOutcome
from lossbench.runner.progress import Display
from lossbench.runner.recorder import Recorder
from lossbench.runner.run import run_plan
from lossbench.runner.trial_locks import TrialLocks
from lossbench.tracking.store import Tracker
from tests.synthetic_measurements import measurements_of

NOWHERE = Path("/nonexistent/data")
EARLY = ["selection={holdout: 0.25, stop_early: true}", "recipe.epochs=4"]
"""Changes of a suite so that rows are compared after epoch 3."""


class FakeTuneTrial:
    """Trial of Tune, as its callbacks get it."""

    def __init__(self, trial: Trial, delivered: Path) -> None:
        self.config = {"trial": trial.model_dump_json()}
        self.checkpoint: FakeTuneTrial | None = self
        self._delivered = delivered

    @contextlib.contextmanager
    def as_directory(self) -> Iterator[str]:
        yield str(self._delivered)


def result_of(
    trial: Trial, status: Status = "finished", device: str = "cpu", value: float = 9.0
) -> TrialResult:
    record = EpochRecord(epoch=1, timestamp_ms=1000, metrics={"test_error": value})
    finished = status == "finished"
    metrics = dict.fromkeys((name for e in trial.evaluate for name in e.metrics), value)
    return TrialResult(
        identity=trial.identity,
        status=status,
        metrics=metrics if finished else {},
        measurements=measurements_of(trial, metrics) if finished else (),
        weights_digest=trial.identity if finished else "",
        history=(record,),
        wall_time_sec=1.0,
        peak_memory_mib=7.0,
        device=device,
        environment=environment(),
    )


def measured_later(trial: Trial, stored: Path, value: float) -> TrialResult:
    """The stored result with all measurements of a trial, as from a worker."""
    assert (stored / "weights.pt").read_bytes() == b"weights"
    before = TrialResult.model_validate_json((stored / "result.json").read_text(encoding="utf-8"))
    assert missing_evaluations(trial, before)
    metrics = dict.fromkeys(
        (name for e in missing_evaluations(trial, before) for name in e.metrics), value
    )
    known = {record.identity for record in before.measurements}
    new = [r for r in measurements_of(trial, metrics) if r.identity not in known]
    return with_measurements(before, [*before.measurements, *new])


class WorkFolder:
    """Working folder and its runs.

    Attributes:
        path: Parent of the working folder.
        uri: Tracking URI.
        trained: Rows of the trials that were trained, in order.
        measured: Trials that were only measured, in order.
        ends_after: Number of trials after which a run is interrupted; None: never.
        diverging: Rows whose trials diverge.
        worse: Rows with a larger held-out error, and larger values if measured later.
        value_of: Values of the measurements of a trial.
        device: Device name in the results.
        resources: Resources of the trials.
        seen: Output of the console.
    """

    def __init__(self, path: Path, uri: str) -> None:
        self.path, self.uri, self.trained = path, uri, list[str]()
        self.measured: list[Trial] = []
        self.ends_after: int | None = None
        self.diverging: set[str] = set()
        self.worse: set[str] = set()
        self.value_of: Callable[[Trial], float] = lambda trial: 9.0
        self.device = "cpu"
        self.resources = TrialResources(cpus=1, gpus=0, workers=1, concurrent=1)
        self.seen = io.StringIO()

    @property
    def work(self) -> Path:
        return self.path / "work"

    def tracker(self) -> Tracker:
        return Tracker.open(self.uri)

    def other_process(self) -> TrialLocks:
        """Locks of another process that runs in this folder."""
        self.work.mkdir(exist_ok=True)
        return TrialLocks(self.work)

    def run(self, plan: Plan, **options: Any) -> RunOutcome:
        return run_plan(
            plan,
            self.tracker(),
            data_root=NOWHERE,
            work=self.work,
            console=Console(file=self.seen, width=200),
            **{"address": None, **options},
        )

    def history(self, trial: Trial, epochs: int) -> tuple[EpochRecord, ...]:
        error = 50.0 if trial.row in self.worse else 9.0
        return tuple(
            EpochRecord(epoch=epoch, timestamp_ms=1000 * epoch, metrics={"holdout_error": error})
            for epoch in range(1, epochs + 1)
        )

    def result(self, trial: Trial, epochs: int) -> TrialResult:
        """Result after some epochs, each of 1 second."""
        status: Status = "diverged" if trial.row in self.diverging else "finished"
        if epochs < trial.recipe.epochs:
            status = "stopped"
        result = result_of(trial, status, self.device, self.value_of(trial))
        if not trial.stop_early:
            return result
        history = self.history(trial, epochs)
        return result.model_copy(update={"history": history, "wall_time_sec": float(epochs)})

    def run_trials(
        self,
        trials: Sequence[Trial],
        until: Mapping[str, int],
        resources: TrialResources,
        tracker: Tracker,
        outbox: Outbox,
        *,
        work: Path,
        console: Console,
        fail_fast: bool,
        deadline: float,
        measure_only: bool = False,
        **_: Any,
    ) -> Recorder:
        """Replacement of the function that needs Ray."""
        from lossbench.runner.tune_jobs import RunStopper

        display = Display(console, len(trials), 1)
        recorder = Recorder(trials, tracker, outbox, display, work, measure_only=measure_only)
        stopper = RunStopper(recorder, fail_fast, deadline)
        for number, trial in enumerate(trials):
            if stopper.stop_all():
                break
            delivered = Path(tempfile.mkdtemp(dir=self.path))
            tune_trial = FakeTuneTrial(trial, delivered)
            recorder.on_trial_start(0, [], tune_trial)
            if number == self.ends_after:
                break
            if measure_only:
                self.measured.append(trial)
                value = 50.0 if trial.row in self.worse else 7.0
                result = measured_later(trial, work / "checkpoints" / trial.identity, value)
            else:
                self.trained.append(trial.row)
                result = self.result(trial, until[trial.identity])
                if trial.keep_weights:
                    (delivered / "weights.pt").write_bytes(b"weights")
            if result.status == "stopped":
                tune_trial.checkpoint = None
                epochs = [record.model_dump() for record in result.history]
                report = {"epochs": epochs, "paused": result.model_dump_json()}
                recorder.on_trial_result(0, [], tune_trial, report)
            else:
                (delivered / "result.json").write_text(result.model_dump_json(), encoding="utf-8")
            recorder.on_trial_complete(0, [], tune_trial)
        recorder.close()
        return recorder
