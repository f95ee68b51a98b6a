"""Results on their way to MLflow: kept on disk until they are logged.

A tracking server that goes away, or a crash at the wrong moment, loses nothing: the next `run`
logs what still lies here.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from lossbench.planning.trial import Trial
from lossbench.records import TrialResult
from lossbench.tracking.store import Tracker


class Spool:
    """A folder with one folder a result, for the trials of one table.

    Args:
        work: Of the run.
        table: Identity of the table, so that a result is only ever logged under its own.
    """

    def __init__(self, work: Path, table: str) -> None:
        self.folder = work / "spool" / table

    def keep(self, trial: Trial, delivered: Path) -> Path:
        """Copy what a worker delivered, so that it is there whole or not at all."""
        kept = self.folder / trial.identity
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self.folder / f".{uuid.uuid4().hex}"
        try:
            shutil.copytree(delivered, unfinished)
            (unfinished / "trial.json").write_text(trial.model_dump_json(), encoding="utf-8")
            for file in unfinished.rglob("*"):
                if file.is_file():
                    with file.open("rb") as handle:
                        os.fsync(handle.fileno())  # the machine may lose its power next
        except OSError:  # a full disk, which half a result would leave fuller
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        self._remove(kept)
        os.replace(unfinished, kept)
        return kept

    def waiting(self) -> Iterator[Trial]:
        """Everything that is not logged yet; what cannot be read is dropped, to be run again."""
        for kept in sorted(self.folder.glob("[!.]*")):
            try:
                trial = Trial.model_validate_json((kept / "trial.json").read_text(encoding="utf-8"))
                read_result(kept)
            except (OSError, ValueError):
                self._remove(kept)
            else:
                yield trial

    def drop(self, trial: Trial) -> None:
        """Forget a result that is logged."""
        self._remove(self.folder / trial.identity)

    def _remove(self, kept: Path) -> None:
        """Rename first: a half-removed result must not look like one that waits."""
        gone = self.folder / f".{uuid.uuid4().hex}"
        with contextlib.suppress(FileNotFoundError):
            os.replace(kept, gone)
        shutil.rmtree(gone, ignore_errors=True)


def log_kept(tracker: Tracker, spool: Spool, trial: Trial) -> None:
    """Log one result of the spool, and drop it there."""
    kept = spool.folder / trial.identity
    tracker.finish(trial, read_result(kept), kept)
    spool.drop(trial)


def read_result(folder: Path) -> TrialResult:
    return TrialResult.model_validate_json((folder / "result.json").read_text(encoding="utf-8"))
