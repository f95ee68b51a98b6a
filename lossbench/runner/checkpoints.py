"""Where the checkpoints of a run's trials are, and when they go."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lossbench.planning.trial import Trial
from lossbench.runner.file_server import Away, at_home, depot_of, write_files
from lossbench.runner.trial import device_name, environment
from lossbench.training.checkpoints import Checkpoints


def checkpoints_of(trial: Trial, config: Mapping[str, Any]) -> Checkpoints:
    """Those of one trial, in a worker.

    Args:
        trial: The trial.
        config: `checkpoints` (the driver's folder), `checkpoint_sec`, `device`, `depot`.
    """
    made_by = {**environment(trial), "device": device_name(config["device"])}
    every_sec, depot = config["checkpoint_sec"], depot_of(config)
    if depot is None or at_home(config):
        return Checkpoints(Path(config["checkpoints"]) / trial.identity, made_by, every_sec)
    copy = _Copy(trial.identity, depot)
    return Checkpoints(copy.folder, made_by, every_sec, copy.send)


class _Copy:
    """A trial's checkpoints on a node that does not see them; removed with this object."""

    def __init__(self, identity: str, depot: Away) -> None:
        self._identity, self._depot = identity, depot
        self._temporary = tempfile.TemporaryDirectory(
            prefix="lossbench-", ignore_cleanup_errors=True
        )
        self.folder = Path(self._temporary.name)
        write_files(self.folder, depot.checkpoints(identity))
        self._sent = self._stamps()

    def send(self) -> None:
        """Bring the driver's up to date."""
        stamps = self._stamps()
        changed = [name for name, stamp in stamps.items() if self._sent.get(name) != stamp]
        files = {name: (self.folder / name).read_bytes() for name in changed}
        self._depot.keep(self._identity, files, list(stamps))
        self._sent = stamps

    def _stamps(self) -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in self.folder.iterdir()}


def drop_checkpoints(work: Path, trials: Iterable[Trial]) -> None:
    """Of trials whose results are kept."""
    for trial in trials:
        shutil.rmtree(work / "checkpoints" / trial.identity, ignore_errors=True)
