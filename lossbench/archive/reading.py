"""Reading of archives, which may come from anybody: nothing is trusted, nothing is executed."""

from __future__ import annotations

import functools
import hashlib
import json
import stat
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from lossbench.archive.arrays import (
    DAMAGED,
    Arrays,
    arrays_problem,
    expanded_bytes,
    read_arrays,
)
from lossbench.archive.contents import (
    has_control_character,
    has_infinite_number,
    plan_problem,
    result_problem,
    trial_problem,
)
from lossbench.archive.format import (
    FORMAT,
    FREE_BYTES,
    LOOKS,
    MANIFEST,
    MAX_FILES,
    MAX_RATIO,
    PLAN,
    SEARCH_POINTS,
    SUITE,
    TRAININGS,
    Manifest,
    StoredLooks,
    StoredSearchPoints,
    is_file_name,
    is_packed,
    max_bytes,
    training_file,
)
from lossbench.errors import RequestError, truncated_repr, validation_problems
from lossbench.planning.plan import Plan
from lossbench.planning.plan_file import plan_of, read_plan_record
from lossbench.planning.result_files import RESULT, TRIAL, WEIGHTS, array_files
from lossbench.planning.search import SearchPoints
from lossbench.planning.trial import Trial
from lossbench.records import MeasurementRecord, TrialResult
from lossbench.suite.origin import Origin

Content = TypeVar("Content", bound=BaseModel)


class Archive:
    """An archive whose structure, digests and contents have been checked.

    Args:
        path: File of the archive.
        weights: Whether the weights are checked as well.

    Raises:
        RequestError: The file cannot be read, is no archive of lossbench, or is damaged.

    Attributes:
        path: File of the archive.
        manifest: Its list of contents.
        trials: Identity -> trial, in the order of the suite.
        results: Identity -> result of its training with all measurements.
        plan: Plan of the suite at the time of the export.
        search_points: Points that the suite's searches have proposed, by the identity of the
            search.
        looks: Record of the seeds that were added until the table was decided; None if the
            archive has none.
    """

    def __init__(self, path: Path, *, weights: bool = False) -> None:
        self.path = path
        try:
            self._version = _version(path)
            zipfile.ZipFile(path).close()
        except FileNotFoundError:
            raise RequestError(f"{path}: no such file") from None
        except OSError as error:
            raise self._error(error.strerror or str(error)) from None
        except (*DAMAGED, ValueError) as error:
            raise self._error(f"is no archive of lossbench: {error}") from None
        self._check_entries()
        self._check_format()
        self.manifest = self._json(MANIFEST, Manifest.model_validate_json)
        self._check_names()
        for name in self._file.namelist():
            if name != MANIFEST and (weights or not name.endswith(".pt")):
                self._check(name)
        self.trials: dict[str, Trial] = {}
        self.results: dict[str, TrialResult] = {}
        for identity in self.manifest.trainings:
            self._read_training(identity)
        self.plan = self._read_plan()
        self.search_points = self._read_search_points()
        self.looks = (
            self._json(LOOKS, StoredLooks.model_validate_json).record if self._has(LOOKS) else None
        )

    def _read_plan(self) -> Plan:
        plan = plan_of(self._json(PLAN, read_plan_record))
        if plan.suite.suite != self.manifest.suite:
            raise self._error(f"{PLAN} is of suite {plan.suite.suite!r}")
        if problem := plan_problem(plan, self.trials.values()):
            raise self._error(f"{PLAN}: {problem}")
        return replace(plan, suite=plan.suite.with_origin(Origin(path=str(self.path))))

    def _read_search_points(self) -> Mapping[str, SearchPoints]:
        if not self._has(SEARCH_POINTS):
            return {}
        return self._json(SEARCH_POINTS, StoredSearchPoints.model_validate_json).searches

    def _has(self, name: str) -> bool:
        return name in self.manifest.files

    @property
    def _file(self) -> zipfile.ZipFile:
        return _opened(self.path, self._version)

    def has_weights(self, identity: str) -> bool:
        """Whether the archive has the weights of a training."""
        return training_file(identity, WEIGHTS) in self.manifest.files

    def files(self, identity: str) -> Iterator[tuple[str, bytes]]:
        """Name and content of the files of a training, with its specification and its result."""
        folder = training_file(identity, "")
        for name in self._names_by_folder.get(folder, ()):
            yield name.removeprefix(folder), self._read(name)

    @functools.cached_property
    def _names_by_folder(self) -> Mapping[str, list[str]]:
        names: dict[str, list[str]] = {}
        for name in self.manifest.files:
            if name.startswith(f"{TRAININGS}/"):
                names.setdefault(training_file(name.split("/")[1], ""), []).append(name)
        return names

    def arrays(
        self, measurements: Iterable[MeasurementRecord], identity: str, name: str
    ) -> Arrays | None:
        """Arrays of an artifact of a training; None if the archive does not have it.

        Args:
            measurements: Measurements whose arrays are wanted.
            identity: Identity of the training.
            name: Name of the artifact, without `.npz`.
        """
        for file in array_files(measurements, name):
            full = training_file(identity, file)
            if full in self.manifest.files:
                return read_arrays(self._read(full))
        return None

    def _error(self, problem: str) -> RequestError:
        return RequestError(f"{self.path}: {problem}")

    def _check_entries(self) -> None:
        """Refuse unusual entries and too large ones before anything is decompressed."""
        entries = self._file.infolist()
        if entries and min(entry.header_offset for entry in entries) != 0:
            # what is left of a truncated archive may end with one of its NPZ files, a zip file too
            raise self._error("is no archive of lossbench, or is incomplete")
        if len(entries) > MAX_FILES:
            raise self._error(f"has {len(entries):,} files, more than {MAX_FILES:,}")
        for entry in entries:
            name, limit = entry.filename, max_bytes(entry.filename)
            if name != MANIFEST and not is_file_name(name):
                raise self._error(
                    f"has a file {truncated_repr(name)}, which no archive of lossbench has"
                )
            if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
                raise self._error(f"{name}: is no plain file")
            if entry.file_size > limit:
                raise self._error(f"{name}: has {entry.file_size:,} bytes, more than {limit:,}")
            if is_packed(name) and entry.compress_type != zipfile.ZIP_STORED:
                raise self._error(f"{name}: is compressed in the archive, which it should not be")
        names = self._file.namelist()
        if len(set(names)) < len(names):
            raise self._error(f"has two files of the name {Counter(names).most_common(1)[0][0]!r}")
        self._expanded = 0
        self._expand("", sum(entry.file_size for entry in entries))

    def _expand(self, name: str, count: int) -> None:
        """Add to the number of decompressed bytes, which is limited by the size of the archive."""
        self._expanded += count
        if self._expanded > FREE_BYTES + MAX_RATIO * self._version[1]:
            place = f"{name}: " if name else ""
            raise self._error(f"{place}expands to more than {MAX_RATIO} times the archive's size")

    def _check_format(self) -> None:
        try:
            content = json.loads(self._read(MANIFEST))
            version = content["format"]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise self._error(f"is no archive of lossbench: {MANIFEST} has no format") from None
        if version != FORMAT:
            raise self._error(
                f"has format {version!r}; this version of lossbench reads format {FORMAT}"
            )

    def _check_names(self) -> None:
        listed = self._file.namelist()
        names = [name for name in listed if name != MANIFEST]
        for name in sorted(self.manifest.files.keys() ^ set(names)):
            verb = "lacks" if name in self.manifest.files else "does not list"
            raise self._error(f"{verb} {name!r}")
        folders = {name.split("/")[1] for name in names if name.startswith(f"{TRAININGS}/")}
        if sorted(folders) != sorted(self.manifest.trainings):
            raise self._error(f"{MANIFEST}: its list of trainings differs from their files")
        wanted = [PLAN, SUITE]
        wanted += [training_file(i, name) for i in sorted(folders) for name in (TRIAL, RESULT)]
        for name in wanted:
            if name not in self.manifest.files:
                raise self._error(f"lacks {name!r}")

    def _read(self, name: str) -> bytes:
        try:
            return self._file.read(name)
        except KeyError:
            raise self._error(f"is no archive of lossbench: it has no {name}") from None
        except DAMAGED as error:
            raise self._error(f"{name} is damaged: {error}") from None

    def _check(self, name: str) -> None:
        """Check the digest of a file; check that arrays and weights can be loaded safely."""
        content = self._read(name)
        if hashlib.sha256(content).hexdigest() != self.manifest.files[name]:
            raise self._error(f"{name} differs from its digest")
        problem = ""
        if name.endswith(".npz"):
            self._expand(name, expanded_bytes(content))
            problem = arrays_problem(content)
        elif name.endswith(".pt"):
            problem = self._weights_problem(name, content)
        if problem:
            raise self._error(f"{name}: {problem}")

    def _json(self, name: str, read: Callable[[bytes], Content]) -> Content:
        content = self._read(name)
        try:
            parsed = from_json(content, allow_inf_nan=False)
            if has_infinite_number(parsed):
                raise self._error(f"{name}: has a number that is too large")
            if has_control_character(parsed):
                raise self._error(f"{name}: has a text with control characters")
            return read(content)
        except ValidationError as error:
            problem = validation_problems(error, lambda loc: ())[0]
            where = f"{name}: {problem.key}" if problem.key else name
            raise self._error(f"{where}: {problem.message}") from None
        except ValueError as error:
            raise self._error(f"{name}: is no valid JSON: {error}") from None
        except RecursionError:
            raise self._error(f"{name}: is nested too deeply") from None

    def _weights_problem(self, name: str, content: bytes) -> str:
        """Reason why weights cannot be used; empty if they can."""
        from lossbench.training.trained_weights import read_weights, weights_digest

        result = self._json(
            training_file(name.split("/")[1], RESULT), TrialResult.model_validate_json
        )
        try:
            digest = weights_digest(read_weights(content))
        except ValueError as error:
            return str(error)
        return "" if digest == result.weights_digest else "are not those of its result"

    def _read_training(self, identity: str) -> None:
        trial = self._json(training_file(identity, TRIAL), Trial.model_validate_json)
        result = self._json(training_file(identity, RESULT), TrialResult.model_validate_json)
        if problem := trial_problem(trial, identity, self.manifest.suite):
            raise self._error(f"{training_file(identity, TRIAL)}: {problem}")
        if problem := result_problem(trial, result):
            raise self._error(f"{training_file(identity, RESULT)}: {problem}")
        self.trials[identity], self.results[identity] = trial, result


Version = tuple[int, int, int]
"""Inode, size and time of the last change of a file."""


def _version(path: Path) -> Version:
    state = path.stat()
    return state.st_ino, state.st_size, state.st_mtime_ns


@functools.lru_cache(maxsize=64)
def _opened(path: Path, version: Version) -> zipfile.ZipFile:
    """The open file of an archive; a folder may have more archives than can be open at once.

    Raises:
        RequestError: The file is no longer the one that was checked.
    """
    if _version(path) != version:
        raise RequestError(f"{path}: was changed while it was read")
    return zipfile.ZipFile(path)
