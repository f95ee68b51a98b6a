"""Reader of results and arrays from MLflow runs; results are read once and cached."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lossbench.planning.divergence import FORMER_REASON, collapse_reason, guessing_note
from lossbench.planning.result_files import RESULT, TRIAL
from lossbench.planning.search import SearchPoints
from lossbench.records import Status, TrialResult
from lossbench.tracking import names
from lossbench.tracking.array_files import read_npz
from lossbench.tracking.artifacts import read_artifact
from lossbench.tracking.location import Location
from lossbench.tracking.server_errors import one_line
from lossbench.tracking.stored_run import StoredRun

if TYPE_CHECKING:
    from lossbench.tracking.connection import GetClient

Arrays = Mapping[str, np.ndarray[Any, Any]]
_LOG = logging.getLogger(__name__)


class ResultReader:
    """Reader of the artifacts of finished runs, with a cache of results.

    Args:
        client: Returns MLflow's client.
        location: Location of the store.
    """

    def __init__(self, client: GetClient, location: Location) -> None:
        self._client, self._location = client, location
        self._read: dict[tuple[str, int | None], TrialResult] = {}  # by run id and end time
        self._trials: dict[str, bytes | None] = {}  # by run id

    def result(self, run: StoredRun) -> TrialResult | None:
        """Result of a finished run, with a warning if it cannot be used; read once."""
        key = (run.run_id, run.end_time)
        if key not in self._read:  # a finished run changes only together with its end time
            result = self._result(run)
            if result is None:
                return None
            self._read[key] = result
        return self._read[key]

    def trial(self, run: StoredRun) -> bytes | None:
        """Specification of the trial of a run as JSON; None if it is missing."""
        if run.run_id not in self._trials:
            content = read_artifact(self._client, self._location, run, TRIAL)
            self._trials[run.run_id] = content
        return self._trials[run.run_id]

    def arrays(self, run: StoredRun, file: str) -> Arrays | None:
        """Arrays of an artifact by name; None if it is missing or broken.

        Args:
            run: The run.
            file: Path of the artifact.
        """
        content = read_artifact(self._client, self._location, run, file)
        if content is None:
            return None
        try:
            return read_npz(content)
        except (ValueError, EOFError, zipfile.BadZipFile) as error:
            identity = run.tags[names.IDENTITY]
            _LOG.warning("%s of trial %s is broken: %s", file, identity, one_line(error))
            return None

    def all_search_points(self, tables: Iterable[StoredRun]) -> dict[str, SearchPoints]:
        """The points that the runs of tables have, by the identity of the search.

        Of several ones, the most points count.
        """
        found: dict[str, SearchPoints] = {}
        for run in tables:
            for tag in run.tags:
                identity = tag.removeprefix(names.SEARCH)
                if identity == tag or (points := self.search_points(run, identity)) is None:
                    continue
                if identity not in found or len(points.points) > len(found[identity].points):
                    found[identity] = points
        return found

    def search_points(self, run: StoredRun, identity: str) -> SearchPoints | None:
        """Points of a search that are stored with a table's run; None if they cannot be read."""
        content = read_artifact(self._client, self._location, run, points_file(identity))
        try:
            if content is None:
                raise ValueError("it is missing")
            return SearchPoints.model_validate_json(content)
        except ValueError as error:  # includes those of pydantic
            _warn(run, points_file(identity), error)
            return None

    def _result(self, run: StoredRun) -> TrialResult | None:
        content = read_artifact(self._client, self._location, run, RESULT)
        try:
            if content is None:
                raise ValueError("it is missing")
            result = TrialResult.model_validate_json(content)
            if result.identity != run.tags[names.IDENTITY]:
                raise ValueError(f"it is of trial {result.identity}")
        except ValueError as error:  # includes those of pydantic
            _warn(run, RESULT, error)
            return None
        return self._reclassified(run, result)

    def _reclassified(self, run: StoredRun, result: TrialResult) -> TrialResult:
        """Result with the status by today's rule.

        Earlier versions counted every trial near chance as diverged.
        """
        if result.status != "diverged" or result.reason != FORMER_REASON:
            return result
        arrays = self.arrays(run, "predictions.npz")
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


def _warn(run: StoredRun, artifact: str, error: ValueError) -> None:
    where = f"{run.name} (run {run.run_id})"
    _LOG.warning("%s of %s cannot be used: %s", artifact, where, one_line(error))
