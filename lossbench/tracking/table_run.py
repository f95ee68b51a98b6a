"""The run of a table: its report, numbers, verdicts and description.

A table has one run for its label, as it has one report folder, and for its settings
(`Plan.table_identity`): if the recipe is changed in the suite file, the run with the former one
stays and is named `earlier settings`.
"""

from __future__ import annotations

import contextlib
import json
import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lossbench.errors import TrackingError
from lossbench.planning.changes import file_label
from lossbench.planning.plan import Plan
from lossbench.records import TableSummary
from lossbench.suite.atomic_files import link_or_copy
from lossbench.suite.dump import suite_yaml
from lossbench.tracking import names
from lossbench.tracking.artifacts import (
    delete_artifact,
    list_artifacts,
    write_folder,
    write_text,
)
from lossbench.tracking.connection import locked
from lossbench.tracking.location import Location
from lossbench.tracking.run_tags import change_tags
from lossbench.tracking.runs import Runs
from lossbench.tracking.stored_run import StoredRun
from lossbench.tracking.table_members import TrialRuns, changed_tags
from lossbench.tracking.views import table_view, view_tag

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    from lossbench.tracking.connection import GetClient

REPORT = "report"
"""Folder of the report among the artifacts."""
_TABLE = "table.json"
_VERDICT = "verdict/"
_LOGGED_TABLES = "mlflow.loggedArtifacts"
_METRICS_PER_CALL = 1000


class TableRuns:
    """Runs of tables.

    Args:
        client: Returns MLflow's client.
        location: Location of the store.
        runs: Runs of the store.
    """

    def __init__(self, client: GetClient, location: Location, runs: Runs) -> None:
        self._make_client, self._location, self._runs = client, location, runs

    @property
    def _client(self) -> MlflowClient:
        return self._make_client()

    def find_or_create(self, plan: Plan) -> StoredRun:
        """The run of a plan's table; it and its experiment are created if they are missing."""
        table = _table_tags(plan)
        key = {**table, names.LABEL: plan.label}
        with locked(self._location):
            experiment = self._runs.open_experiment(plan.suite.suite)
            found = self._runs.find(experiment, key) or self._unlabelled(experiment, table)
            return found or self._runs.create(experiment, key, key, _name(plan.label))

    def find_or_create_for_import(self, plan: Plan) -> StoredRun:
        """Run for imported trials: one of the same settings, or a new one without a label.

        The next `lossbench run` gives the label, whatever changes the archive's suite had.
        """
        table = _table_tags(plan)
        with locked(self._location):
            experiment = self._runs.open_experiment(plan.suite.suite)
            whole = {**table, names.LABEL: plan.suite.suite}
            found = self._runs.find(experiment, whole) or self._runs.find(experiment, table)
            name = _name(plan.suite.suite)
            return found or self._runs.create(experiment, table, table, name)

    def _unlabelled(self, experiment: str, table: Mapping[str, str]) -> StoredRun | None:
        """Run of an import or of an earlier version, which had one run for all labels."""
        found = self._runs.search([experiment], table)
        return next((run for run in found if names.LABEL not in run.tags), None)

    def start(self, plan: Plan, environment: Mapping[str, str], *, imported: bool) -> StoredRun:
        """Open the run of a plan's table, and record what will be run.

        Args:
            plan: The plan.
            environment: Versions that affect the results.
            imported: Whether the results are those of an archive; see `find_or_create_for_import`.
        """
        run = self.find_or_create_for_import(plan) if imported else self.find_or_create(plan)
        run_id = run.run_id
        tags = {
            names.SUITE: plan.suite.suite,
            **names.status_tags("running"),
            **names.environment_tags(environment),
        }
        if not imported:
            tags[names.LABEL] = plan.label
        if names.REPORTED not in run.tags:
            tags[names.NOTE] = (
                f"Table of suite `{plan.suite.suite}`; the runs below are its trials."
            )
        self._client.log_batch(run_id, tags=names.as_tags(tags))
        name, text = _suite_file(plan)
        write_text(self._make_client, self._location, run, name, text)
        name = run.name if imported else _name(plan.label)
        self._client.update_run(run_id, status="RUNNING", name=name)
        return run

    def log(
        self,
        plan: Plan,
        summary: TableSummary,
        report: tuple[Path, Sequence[Path]],
        trials: TrialRuns,
    ) -> None:
        """Show a report in its table's run: what the run showed before is replaced.

        Args:
            plan: Plan of the report.
            summary: Numbers, verdicts and description.
            report: Folder of the report, and its files.
            trials: Runs of the suite's trials.
        """
        run = self.find_or_create(plan)
        self._log_values(run, plan, summary, len(trials.members))
        self._log_files(run, plan, summary, report)
        tables = list(self._runs.tables(plan.suite.suite))
        self._mark_earlier(run, plan, tables)
        changes = dict(changed_tags(run, plan, trials, tables))
        change_tags(self._make_client, self._location, changes)
        self._log_view(run, plan, summary)

    def _log_values(self, run: StoredRun, plan: Plan, summary: TableSummary, trials: int) -> None:
        """Log numbers and texts that differ from those of the run."""
        run_id = run.run_id
        note = summary.description
        if len(note) > names.MAX_TEXT:
            note = summary.short_description
        given = {
            names.LABEL: plan.label,
            names.SUITE: plan.suite.suite,
            names.NOTE: f"{note}\n\n{_pointers(plan)}",
            names.REPORTED: str(trials),
            _LOGGED_TABLES: json.dumps([{"path": _TABLE, "type": "table"}]),
            **{
                _VERDICT + key: summary.verdicts[path]
                for path, key in names.path_keys(summary.verdicts).items()
            },
        }
        tags = names.tag_texts(given)
        changes: dict[str, str | None] = {
            key: value
            for key, value in given.items()
            if not names.tag_texts({key: value}).items() <= run.tags.items()
        }
        changes |= {k: None for k in run.tags if k.startswith(_VERDICT) and k not in tags}
        if changes:
            change_tags(self._make_client, self._location, {run_id: changes})
        metrics = _new_metrics(self._runs.values(run_id).metrics, summary)
        for start in range(0, len(metrics), _METRICS_PER_CALL):
            self._client.log_batch(run_id, metrics=metrics[start : start + _METRICS_PER_CALL])
        name = _name(plan.label)
        if run.name != name:
            self._client.update_run(run_id, name=name)
        if names.STATUS not in run.tags:  # it was created now
            self._runs.close(run_id, "FINISHED", "")

    def _log_files(
        self, run: StoredRun, plan: Plan, summary: TableSummary, report: tuple[Path, Sequence[Path]]
    ) -> None:
        folder, files = report
        kept = {f"{REPORT}/{file.relative_to(folder).as_posix()}": file for file in files}
        with tempfile.TemporaryDirectory() as temporary:
            for name, file in kept.items():
                target = Path(temporary) / name
                target.parent.mkdir(parents=True, exist_ok=True)
                link_or_copy(file, target)
            table = {"columns": summary.columns, "data": summary.rows}
            texts = {_TABLE: json.dumps(table, ensure_ascii=False, allow_nan=False)}
            for name, text in (*texts.items(), _suite_file(plan)):
                (Path(temporary) / name).write_text(text, encoding="utf-8")
            write_folder(self._make_client, self._location, run, Path(temporary))
        for name in list(list_artifacts(self._make_client, self._location, run, REPORT)):
            if name not in kept:
                with contextlib.suppress(TrackingError):  # not every storage can delete files
                    delete_artifact(self._location, run, name)

    def _mark_earlier(self, run: StoredRun, plan: Plan, tables: Sequence[StoredRun]) -> None:
        """Rename the runs of tables with this label and other settings."""
        for other in tables:
            tags = other.tags
            same = other.run_id == run.run_id
            if tags.get(names.LABEL) != plan.label or same == (names.EARLIER not in tags):
                continue
            if same:
                self._client.delete_tag(run.run_id, names.EARLIER)
                continue
            self._client.set_tag(other.run_id, names.EARLIER, "true")
            self._client.update_run(other.run_id, name=f"{_name(plan.label)}, earlier settings")

    def _log_view(self, run: StoredRun, plan: Plan, summary: TableSummary) -> None:
        """Store the view of the table's trials, grouped by cell, with the experiment."""
        cells = dict.fromkeys(names.cell_tags(trial)[names.CELL] for trial in plan.trials)
        experiment = self._runs.experiment(plan.suite.suite)
        key, view = view_tag(plan.label), table_view(plan.label, summary, cells)
        if experiment is not None and experiment.tags.get(key) != view:
            self._client.set_experiment_tag(experiment.experiment_id, key, view)


def _table_tags(plan: Plan) -> dict[str, str]:
    return {names.KIND: "table", names.TABLE: plan.table_identity}


def _name(label: str) -> str:
    return f"Table {label}"


def _suite_file(plan: Plan) -> tuple[str, str]:
    """Name and text of the suite, with another name if it was changed."""
    return f"{file_label('suite', plan.changes)}.yaml", suite_yaml(plan.expanded_suite)


def _pointers(plan: Plan) -> str:
    """Sentence on where the rest is."""
    return (
        f"All metrics: `{_TABLE}` and `{REPORT}/report.html` under *Artifacts*. Search text of the "
        f"trials in this table: `` {names.table_filter(plan.label)} ``"
    )


def _new_metrics(before: Mapping[str, float], summary: TableSummary) -> list[Metric]:
    """Values that differ from those of the run before; NaN for values that are gone."""
    keys = names.path_keys(summary.values)
    values = {key: summary.values[path] for path, key in keys.items()}
    gone = [key for key, value in before.items() if key not in values and not math.isnan(value)]
    changed = {key: value for key, value in values.items() if before.get(key) != value}
    if not changed and not gone:
        return []
    now_ms = int(time.time() * 1000)
    return names.as_metrics({**changed, **dict.fromkeys(gone, math.nan)}, now_ms, step=0)
