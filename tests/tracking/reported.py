"""A store to which plans are run and their reports are logged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

from lossbench.planning.plan import Plan
from lossbench.records import TableSummary, TrialResult
from lossbench.tracking import names
from lossbench.tracking.store import Tracker

MakePlan = Callable[..., Plan]
MakeResult = Callable[..., TrialResult]
PARENT = "mlflow.parentRunId"


def small(make_plan: MakePlan, **changes: object) -> Plan:
    """Two rows in one column, two seeds."""
    rows = ["softmax", {"center": {"weight": 0.1}}]
    return make_plan(**{"losses": rows, "variants": {"2-D": {}}, **changes})


def summary_of(plan: Plan, **changes: object) -> TableSummary:
    values = {
        ("error", variant, "mean", row.label): 10.0 * i
        for i, row in enumerate(plan.rows, 1)
        for variant in plan.suite.variants
    }
    content = {
        "description": "2-D: **lgm** wins\n\n| loss | 2-D |",
        "short_description": "2-D: **lgm** wins",
        "metrics": ("error",),
        "ascending": True,
        "values": values,
        "verdicts": {("2-D", "lgm(alpha=0.1)"): "better, −2.63"},
        "columns": ("metric", "row", "mean"),
        "rows": (("error", "softmax", 10.0), ("error", "lgm(alpha=0.1)", None)),
    }
    return TableSummary(**{**content, **changes})  # type: ignore[arg-type]


class Store:
    """A store with made-up results and reports.

    Attributes:
        suite: Suite that was run last.
    """

    def __init__(self, uri: str, make_result: MakeResult, folder: Path) -> None:
        self.uri, self.make_result, self.folder = uri, make_result, folder
        self.client = MlflowClient(uri, registry_uri=uri)
        self.suite = ""
        (folder / "nothing").mkdir()
        figures = folder / "report" / "figures"
        figures.mkdir(parents=True)
        (figures / "curves.svg").write_text("<svg/>", encoding="utf-8")
        (figures.parent / "report.html").write_text("<html>", encoding="utf-8")

    def run(self, plan: Plan, **changes: object) -> Run:
        """Store what is missing, log the report, and return the table's run."""
        self.suite = plan.suite.suite
        tracker = Tracker.open(self.uri)
        missing = [t for t in plan.trials if t.identity not in tracker.results(plan.trials)]
        if missing:
            tracker.start_suite(plan, {})
            for trial in missing:
                tracker.finish(trial, self.make_result(trial), self.folder / "nothing")
            tracker.finish_suite("FINISHED")
        self.log(plan, tracker, **changes)
        label = f"tags.`{names.LABEL}` = '{plan.label}' and attributes.status = 'FINISHED'"
        [run] = [r for r in self.search(label) if names.EARLIER not in r.data.tags]
        return run

    def log(self, plan: Plan, tracker: Tracker, **changes: object) -> None:
        reader = Tracker.open(self.uri, create=False)
        reader.results(plan.trials)
        report = self.folder / "report"
        files = [report / "report.html", *(report / "figures").glob("*")]
        trials = reader.trial_runs(plan.suite.suite, plan.trials)
        tracker.log_table(plan, summary_of(plan, **changes), (report, files), trials)

    def search(self, condition: str) -> list[Run]:
        experiment = self.client.get_experiment_by_name(self.suite)
        return list(self.client.search_runs([experiment.experiment_id], condition))

    def children(self, run: Run) -> set[str]:
        return {r.info.run_name for r in self.search(f"tags.`{PARENT}` = '{run.info.run_id}'")}

    def members(self, plan: Plan) -> set[str]:
        return {r.info.run_name for r in self.search(names.table_filter(plan.label))}

    def files(self, run: Run, folder: str) -> set[str]:
        return {f.path for f in self.client.list_artifacts(run.info.run_id, folder)}


def names_of(plan: Plan) -> set[str]:
    return {names.run_name(trial) for trial in plan.trials}
