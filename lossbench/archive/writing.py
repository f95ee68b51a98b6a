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
    LOOKS,
    MANIFEST,
    PLAN,
    SEARCH_POINTS,
    SUITE,
    Manifest,
    StoredLooks,
    StoredSearchPoints,
    is_packed,
    is_training_file,
    max_bytes,
    training_file,
)
from lossbench.errors import LossbenchError
from lossbench.planning.plan import Plan
from lossbench.planning.plan_file import plan_record
from lossbench.planning.portable import portable_plan, portable_result, portable_trial
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
        self._identities.append(trial.identity)
        contents = {TRIAL: portable_trial(trial), RESULT: portable_result(trial, result)}
        for name, content in contents.items():
            self._add(training_file(trial.identity, name), _json(content.model_dump_json(indent=1)))
        for file, written in files:
            if is_training_file(file) and file not in contents:
                self._add(training_file(trial.identity, file), written)

    def finish(self, plan: Plan, search_points: Mapping[str, SearchPoints]) -> None:
        """Write the files of the suite, and the manifest."""
        portable = portable_plan(plan)
        self._add(PLAN, _json(plan_record(portable).model_dump_json(indent=1)))
        self._add(SUITE, suite_yaml(portable.expanded_suite).encode())
        if search_points:
            stored = StoredSearchPoints(searches=dict(search_points))
            self._add(SEARCH_POINTS, _json(stored.model_dump_json(indent=1)))
        if plan.looks is not None:
            record = StoredLooks(record=plan.looks)
            self._add(LOOKS, _json(record.model_dump_json(indent=1)))
        manifest = Manifest(
            format=FORMAT,
            lossbench=lossbench.__version__,
            suite=self._suite,
            trainings=self._identities,
            files=self._digests,
        )
        self._write(MANIFEST, _json(manifest.model_dump_json(indent=1)))

    def _add(self, name: str, content: bytes) -> None:
        if len(content) > max_bytes(name):
            raise LossbenchError(
                f"{name} has {len(content):,} bytes; an archive may have {max_bytes(name):,}"
            )
        self._digests[name] = hashlib.sha256(content).hexdigest()
        self._write(name, content)

    def _write(self, name: str, content: bytes) -> None:
        info = zipfile.ZipInfo(name, _DATE)
        info.external_attr = 0o644 << 16
        info.create_system = 3  # the same on all systems
        info.compress_type = zipfile.ZIP_STORED if is_packed(name) else zipfile.ZIP_DEFLATED
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
