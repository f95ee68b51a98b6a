"""A worker that pauses a trial at a rung and resumes it later, without Ray."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from lossbench.assembly.check import check
from lossbench.runner.worker import run_job
from lossbench.suite.load import load_suite

NOWHERE = Path("/nonexistent/data")


def paused_epochs(report: dict[str, Any]) -> list[int]:
    return [record["epoch"] for record in json.loads(report["paused"])["history"]]


def test_pausing_does_not_change_results(
    write_suite: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = ["seeds=[0]", "selection={holdout: 0.25, stop_early: true}", "recipe.epochs=4"]
    trial = check(load_suite(write_suite(), changes), NOWHERE).trials[0]
    reports: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []

    def report(metrics: dict[str, Any], checkpoint: Any = None) -> None:
        reports.append(metrics)
        if checkpoint:
            with checkpoint.as_directory() as folder:
                results.append(
                    json.loads((Path(folder) / "result.json").read_text(encoding="utf-8"))
                )

    monkeypatch.setattr(tune, "report", report)

    def run(name: str, until: int) -> None:
        run_job(
            {
                "trial": trial.model_dump_json(),
                "plugins": [],
                "data_root": str(NOWHERE),
                "device": "cpu",
                "gpus": 0,
                "storage": str(tmp_path / "storage" / name),
                "checkpoints": str(tmp_path / name),
                "checkpoint_sec": 1000.0,  # only the rung is kept
                "file_server": "",
                "until": until,
                "measure_only": False,
            }
        )

    run("whole", 4)
    run("parts", 3)
    assert paused_epochs(reports[-1]) == [1, 2, 3]
    assert len(results) == 1
    run("parts", 3)  # after a crash of the driver: it is there at once
    assert paused_epochs(reports[-1]) == [1, 2, 3]
    run("parts", 4)
    whole, parts = results
    assert whole["metrics"] == parts["metrics"]
    assert not any(note for metrics in reports for note in metrics.get("notes", ()))
