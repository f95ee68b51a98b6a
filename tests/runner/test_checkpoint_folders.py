"""Folders with the checkpoints of the trials of a run."""

from __future__ import annotations

from pathlib import Path

from lossbench.planning.plan import Plan
from lossbench.runner.checkpoint_folders import checkpoints_of, drop_checkpoints


def test_checkpoints_are_in_the_shared_folder_and_dropped_with_the_result(
    plan: Plan, tmp_path: Path
) -> None:
    first, second = plan.trials[:2]
    config = {
        "checkpoints": str(tmp_path / "checkpoints"),
        "checkpoint_sec": 0.0,
        "device": "cpu",
        "file_server": "",
    }
    for trial in (first, second):
        checkpoints_of(trial, config).save(1, {"epoch": 1})
    assert checkpoints_of(first, config).load() == {"epoch": 1}
    drop_checkpoints(tmp_path, [first])
    drop_checkpoints(tmp_path, [first])  # there are none any more
    assert checkpoints_of(first, config).load() is None
    assert checkpoints_of(second, config).load() == {"epoch": 1}
