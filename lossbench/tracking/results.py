"""Reader of results and arrays from MLflow runs; results are read once and cached."""

from __future__ import annotations

import io
import logging
import zipfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Run

from lossbench.planning.divergence import FORMER_REASON, collapse_reason, guessing_note
from lossbench.planning.search import SearchPoints
from lossbench.records import Status, TrialResult
from lossbench.tracking import names
from lossbench.tracking.artifacts import read_artifact
from lossbench.tracking.location import Location
from lossbench.tracking.server_errors import one_line

Arrays = Mapping[str, np.ndarray[Any, Any]]
RESULT = "result.json"
_LOG = logging.getLogger(__name__)
_DOWNLOADS = 8
"""Number of results that are read from a server at a time."""


class ResultReader:
    """Reader of the artifacts of finished runs, with a cache of results.

    Args:
        client: Returns MLflow's client.
        location: Location of the store.
    """

    def __init__(self, client: Callable[[], MlflowClient], location: Location) -> None:
        self._client, self._location = client, location
        self._read: dict[tuple[str, int | None], TrialResult] = {}  # by run id and end time

    def first_results(
        self, found: Mapping[str, Sequence[Run]]
    ) -> dict[str, tuple[Run, TrialResult]]:
        """First readable result of each trial, with its run.

        Args:
            found: Finished runs of each trial, the earliest first, by the identity of the trial.
        """
        workers = 1 if self._location.database else _DOWNLOADS
        with ThreadPoolExecutor(workers) as pool:
            read = pool.map(self._first_result, found.values())
            pairs = dict(zip(found, read, strict=True))
        return {
            identity: (pair[0], pair[1].model_copy(update={"identity": identity}))
            for identity, pair in pairs.items()
            if pair is not None
        }

    def arrays(self, run: Run, name: str) -> Arrays | None:
        """Arrays of an artifact by name; None if it is missing or broken."""
        content = read_artifact(self._client(), self._location, run, f"{name}.npz")
        if content is None:
            return None
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                return dict(arrays)
        except (ValueError, EOFError, zipfile.BadZipFile) as error:
            identity = run.data.tags[names.IDENTITY]
            _LOG.warning("%s.npz of trial %s is broken: %s", name, identity, one_line(error))
            return None

    def search_points(self, run: Run, identity: str) -> SearchPoints | None:
        """Points of a search that are stored with a table's run; None if they cannot be read."""
        content = read_artifact(self._client(), self._location, run, points_file(identity))
        try:
            if content is None:
                raise ValueError("it is missing")
            return SearchPoints.model_validate_json(content)
        except ValueError as error:  # includes those of pydantic
            _warn(run, points_file(identity), error)
            return None

    def _first_result(self, runs: Sequence[Run]) -> tuple[Run, TrialResult] | None:
        for run in runs:
            key = (run.info.run_id, run.info.end_time)
            if key not in self._read:  # a finished run does not change
                result = self._result(run)
                if result is None:
                    continue
                self._read[key] = result
            return run, self._read[key]
        return None

    def _result(self, run: Run) -> TrialResult | None:
        content = read_artifact(self._client(), self._location, run, RESULT)
        try:
            if content is None:
                raise ValueError("it is missing")
            result = TrialResult.model_validate_json(content)
            if result.identity != run.data.tags[names.IDENTITY]:
                raise ValueError(f"it is of trial {result.identity}")
        except ValueError as error:  # includes those of pydantic
            _warn(run, RESULT, error)
            return None
        return self._reclassified(run, result)

    def _reclassified(self, run: Run, result: TrialResult) -> TrialResult:
        """Result with the status by today's rule.

        Earlier versions counted every trial near chance as diverged.
        """
        if result.status != "diverged" or result.reason != FORMER_REASON:
            return result
        arrays = self.arrays(run, "predictions")
        if arrays is None:
            return result
        predicted, labels = arrays["predicted"], arrays["labels"]
        # the number of classes is not stored; without test images of the last ones it is larger
        answers = predicted, labels, int(max(predicted.max(), labels.max())) + 1
        reason = collapse_reason(*answers)
        status: Status = "diverged" if reason else "finished"
        return result.model_copy(
            update={"status": status, "reason": reason or guessing_note(*answers)}
        )


def points_file(identity: str) -> str:
    """Name of the artifact with the points of a search."""
    return f"search-{identity}.json"


def _warn(run: Run, artifact: str, error: ValueError) -> None:
    where = f"{run.info.run_name} (run {run.info.run_id})"
    _LOG.warning("%s of %s cannot be used: %s", artifact, where, one_line(error))
