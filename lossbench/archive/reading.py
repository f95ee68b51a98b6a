"""Reading of archives, which may come from anybody: nothing is trusted, nothing is executed."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError

from lossbench.archive.format import (
    FORMAT,
    FREE_BYTES,
    MANIFEST,
    MAX_ARRAYS_BYTES,
    MAX_FILES,
    MAX_RATIO,
    PLAN,
    SEARCH_POINTS,
    SUITE,
    TRAININGS,
    Manifest,
    StoredSearchPoints,
    is_file_name,
    max_bytes,
    training_file,
)
from lossbench.errors import RequestError, validation_problems
from lossbench.planning.measurements import all_metrics
from lossbench.planning.plan import Plan
from lossbench.planning.plan_file import PlanRecord, plan_of
from lossbench.planning.result_files import RESULT, TRIAL, WEIGHTS, array_files
from lossbench.planning.search import SearchPoints
from lossbench.planning.trial import Trial
from lossbench.records import MeasurementRecord, TrialResult
from lossbench.suite.origin import Origin

Arrays = Mapping[str, np.ndarray[Any, Any]]
Content = TypeVar("Content", bound=BaseModel)
_DAMAGED = (zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, RuntimeError, OSError)
"""Exceptions of `zipfile` for a damaged, encrypted or unreadable file."""


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
    """

    def __init__(self, path: Path, *, weights: bool = False) -> None:
        self.path = path
        try:
            self._changed_ns = path.stat().st_mtime_ns
            zipfile.ZipFile(path).close()
        except FileNotFoundError:
            raise RequestError(f"{path}: no such file") from None
        except _DAMAGED as error:
            raise self._error(f"is no archive of lossbench: {error}") from None
        self._check_sizes()
        self._check_format()
        self.manifest = self._json(MANIFEST, Manifest)
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

    def _read_plan(self) -> Plan:
        plan = plan_of(self._json(PLAN, PlanRecord))
        if plan.suite.suite != self.manifest.suite:
            raise self._error(f"{PLAN} is of suite {plan.suite.suite!r}")
        return replace(plan, suite=plan.suite.with_origin(Origin(path=str(self.path))))

    def _read_search_points(self) -> Mapping[str, SearchPoints]:
        if SEARCH_POINTS not in self.manifest.files:
            return {}
        return self._json(SEARCH_POINTS, StoredSearchPoints).searches

    @property
    def _file(self) -> zipfile.ZipFile:
        return _opened(self.path, self._changed_ns)

    def has_weights(self, identity: str) -> bool:
        """Whether the archive has the weights of a training."""
        return training_file(identity, WEIGHTS) in self.manifest.files

    def files(self, identity: str) -> Iterator[tuple[str, bytes]]:
        """Name and content of the files of a training, with its specification and its result."""
        folder = training_file(identity, "")
        for name in self.manifest.files:
            if name.startswith(folder):
                yield name.removeprefix(folder), self._read(name)

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
                with np.load(io.BytesIO(self._read(full)), allow_pickle=False) as arrays:
                    return dict(arrays)
        return None

    def _error(self, problem: str) -> RequestError:
        return RequestError(f"{self.path}: {problem}")

    def _check_sizes(self) -> None:
        """Refuse files that are too large before anything is decompressed."""
        entries = self._file.infolist()
        if len(entries) > MAX_FILES:
            raise self._error(f"has {len(entries):,} files, more than {MAX_FILES:,}")
        for entry in entries:
            if entry.file_size > max_bytes(entry.filename):
                raise self._error(f"{entry.filename!r} has {entry.file_size:,} bytes, too many")
        expanded = sum(entry.file_size for entry in entries)
        if expanded > FREE_BYTES + MAX_RATIO * self.path.stat().st_size:
            raise self._error(f"expands to {expanded:,} bytes, over {MAX_RATIO} times its size")

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
        names = [name for name in self._file.namelist() if name != MANIFEST]
        for name in names:
            if not is_file_name(name):
                raise self._error(f"has a file {name!r}, which no archive of lossbench has")
        if len(set(names)) < len(self._file.namelist()) - 1:
            raise self._error("has two files of the same name")
        for name in self.manifest.files.keys() ^ set(names):
            verb = "lacks" if name in self.manifest.files else "does not list"
            raise self._error(f"{verb} {name!r}")
        folders = {name.split("/")[1] for name in names if name.startswith(f"{TRAININGS}/")}
        if folders != set(self.manifest.trainings):
            raise self._error("its list of trainings differs from their files")
        wanted = [PLAN, SUITE]
        wanted += [training_file(i, name) for i in folders for name in (TRIAL, RESULT)]
        for name in wanted:
            if name not in self.manifest.files:
                raise self._error(f"lacks {name!r}")

    def _read(self, name: str) -> bytes:
        try:
            return self._file.read(name)
        except KeyError:
            raise self._error(f"is no archive of lossbench: it has no {name}") from None
        except _DAMAGED as error:
            raise self._error(f"{name} is damaged: {error}") from None

    def _check(self, name: str) -> None:
        """Check the digest of a file; check that arrays and weights can be loaded safely."""
        content = self._read(name)
        if hashlib.sha256(content).hexdigest() != self.manifest.files[name]:
            raise self._error(f"{name} differs from its digest")
        problem = ""
        if name.endswith(".npz"):
            problem = arrays_problem(content)
        elif name.endswith(".pt"):
            problem = self._weights_problem(name, content)
        if problem:
            raise self._error(f"{name}: {problem}")

    def _json(self, name: str, model: type[Content]) -> Content:
        try:
            return model.model_validate_json(self._read(name))
        except ValidationError as error:
            problem = validation_problems(error, lambda loc: ())[0]
            where = f"{name}: {problem.key}" if problem.key else name
            raise self._error(f"{where}: {problem.message}") from None
        except RecursionError:
            raise self._error(f"{name}: is nested too deeply") from None

    def _weights_problem(self, name: str, content: bytes) -> str:
        """Reason why weights cannot be used; empty if they can."""
        from lossbench.training.trained_weights import read_weights, weights_digest

        result = self._json(training_file(name.split("/")[1], RESULT), TrialResult)
        try:
            digest = weights_digest(read_weights(content))
        except ValueError as error:
            return str(error)
        return "" if digest == result.weights_digest else "are not those of its result"

    def _read_training(self, identity: str) -> None:
        trial = self._json(training_file(identity, TRIAL), Trial)
        result = self._json(training_file(identity, RESULT), TrialResult)
        if trial.identity != identity:
            raise self._error(f"{training_file(identity, TRIAL)}: specifies {trial.identity}")
        if result.identity != identity:
            raise self._error(f"{training_file(identity, RESULT)}: is of {result.identity}")
        if result.measurements and result.metrics != all_metrics(result.measurements):
            raise self._error(
                f"{training_file(identity, RESULT)}: its metrics are not those of its measurements"
            )
        own = dict(zip(trial.measurement_identities, trial.evaluate, strict=True))
        for record in result.measurements:
            planned = own.get(record.identity)
            if planned and (planned.name, planned.params) != (record.name, record.params):
                raise self._error(
                    f"{training_file(identity, RESULT)}: measurement {record.identity} is not "
                    f"{record.name}"
                )
        self.trials[identity], self.results[identity] = trial, result


@functools.lru_cache(maxsize=64)
def _opened(path: Path, changed_ns: int) -> zipfile.ZipFile:
    """The open file of an archive; a folder may have more archives than can be open at once."""
    del changed_ns  # a replaced file is opened again
    return zipfile.ZipFile(path)


def arrays_problem(content: bytes) -> str:
    """Reason why an NPZ file cannot be loaded safely; empty if it can.

    Sizes are compared before memory is allocated, and arrays of Python objects are refused.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as arrays:
            entries = arrays.infolist()
            if sum(entry.file_size for entry in entries) > MAX_ARRAYS_BYTES:
                return "its arrays are too large"
            for entry in entries:
                with arrays.open(entry) as file:
                    shape, _, dtype = _header(file)
                    start = file.tell()
                size = int(np.prod(shape, dtype=object)) * dtype.itemsize
                if dtype.hasobject or size != entry.file_size - start:
                    return f"{entry.filename} is no plain array"
        with np.load(io.BytesIO(content), allow_pickle=False) as loaded:
            for name in loaded.files:
                loaded[name]
    except (*_DAMAGED, ValueError, TypeError, KeyError, SyntaxError) as error:
        return f"is no file of plain arrays: {str(error).partition(chr(10))[0]}"
    return ""


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type of an array in the NPY format."""
    version = np.lib.format.read_magic(file)
    readers: dict[tuple[int, int], Callable[[Any], Any]] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"version {version} of the NPY format")
    shape, order, dtype = readers[version](file)
    return shape, order, dtype
