"""A tracker whose suite is started, and all its runs."""

from __future__ import annotations

from mlflow import MlflowClient
from mlflow.entities import Run

from lossbench.planning.plan import Plan
from lossbench.tracking.store import Tracker


def all_runs(client: MlflowClient) -> list[Run]:
    experiment = client.get_experiment_by_name("demo")
    return list(client.search_runs([experiment.experiment_id], order_by=["start_time ASC"]))


def started(uri: str, plan: Plan) -> Tracker:
    tracker = Tracker.open(uri)
    tracker.start_suite(plan, {"python": "3.11"})
    return tracker
