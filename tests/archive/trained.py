"""Really trained networks of a small suite, and stores and archives of them."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lossbench.archive.writing import writing_archive
from lossbench.assembly.check import check
from lossbench.planning.plan import Plan
from lossbench.planning.selection import load_plan_with_results
from lossbench.planning.trial import Trial
from lossbench.records import TrialResult
from lossbench.runner.trial import run_trial
from lossbench.suite.load import load_suite
from lossbench.tracking.store import Tracker

SUITE = """\
suite: small
title: Two losses
dataset: {name: digits, train_size: 300, test_size: 100}
model: {name: mlp, hidden: [16], feature_dim: 2}
recipe:
  epochs: 2
  batch_size: 64
  optimizer: {name: sgd, lr: 0.1, momentum: 0.9}
seeds: [0, 1, 2, 3, 4, 5]
evaluate: [error, calibration, balanced_error]
losses:
  - softmax
  - lgm: {alpha: 0.3}
"""


@dataclass(frozen=True)
class Stored:
    """A store with the results of the small suite.

    Attributes:
        suite: Suite file.
        plan: Its plan.
        uri: URI of the store.
        results: Results by identity.
        archive: Archive of the store.
        archive_with_weights: The same with the weights.
        first_seeds, last_seeds: Archives of the seeds 0-2 and 3-5, without weights.
    """

    suite: Path
    plan: Plan
    uri: str
    results: Mapping[str, TrialResult]
    archive: Path
    archive_with_weights: Path
    first_seeds: Path
    last_seeds: Path


def train_and_store(folder: Path, empty_database: Path) -> Stored:
    """Train the small suite, store it, and export it."""
    suite = folder / "small.yaml"
    suite.write_text(SUITE, encoding="utf-8")
    plan = check(load_suite(suite), folder)
    results = {}
    for trial in plan.trials:
        artifacts = folder / trial.identity
        artifacts.mkdir()
        results[trial.identity] = run_trial(trial, data_root=folder, artifacts=artifacts)
    uri = store_of(folder / "all", empty_database)
    fill(uri, plan, results, lambda trial: folder / trial.identity)
    names = ("small.zip", "weights.zip", "seeds-0-2.zip", "seeds-3-5.zip")
    whole, with_weights, first, last = (folder / name for name in names)
    export_to(whole, plan, uri)
    export_to(with_weights, plan, uri, weights=True)
    for path, seeds in ((first, [0, 1, 2]), (last, [3, 4, 5])):
        export_to(path, with_seeds(plan, seeds), uri)
    return Stored(suite, plan, uri, results, whole, with_weights, first, last)


def with_seeds(plan: Plan, seeds: list[int]) -> Plan:
    """The plan with other seeds, as `--seeds` makes it."""
    changes = (f"seeds {','.join(map(str, seeds))}",)
    suite = plan.suite.model_copy(update={"seeds": seeds})
    return replace(plan, suite=suite, changes=changes)


def store_of(folder: Path, empty_database: Path) -> str:
    """Make an empty store in a new folder; return its URI."""
    folder.mkdir(parents=True)
    return f"sqlite:///{shutil.copy(empty_database, folder / 'mlflow.db')}"


def fill(
    uri: str,
    plan: Plan,
    results: Mapping[str, TrialResult],
    artifacts: Callable[[Trial], Path],
    trials: Iterable[Trial] | None = None,
) -> None:
    """Store results of a plan as a run does."""
    tracker = Tracker.open(uri)
    tracker.start_suite(plan, {})
    for trial in plan.trials if trials is None else trials:
        if trial.identity in results:
            tracker.finish(trial, results[trial.identity], artifacts(trial))
    tracker.finish_suite("FINISHED")


def export_to(path: Path, plan: Plan, uri: str, *, weights: bool = False) -> None:
    """Export what a store has of a plan."""
    tracker = Tracker.open(uri, create=False)
    found = load_plan_with_results(plan, tracker)
    with writing_archive(path, plan.suite.suite) as archive:
        for trial in found.trials:
            if trial.identity in found.results:
                result = tracker.stored_result(trial)
                assert result is not None
                archive.add_training(trial, result, tracker.files(trial, weights=weights))
        archive.finish(found.plan, found.plan.search_points)


def contents(path: Path) -> dict[str, bytes]:
    """Files of an archive by name, in its order."""
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def write(
    path: Path, files: Mapping[str, bytes], manifest: Mapping[str, Any] | None = None
) -> Path:
    """Write an archive whose digests are right.

    Args:
        path: File to write.
        files: Contents by name, with a manifest.
        manifest: Fields of the manifest to replace.
    """
    old = json.loads(files["archive.json"])
    rest = {name: content for name, content in files.items() if name != "archive.json"}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in rest.items()}
    new = {**old, "files": digests, **(manifest or {})}
    with zipfile.ZipFile(path, "w") as file:
        for name, content in [*rest.items(), ("archive.json", json.dumps(new).encode())]:
            file.writestr(zipfile.ZipInfo(name), content)
    return path


def edit(path: Path, ending: str, change: Callable[[dict[str, Any]], None]) -> Path:
    """Change the first JSON file whose name has an ending; its digest is renewed."""
    files = contents(path)
    name = next(name for name in files if name.endswith(ending))
    content = json.loads(files[name])
    change(content)
    return write(path, {**files, name: json.dumps(content).encode()})


def worsen(result: dict[str, Any]) -> None:
    """Change the error in the content of a `result.json`."""
    result["metrics"]["error"] = 99.0
    result["measurements"][0]["metrics"]["error"] = 99.0
