"""Experiments and runs of MLflow: search, creation, closing."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from lossbench.tracking import names
from lossbench.tracking.artifacts import artifact_root
from lossbench.tracking.database import content_version
from lossbench.tracking.database_runs import read_experiments, read_run, read_runs, read_values
from lossbench.tracking.location import EXPERIMENT_KIND, Location
from lossbench.tracking.stored_run import (
    RunValues,
    StoredExperiment,
    StoredRun,
    stored_experiment,
    stored_run,
)

if TYPE_CHECKING:
    from lossbench.tracking.connection import GetClient

_PAGE = 1000
"""Number of runs per request to a server."""
_ELSEWHERE_SEC = 60.0
"""Time between two searches of all other suites."""


class Runs:
    """Runs of a store; those of a database are read without MLflow.

    Args:
        client: Returns MLflow's client.
        location: Location of the store.
    """

    def __init__(self, client: GetClient, location: Location) -> None:
        self._client, self._location = client, location
        self._finished: dict[frozenset[str], tuple[object, list[StoredRun]]] = {}
        self._others: dict[frozenset[str], tuple[float, list[StoredRun]]] = {}

    def finished(self, suites: Collection[str], *, elsewhere: bool = False) -> list[StoredRun]:
        """Finished runs of suites, the earliest first.

        A database is searched again only after a change; other suites at most once a minute,
        because they may have many runs.

        Args:
            suites: Names of suites.
            elsewhere: Whether to return the trials of all other suites instead.
        """
        if elsewhere:
            return self._elsewhere(frozenset(suites))
        version = content_version(self._location.database) if self._location.database else None
        key = frozenset(suites)
        known = self._finished.get(key)
        if version is None or known is None or known[0] != version:
            found = [self.experiment(name) for name in key]
            experiments = [experiment.experiment_id for experiment in found if experiment]
            runs = list(self.search(experiments, finished=True))
            known = self._finished[key] = (version, runs)
        return known[1]

    def last_finished(self, suite: str) -> list[StoredRun]:
        """Finished runs of a suite as `finished` returned them last; empty before that."""
        known = self._finished.get(frozenset({suite}))
        return known[1] if known else []

    def _elsewhere(self, suites: frozenset[str]) -> list[StoredRun]:
        """Finished trials of all other suites."""
        now = time.monotonic()
        known = self._others.get(suites)
        if known is None or now - known[0] >= _ELSEWHERE_SEC:
            experiments = [e.experiment_id for e in self._active() if e.name not in suites]
            runs = list(self.search(experiments, {names.KIND: "trial"}, finished=True))
            known = self._others[suites] = (now, runs)
        return known[1]

    def tables(self, suite: str) -> Iterator[StoredRun]:
        """Parent runs of the tables of a suite, the earliest first."""
        experiment = self.experiment(suite)
        if experiment:
            yield from self.search([experiment.experiment_id], {names.KIND: "table"})

    def open_experiment(self, name: str) -> str:
        """Id of the experiment with this name; it is created if there is none.

        Raises:
            TrackingError: The experiment was deleted in MLflow.
        """
        location, found = self._location, self.experiment(name)
        if found is None:
            folder = str(artifact_root(location.database) / name) if location.database else None
            tags = {EXPERIMENT_KIND: "custom_model_development"}
            created = self._client().create_experiment(name, artifact_location=folder, tags=tags)
            return str(created)
        if found.lifecycle_stage != "active":
            raise location.error(
                f"the experiment {name!r} was deleted in MLflow; restore it with 'mlflow "
                f"experiments restore -x {found.experiment_id}', or rename the suite"
            )
        return found.experiment_id

    def experiment(self, name: str) -> StoredExperiment | None:
        """The experiment with this name, also a deleted one; None if there is none."""
        if self._location.database:
            listed = read_experiments(self._location.database)
            return next((each for each in listed if each.name == name), None)
        found = self._client().get_experiment_by_name(name)
        if found is None:
            return None
        return stored_experiment(found)

    def find(
        self, experiment: str, tags: Mapping[str, str], *, finished: bool | None = None
    ) -> StoredRun | None:
        """The earliest run of an experiment with these tags; None if there is none.

        Args:
            experiment: Id of the experiment.
            tags: Tags of the run.
            finished: Whether the run is finished or not; None for any.
        """
        return next(self.search([experiment], tags, finished=finished), None)

    def create(
        self, experiment: str, key: Mapping[str, str], tags: Mapping[str, str], name: str
    ) -> StoredRun:
        """Create a run, or return the run that another machine created earlier on a server.

        Args:
            experiment: Id of the experiment.
            key: Tags that identify the run.
            tags: All tags of the run.
            name: Name of the run.
        """
        client = self._client()
        run = stored_run(client.create_run(experiment, tags=dict(tags), run_name=name))
        if self._location.database is not None:  # it is locked
            return run
        first = self.find(experiment, key, finished=False) or run
        if first.run_id != run.run_id:
            client.delete_run(run.run_id)
        return first

    def close(self, run_id: str, status: str, reason: str) -> None:
        tags = names.status_tags(status.lower(), reason)
        self._client().log_batch(run_id, tags=names.as_tags(tags))
        self._client().set_terminated(run_id, status)

    def get(self, run_id: str) -> StoredRun | None:
        """A run as it is now; None if it was deleted for good."""
        if self._location.database:
            return read_run(self._location.database, run_id)
        from mlflow.exceptions import MlflowException

        try:
            return stored_run(self._client().get_run(run_id))
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise

    def values(self, run_id: str) -> RunValues:
        """Parameters and metrics of a run as they are now."""
        if self._location.database:
            return read_values(self._location.database, run_id)
        data = self._client().get_run(run_id).data
        return RunValues(data.params, data.metrics)

    def _active(self) -> Iterator[StoredExperiment]:
        """All experiments that were not deleted."""
        if self._location.database:
            listed = read_experiments(self._location.database)
            yield from (each for each in listed if each.lifecycle_stage == "active")
            return
        token = None
        while True:
            page = self._client().search_experiments(max_results=_PAGE, page_token=token)
            yield from map(stored_experiment, page)
            if not (token := page.token):
                return

    def search(
        self,
        experiments: Collection[str],
        tags: Mapping[str, str] | None = None,
        *,
        finished: bool | None = None,
    ) -> Iterator[StoredRun]:
        """Runs with these tags, the earliest first.

        Args:
            experiments: Ids of the experiments to search.
            tags: Tags that the runs have; None for any.
            finished: Whether they are finished or not; None for all.
        """
        if not experiments:
            return
        if self._location.database:
            database = self._location.database
            yield from read_runs(database, experiments, tags or {}, finished=finished)
            return
        conditions = [f"tags.`{key}` = '{value}'" for key, value in (tags or {}).items()]
        if finished is not None:
            conditions.insert(0, f"attributes.status {'=' if finished else '!='} 'FINISHED'")
        token = None
        while True:
            page = self._client().search_runs(
                list(experiments),
                " AND ".join(conditions),
                max_results=_PAGE,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            yield from map(stored_run, page)
            if not (token := page.token):
                return
