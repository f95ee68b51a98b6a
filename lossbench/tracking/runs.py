"""Experiments and runs of MLflow: search, creation, closing."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping

from mlflow import MlflowClient
from mlflow.entities import Experiment, Run

from lossbench.tracking import names
from lossbench.tracking.artifacts import artifact_root
from lossbench.tracking.database import content_version
from lossbench.tracking.location import EXPERIMENT_KIND, Location

_PAGE = 1000
"""Number of runs per search."""
_FINISHED = "attributes.status = 'FINISHED'"
_ELSEWHERE_SEC = 60.0
"""Time between two searches of all other suites."""


class Runs:
    """Runs of a store.

    Args:
        client: Returns MLflow's client.
        location: Location of the store.
    """

    def __init__(self, client: Callable[[], MlflowClient], location: Location) -> None:
        self._client, self._location = client, location
        self._finished: dict[frozenset[str], tuple[object, list[Run]]] = {}
        self._others: dict[frozenset[str], tuple[float, list[Run]]] = {}

    def finished(self, suites: Collection[str], *, elsewhere: bool = False) -> list[Run]:
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
            found = [self._client().get_experiment_by_name(name) for name in key]
            experiments = [experiment.experiment_id for experiment in found if experiment]
            known = self._finished[key] = (version, list(self.search(experiments, _FINISHED)))
        return known[1]

    def last_finished(self, suite: str) -> list[Run]:
        """Finished runs of a suite as `finished` returned them last; empty before that."""
        known = self._finished.get(frozenset({suite}))
        return known[1] if known else []

    def _elsewhere(self, suites: frozenset[str]) -> list[Run]:
        """Finished trials of all other suites."""
        now = time.monotonic()
        known = self._others.get(suites)
        if known is None or now - known[0] >= _ELSEWHERE_SEC:
            experiments = [e.experiment_id for e in self._all() if e.name not in suites]
            condition = f"{_FINISHED} AND {_equals(names.KIND, 'trial')}"
            known = self._others[suites] = (now, list(self.search(experiments, condition)))
        return known[1]

    def tables(self, suite: str) -> Iterator[Run]:
        """Parent runs of the tables of a suite, the earliest first."""
        experiment = self._client().get_experiment_by_name(suite)
        if experiment:
            yield from self.search([experiment.experiment_id], _equals(names.KIND, "table"))

    def finished_with_tag(self, key: str, value: str, experiment: str) -> Run | None:
        """The earliest finished run of an experiment with a tag; None if there is none."""
        condition = f"attributes.status = 'FINISHED' AND {_equals(key, value)}"
        return next(self.search([experiment], condition), None)

    def open_experiment(self, name: str) -> str:
        """Id of the experiment with this name; it is created if there is none.

        Raises:
            TrackingError: The experiment was deleted in MLflow.
        """
        client, location = self._client(), self._location
        found = client.get_experiment_by_name(name)
        if found is None:
            folder = str(artifact_root(location.database) / name) if location.database else None
            tags = {EXPERIMENT_KIND: "custom_model_development"}
            return str(client.create_experiment(name, artifact_location=folder, tags=tags))
        if found.lifecycle_stage != "active":
            raise location.error(
                f"the experiment {name!r} was deleted in MLflow; restore it with 'mlflow "
                f"experiments restore -x {found.experiment_id}', or rename the suite"
            )
        return str(found.experiment_id)

    def find(
        self, experiment: str, tags: Mapping[str, str], *, unfinished: bool = False
    ) -> Run | None:
        """The earliest run of an experiment with these tags; None if there is none.

        Args:
            experiment: Id of the experiment.
            tags: Tags of the run.
            unfinished: Whether finished runs are left out.
        """
        conditions = ["attributes.status != 'FINISHED'"] if unfinished else []
        return next(self.with_tags(experiment, tags, conditions), None)

    def with_tags(
        self, experiment: str, tags: Mapping[str, str], conditions: Collection[str] = ()
    ) -> Iterator[Run]:
        """Runs of an experiment with these tags that meet further conditions, earliest first."""
        listed = [*(_equals(key, value) for key, value in tags.items()), *conditions]
        return self.search([experiment], " AND ".join(listed))

    def create(
        self, experiment: str, key: Mapping[str, str], tags: Mapping[str, str], name: str
    ) -> Run:
        """Create a run, or return the run that another machine created earlier on a server.

        Args:
            experiment: Id of the experiment.
            key: Tags that identify the run.
            tags: All tags of the run.
            name: Name of the run.
        """
        client = self._client()
        run = client.create_run(experiment, tags=dict(tags), run_name=name)
        if self._location.database is not None:  # it is locked
            return run
        first = self.find(experiment, key, unfinished=True) or run
        if first.info.run_id != run.info.run_id:
            client.delete_run(run.info.run_id)
        return first

    def close(self, run_id: str, status: str, reason: str) -> None:
        tags = names.status_tags(status.lower(), reason)
        self._client().log_batch(run_id, tags=names.as_tags(tags))
        self._client().set_terminated(run_id, status)

    def _all(self) -> Iterator[Experiment]:
        """All experiments of the store."""
        token = None
        while True:
            page = self._client().search_experiments(max_results=_PAGE, page_token=token)
            yield from page
            if not (token := page.token):
                return

    def search(self, experiments: list[str], condition: str) -> Iterator[Run]:
        """Runs that meet a condition, the earliest first."""
        token = None
        while experiments:
            page = self._client().search_runs(
                experiments,
                condition,
                max_results=_PAGE,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            yield from page
            if not (token := page.token):
                return


def _equals(key: str, value: str) -> str:
    return f"tags.`{key}` = '{value}'"
