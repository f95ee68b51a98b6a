"""Runs as the version before wrote them, with the evaluations in the identity of the trial."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from lossbench.planning.trial import Trial, digest_of
from lossbench.records import TrialResult


def specification(trial: Trial) -> dict[str, Any]:
    """Specification of a trial as the version before stored it."""
    fields = dict(json.loads(trial.model_dump_json()))
    del fields["keep_weights"]
    evaluated = [{"name": e.name, "params": e.params} for e in trial.evaluate]
    sources = {f"evaluation {e.name}": e.source for e in trial.evaluate if e.source}
    return {
        **fields,
        "evaluate": sorted(evaluated, key=json.dumps),
        "other_digests": trial.other_digests,
        "sources": fields["sources"] | sources,
    }


def identity_of(fields: Mapping[str, Any]) -> str:
    """Identity of a trial in the version before."""
    content = {k: v for k, v in fields.items() if k not in ("suite", "variant", "row")}
    content["dataset"] = dict(content["dataset"])
    for key in ("name", "missing_test_classes"):
        del content["dataset"][key]
    for key in ("weights_digest", "sources", "revisions", "stop_early"):
        if not content[key]:
            del content[key]
    return digest_of(content)


def log_as_before(
    client: MlflowClient, trial: Trial, result: TrialResult, artifacts: Path, root: Path
) -> str:
    """Store a result as the version before did; return the id of its run.

    Args:
        client: MLflow's client.
        trial: The trial.
        result: Its result; the measurements are left out.
        artifacts: Folder with the arrays and weights.
        root: Folder of the database.
    """
    fields = specification(trial)
    identity = identity_of(fields)
    experiment = client.get_experiment_by_name(trial.suite)
    place = str(root / "mlartifacts" / trial.suite)
    key = experiment.experiment_id if experiment else client.create_experiment(trial.suite, place)
    tags = {
        "lossbench.kind": "trial",
        "lossbench.identity": identity,
        "lossbench.suite": trial.suite,
        "lossbench.seed": str(trial.seed),
        "lossbench.status": result.status,
    }
    run_id = str(client.create_run(key, tags=tags, run_name=trial.name).info.run_id)
    client.log_param(run_id, "data_digest", trial.data_digest)
    for name, value in result.metrics.items():
        client.log_metric(run_id, name, value, step=0)
    client.log_artifacts(run_id, str(artifacts))
    stored = result.model_copy(update={"identity": identity})
    text = stored.model_dump_json(exclude={"measurements", "weights_digest"})
    client.log_text(run_id, text, "result.json")
    client.log_text(run_id, json.dumps(fields), "trial.json")
    client.set_terminated(run_id)
    return run_id
