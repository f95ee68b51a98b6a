"""Writing of archives."""

from __future__ import annotations

import contextlib
import hashlib
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import lossbench
from lossbench.archive.format import (
    FORMAT,
    MANIFEST,
    PLAN,
    SEARCH_POINTS,
    SUITE,
    Manifest,
    StoredSearchPoints,
    is_training_file,
    training_file,
)
from lossbench.planning.plan import Plan
from lossbench.planning.plan_file import plan_record
from lossbench.planning.result_files import RESULT, TRIAL
from lossbench.planning.search import SearchPoints
from lossbench.planning.trial import Trial
from lossbench.records import TrialResult
from lossbench.suite.atomic_files import atomic_path
from lossbench.suite.dump import suite_yaml

_DATE = (1980, 1, 1, 0, 0, 0)
"""Date of all files, so that equal results give equal archives."""


class ArchiveWriter:
    """Writer of one archive; see `writing_archive`."""

    def __init__(self, file: zipfile.ZipFile, suite: str) -> None:
        self._file, self._suite = file, suite
        self._digests: dict[str, str] = {}
        self._identities: list[str] = []

    @property
    def trainings(self) -> int:
        """Number of trainings written so far."""
        return len(self._identities)

    def add_training(
        self, trial: Trial, result: TrialResult, files: Iterable[tuple[str, bytes]]
    ) -> None:
        """Write one training.

        Args:
            trial: Its specification.
            result: Its result with all measurements.
            files: Name and content of its other files; files of other kinds are left out.
        """
        dataset = trial.dataset
        name = dataset.name.rpartition("/")[2]  # without the folders of this machine
        portable = trial.model_copy(update={"dataset": dataset.model_copy(update={"name": name})})
        self._identities.append(trial.identity)
        self._add(training_file(trial.identity, TRIAL), _json(portable.model_dump_json(indent=1)))
        self._add(training_file(trial.identity, RESULT), _json(result.model_dump_json(indent=1)))
        for name, content in files:
            if is_training_file(name) and name not in (TRIAL, RESULT):
                self._add(training_file(trial.identity, name), content)

    def finish(self, plan: Plan, search_points: Mapping[str, SearchPoints]) -> None:
        """Write the files of the suite, and the manifest."""
        record = plan_record(plan)
        self._add(PLAN, _json(record.model_dump_json(indent=1)))
        suite = plan.expanded_suite.model_copy(update={"dataset": record.suite.dataset})
        self._add(SUITE, suite_yaml(suite).encode())
        if search_points:
            stored = StoredSearchPoints(searches=dict(search_points))
            self._add(SEARCH_POINTS, _json(stored.model_dump_json(indent=1)))
        manifest = Manifest(
            format=FORMAT,
            lossbench=lossbench.__version__,
            suite=self._suite,
            trainings=self._identities,
            files=self._digests,
        )
        self._write(MANIFEST, _json(manifest.model_dump_json(indent=1)))

    def _add(self, name: str, content: bytes) -> None:
        self._digests[name] = hashlib.sha256(content).hexdigest()
        self._write(name, content)

    def _write(self, name: str, content: bytes) -> None:
        info = zipfile.ZipInfo(name, _DATE)
        info.external_attr = 0o644 << 16
        packed = name.endswith((".npz", ".pt"))  # these are compressed, or cannot be
        info.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
        self._file.writestr(info, content)


@contextlib.contextmanager
def writing_archive(path: Path, suite: str) -> Iterator[ArchiveWriter]:
    """Write an archive; it appears when it is complete.

    Args:
        path: File, which is replaced.
        suite: Name of the suite.

    Yields:
        Its writer, whose `finish` has to be called last.
    """
    with atomic_path(path, durable=True) as temporary:
        with zipfile.ZipFile(temporary, "w", allowZip64=True) as file:
            yield ArchiveWriter(file, suite)
        temporary.chmod(0o644)


def _json(text: str) -> bytes:
    return (text + "\n").encode()
