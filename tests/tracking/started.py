"""Tracker with a started suite, and its runs."""

from __future__ import annotations

from mlflow import MlflowClient
from mlflow.entities import Run

from lossbench.planning.plan import Plan
from lossbench.planning.trial import Trial
from lossbench.tracking.store import Tracker


def all_runs(client: MlflowClient) -> list[Run]:
    experiment = client.get_experiment_by_name("demo")
    return list(client.search_runs([experiment.experiment_id], order_by=["start_time ASC"]))


def run_id_of(client: MlflowClient, trial: Trial) -> str:
    """Id of the only run of a trial."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    [run] = client.search_runs(experiments, f"tags.`lossbench.identity` = '{trial.identity}'")
    return str(run.info.run_id)


def started(uri: str, plan: Plan) -> Tracker:
    tracker = Tracker.open(uri)
    tracker.start_suite(plan, {"python": "3.11"})
    return tracker
