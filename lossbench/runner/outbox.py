"""Results that are not logged to MLflow yet, saved on disk.

If the tracking server is unreachable, or the driver crashes, no result is lost: the next `run` logs
the results in the outbox.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lossbench.planning.earlier_results import trained_trial
from lossbench.planning.result_files import RESULT, TRIAL
from lossbench.planning.trial import Trial
from lossbench.records import TrialResult
from lossbench.suite.atomic_files import atomic_path, remove_atomically
from lossbench.tracking.store import Tracker

FOLDER = "spool"
"""Name of the folder in the working folder, as in earlier versions: results may wait there."""


class Outbox:
    """Folder with one folder per result, for the trials of one table.

    Args:
        work: Working folder of the run.
        table: Identity of the table.
    """

    def __init__(self, work: Path, table: str) -> None:
        self.folder = work / FOLDER / table

    def save(self, trial: Trial, delivered: Path) -> Path:
        """Copy the files of a finished trial, all or none of them.

        Args:
            trial: The trial.
            delivered: Folder with `result.json` and the artifacts.

        Returns:
            Folder with the copy.

        Raises:
            OSError: The disk is full, for instance.
        """
        saved = self.folder / trial.identity
        with atomic_path(saved, durable=True, replace_folder=True) as temporary:
            shutil.copytree(delivered, temporary)
            (temporary / TRIAL).write_text(trial.model_dump_json(), encoding="utf-8")
        return saved

    def save_result(self, trial: Trial, result: TrialResult) -> Path:
        """Save a result without artifacts.

        Raises:
            OSError: The disk is full, for instance.
        """
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / RESULT).write_text(result.model_dump_json(), encoding="utf-8")
            return self.save(trial, Path(folder))

    def waiting(self) -> Iterator[Trial]:
        """Trials with unlogged results; unreadable results are deleted and will be run again.

        A trial that an earlier version saved has no evaluations: its stored specification has them.
        """
        for saved in sorted(self.folder.glob("[!.]*")):
            try:
                trial = _read_trial((saved / TRIAL).read_bytes())
                read_result(saved)
            except (OSError, ValueError):
                remove_atomically(saved)
                continue
            if saved.name != trial.identity:  # earlier versions had another identity
                os.replace(saved, self.folder / trial.identity)
            yield trial

    def remove(self, trial: Trial) -> None:
        """Delete a result, after it was logged."""
        remove_atomically(self.folder / trial.identity)


def log_from_outbox(tracker: Tracker, outbox: Outbox, trial: Trial) -> None:
    """Log one saved result, then delete it from the outbox.

    Raises:
        TrackingError: MLflow cannot be written; the result stays in the outbox.
    """
    saved = outbox.folder / trial.identity
    tracker.finish(trial, read_result(saved), saved)
    outbox.remove(trial)


def _read_trial(content: bytes) -> Trial:
    """Trial of a stored specification, of this version or an earlier one.

    Raises:
        ValueError: It is neither.
    """
    try:
        return Trial.model_validate_json(content)
    except ValueError:
        trial = trained_trial(content)
        if trial is None:
            raise
        return trial


def read_result(folder: Path) -> TrialResult:
    """Read the result in a folder.

    Raises:
        OSError, ValueError: It is missing or invalid.
    """
    return TrialResult.model_validate_json((folder / RESULT).read_text(encoding="utf-8"))
