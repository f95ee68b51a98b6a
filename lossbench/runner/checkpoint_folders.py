"""Folders with the checkpoints of the trials of a run."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lossbench.planning.trial import Trial
from lossbench.runner.environment import device_name, environment
from lossbench.runner.file_server import (
    FileServerClient,
    file_server_client,
    shares_filesystem,
    write_files,
)
from lossbench.training.checkpoints import Checkpoints


def checkpoints_of(trial: Trial, config: Mapping[str, Any]) -> Checkpoints:
    """Checkpoints of one trial, in a worker.

    Args:
        trial: The trial.
        config: `checkpoints` (folder on the driver), `checkpoint_sec`, `device`, `file_server`.
    """
    versions = {**environment(trial), "device": device_name(config["device"])}
    every_sec, client = config["checkpoint_sec"], file_server_client(config)
    if client is None or shares_filesystem(config):
        return Checkpoints(Path(config["checkpoints"]) / trial.identity, versions, every_sec)
    copy = _LocalCopy(trial.identity, client)
    return Checkpoints(copy.folder, versions, every_sec, copy.upload)


class _LocalCopy:
    """Local copy of a trial's checkpoints on a node without access to the driver's folder.

    The folder is deleted with this object.
    """

    def __init__(self, identity: str, client: FileServerClient) -> None:
        self._identity, self._client = identity, client
        self._temporary = tempfile.TemporaryDirectory(
            prefix="lossbench-", ignore_cleanup_errors=True
        )
        self.folder = Path(self._temporary.name)
        write_files(self.folder, client.checkpoints(identity))
        self._uploaded = self._modification_times()

    def upload(self) -> None:
        """Send changed files to the driver, and delete the others there."""
        times = self._modification_times()
        changed = [name for name, time in times.items() if self._uploaded.get(name) != time]
        files = {name: (self.folder / name).read_bytes() for name in changed}
        self._client.save_checkpoints(self._identity, files, list(times))
        self._uploaded = times

    def _modification_times(self) -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in self.folder.iterdir()}


def drop_checkpoints(work: Path, trials: Iterable[Trial]) -> None:
    """Delete the checkpoints of trials whose results are saved."""
    for trial in trials:
        shutil.rmtree(work / "checkpoints" / trial.identity, ignore_errors=True)
