"""Job that sleeps instead of training, without torch and MLflow, for a Ray worker."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lossbench.planning.result_files import RESULT
from lossbench.planning.trial import Trial
from lossbench.records import (
    REQUIRED_ENVIRONMENT_KEYS,
    EpochRecord,
    MeasurementRecord,
    TrialResult,
)

EPOCHS = 21
ENVIRONMENT = dict.fromkeys(sorted(REQUIRED_ENVIRONMENT_KEYS), "made up")


def sleeping_job(sleep_sec: float) -> Callable[[dict[str, Any]], None]:
    """Job for Ray Tune that sleeps and then delivers a made-up result, as a trained trial does."""

    def run(config: dict[str, Any]) -> None:
        from ray import tune

        trial = Trial.model_validate_json(config["trial"])
        time.sleep(sleep_sec)
        result = made_up_result(trial, error=5.0 + trial.seed % 7 / 10)
        with tempfile.TemporaryDirectory(prefix="lossbench-") as folder:
            (Path(folder) / RESULT).write_text(result.model_dump_json(), encoding="utf-8")
            epochs = [record.model_dump() for record in result.history]
            report = {"epochs": epochs, "notes": [], "unmeasured": ""}
            tune.report(report, checkpoint=tune.Checkpoint.from_directory(folder))

    return run


def made_up_result(trial: Trial, error: float) -> TrialResult:
    """Result of a trial with one evaluation, 21 epochs and this test error in percent."""
    history = tuple(
        EpochRecord(
            epoch=epoch,
            timestamp_ms=1_700_000_000_000 + 1000 * epoch,
            metrics={
                "train_loss": 1 / epoch,
                "train_cross_entropy": 0.9 / epoch,
                "train_likelihood": 0.1 / epoch,
                "train_error": 9.0,
                "lr": 0.03,
                "test_error": error + 1 / epoch,
            },
        )
        for epoch in range(1, EPOCHS + 1)
    )
    [identity], [evaluation] = trial.measurement_identities, trial.evaluate
    measured = MeasurementRecord(
        identity=identity,
        name=evaluation.name,
        params=evaluation.params,
        metrics={"error": error},
        device="cpu",
        environment=ENVIRONMENT,
    )
    return TrialResult(
        identity=trial.identity,
        status="finished",
        metrics={"error": error},
        measurements=(measured,),
        weights_digest=trial.identity,
        history=history,
        wall_time_sec=20.0,
        peak_memory_mib=500.0,
        device="cpu",
        environment=ENVIRONMENT,
    )
