"""Measurements of networks that another job has trained; trains nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from campaign.jobs import Job, networks_of, plan_of
from lossbench.archive.folder import ArchiveFolder
from lossbench.archive.store import ArchiveStore
from lossbench.planning.measurements import merged_result
from lossbench.planning.result_files import RESULT, WEIGHTS
from lossbench.planning.selection import load_plan_with_results
from lossbench.planning.trial import Trial
from lossbench.records import TrialResult
from lossbench.runner.trial import measure_trial
from lossbench.suite.atomic_files import write_files


@dataclass
class Outcome:
    """Outcome of a measuring job.

    Attributes:
        measured: Names of the trials that were measured now.
        untrained: Names of the trials whose network is not there yet.
        failed: Tracebacks of evaluations that failed, by the trial's name.
    """

    measured: list[str] = field(default_factory=list)
    untrained: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def measure(job: Job, results: Path, data_root: Path, log: Callable[[str], None]) -> Outcome:
    """Measure the networks of a job on their stored weights, as far as they are trained.

    The archives in the job's folder have the measurements and no weights. What they have already is
    not measured again.

    Args:
        job: Job with `networks`.
        results: Folder of the folders with archives.
        data_root: Folder of the prepared data sets.
        log: Prints one line.

    Raises:
        RequestError: The suite or an archive cannot be used.
        DataError: The data set differs from that of the training, or weights are damaged.
    """
    plan = plan_of(job, data_root)
    (results / job.folder).mkdir(parents=True, exist_ok=True)
    folder = ArchiveFolder(results / job.folder, plan.suite.suite)
    networks = networks_of(job, results)
    outcome = Outcome()
    found = load_plan_with_results(plan, folder.read())
    complete = list(filter(found.is_complete, plan.trials))
    for trial in plan.trials:
        if trial in complete:
            continue
        holder = networks.holder(trial.identity)
        if holder is None:
            outcome.untrained.append(trial.name)
            continue
        result, files = _measured(trial, [networks, folder.read()], data_root)
        folder.save(trial, result, files.items(), plan)
        if result.failures:
            outcome.failed[trial.name] = "\n".join(result.failures.values())
        else:
            outcome.measured.append(trial.name)
            log(f"{trial.name}: measured")
    folder.read()
    for trial in folder.outdated(complete, plan):
        folder.update(trial, plan)
    return outcome


def _measured(
    trial: Trial, stores: list[ArchiveStore], data_root: Path
) -> tuple[TrialResult, dict[str, bytes]]:
    """Result and files, without weights, of a trained trial with all its evaluations.

    Args:
        trial: The trial.
        stores: The store with its weights, and that of earlier measurements.
        data_root: Folder of the prepared data sets.
    """
    archives = [each for store in stores if (each := store.holder(trial.identity)) is not None]
    before = merged_result(
        result
        for archive in archives
        if (result := archive.results[trial.identity]).weights_digest
        == archives[0].results[trial.identity].weights_digest
    )
    files = {n: content for a in reversed(archives) for n, content in a.files(trial.identity)}
    with tempfile.TemporaryDirectory() as temporary:
        stored, artifacts = Path(temporary) / "stored", Path(temporary) / "artifacts"
        artifacts.mkdir()
        write_files(stored, files.items())
        (stored / RESULT).write_text(before.model_dump_json(), encoding="utf-8")
        result = before
        if before.status == "finished":
            result = measure_trial(trial, data_root=data_root, stored=stored, artifacts=artifacts)
        paths = (path for path in artifacts.rglob("*") if path.is_file())
        files |= {str(path.relative_to(artifacts)): path.read_bytes() for path in paths}
    files.pop(WEIGHTS, None)
    return result, files
