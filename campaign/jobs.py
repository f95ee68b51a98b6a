"""Jobs of the campaign, and how much of each is done."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from pydantic import Field, TypeAdapter, ValidationError

from lossbench.archive.folder import ArchiveFolder
from lossbench.archive.reading import Archive
from lossbench.archive.store import ArchiveStore
from lossbench.cli.common import load_plan
from lossbench.errors import RequestError, validation_problems
from lossbench.planning.plan import Plan
from lossbench.planning.selection import load_plan_with_results
from lossbench.records import Strict, TrialResult
from lossbench.suite.yaml_io import parse, plain


class Job(Strict):
    """A suite, or a part of one, that is trained or measured into a folder of archives.

    Attributes:
        folder: Name of the folder; parts of the same suite may share it.
        suite: Suite file.
        only: Glob of the cells; by default all.
        seeds: Seeds as in `0,1,2`; by default those of the suite.
        set: Texts `KEY=VALUE`.
        name: Short description; by default the suite with its options.
        networks: Folder of the job that has trained the same networks, which are only measured;
            None: the job trains.
        losses_from: Folder of an earlier job whose suite chooses losses on held-out images; those
            that this job's suite does not have are trained. None: the losses of the suite.
        minutes: Estimated duration of one training, or measurement of one network, for `status`
            until one is finished.
    """

    folder: str = Field(pattern=r"^[\w-]+$")
    suite: str
    only: str | None = None
    seeds: str | None = None
    set: list[str] = Field(default=[])
    name: str | None = None
    networks: str | None = Field(default=None, pattern=r"^[\w-]+$")
    losses_from: str | None = Field(default=None, pattern=r"^[\w-]+$")
    minutes: float | None = Field(default=None, gt=0)

    @property
    def options(self) -> list[str]:
        """Options of `lossbench work` that name its part of the suite."""
        given = [("--only", self.only), ("--seeds", self.seeds), *(("--set", s) for s in self.set)]
        return [text for option, value in given if value is not None for text in (option, value)]

    @property
    def title(self) -> str:
        """Short description."""
        return self.name or " ".join([self.suite, *self.options])


@dataclass(frozen=True)
class Progress:
    """State of a job.

    Attributes:
        finished: Number of finished trials.
        total: Number of known trials.
        untrained: Number of the other trials of a measuring job whose network is not there yet.
        spent_sec: Time of the finished trainings or measurements.
        each_sec: Median time of one, or its estimate if none is finished; None if there is none.
        estimated: Whether it is the estimate of the list of jobs.
    """

    finished: int
    total: int
    untrained: int
    spent_sec: float
    each_sec: float | None
    estimated: bool = False

    @property
    def left(self) -> int:
        """Number of unfinished trials."""
        return self.total - self.finished

    @property
    def left_sec(self) -> float | None:
        """Time of the unfinished trials one after the other; None if nothing is known about it."""
        if not self.left:
            return 0.0
        return None if self.each_sec is None else self.each_sec * self.left


def read_jobs(path: Path) -> list[Job]:
    """Read the list of jobs.

    Raises:
        RequestError: It cannot be read, or is not valid.
    """
    try:
        content = plain(parse(path.read_text(encoding="utf-8"), str(path)), str(path))
        return TypeAdapter(list[Job]).validate_python(content)
    except OSError as error:
        raise RequestError(f"{path}: {error.strerror}") from None
    except ValidationError as error:
        problem = validation_problems(error, lambda loc: Job.model_fields)[0]
        where = ".".join(map(str, problem.loc))  # with the index of the job
        raise RequestError(f"{path}: {where}: {problem.message}") from None


def plan_of(job: Job, data_root: Path) -> Plan:
    """Plan of a job's part of its suite."""
    return load_plan(Path(job.suite), job.set, job.only, job.seeds, data_root, [])


def with_chosen_losses(job: Job, jobs: Sequence[Job], results: Path, data_root: Path) -> Job | None:
    """The job with the losses that another job has chosen for it, if it has `losses_from`.

    Args:
        job: The job.
        jobs: All jobs.
        results: Folder of the folders with archives.
        data_root: Folder of the prepared data sets.

    Returns:
        The job; None if nothing is chosen yet, or nothing that the suite does not have.

    Raises:
        RequestError: No job has that folder, or its suite chooses nothing.
    """
    if job.losses_from is None:
        return job
    choosing = next((each for each in jobs if each.folder == job.losses_from), None)
    if choosing is None:
        raise RequestError(f"{job.title}: losses_from: no job has the folder {job.losses_from!r}")
    plan = plan_of(choosing, data_root)
    if plan.suite.selection is None:
        raise RequestError(f"{job.title}: losses_from: {choosing.suite} has no selection")
    folder = ArchiveFolder(results / choosing.folder, plan.suite.suite)
    found = load_plan_with_results(plan, folder.read())
    if not all(map(found.is_complete, found.stages[0].trials)):
        return None
    known = [row.loss for row in plan_of(job, data_root).rows]
    chosen = {row.label: row for row in found.chosen.values() if row.loss not in known}
    losses = [{row.loss.name: dict(row.varied)} for row in chosen.values()]
    if not losses:
        return None
    return job.model_copy(update={"set": [*job.set, f"losses={json.dumps(losses)}"]})


def networks_of(job: Job, results: Path) -> ArchiveStore:
    """Store of the archives of the job whose networks a measuring job measures.

    Raises:
        RequestError: One of them cannot be used.
    """
    paths = sorted((results / (job.networks or job.folder)).glob("*.zip"))
    return ArchiveStore([Archive(path) for path in paths])


def progress(
    job: Job, results: Path, data_root: Path, counted: set[tuple[str, str]] | None = None
) -> Progress:
    """State of a job.

    Args:
        job: The job.
        results: Folder of the folders with archives.
        data_root: Folder of the prepared data sets.
        counted: Folder and identity of the trials of earlier jobs, which are not counted again;
            those of this job are added.

    Raises:
        RequestError: The suite or an archive cannot be used.
    """
    plan = plan_of(job, data_root)
    store = ArchiveFolder(results / job.folder, plan.suite.suite).read()
    found = load_plan_with_results(plan, store)
    counted = set() if counted is None else counted
    trials = [trial for trial in found.trials if (job.folder, trial.identity) not in counted]
    counted |= {(job.folder, trial.identity) for trial in trials}
    done = [found.results[trial.identity] for trial in trials if found.is_complete(trial)]
    if job.networks is None:
        untrained = 0
        durations = [training_sec(result) for result in done]
    else:
        networks = networks_of(job, results)
        trained = sum(networks.holder(trial.identity) is not None for trial in trials)
        untrained = len(trials) - max(trained, len(done))
        durations = [sum(each.wall_time_sec for each in result.measurements) for result in done]
    if durations:
        spent, each = sum(durations), median(durations)
        return Progress(len(done), len(trials), untrained, spent, each)
    each_sec = None if job.minutes is None else 60 * job.minutes
    return Progress(0, len(trials), untrained, 0.0, each_sec, estimated=True)


def training_sec(result: TrialResult) -> float:
    """Duration of a training without interruptions: its epochs times their median duration.

    A computer that is suspended or busy makes single epochs many times as long.
    """
    stamps = [record.timestamp_ms for record in result.history]
    gaps = [(after - before) / 1000 for before, after in itertools.pairwise(stamps)]
    return min(len(stamps) * median(gaps), result.wall_time_sec) if gaps else result.wall_time_sec
