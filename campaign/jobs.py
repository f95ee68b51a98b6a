"""Jobs of the campaign, and how much of each is done."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, TypeAdapter, ValidationError

from lossbench.archive.folder import ArchiveFolder
from lossbench.cli.common import load_plan
from lossbench.errors import RequestError, validation_problems
from lossbench.planning.selection import load_plan_with_results
from lossbench.records import Strict
from lossbench.suite.yaml_io import parse, plain


class Job(Strict):
    """A suite, or a part of one, that is trained into a folder of archives.

    Attributes:
        folder: Name of the folder; parts of the same suite may share it.
        suite: Suite file.
        only: Glob of the cells; by default all.
        seeds: Seeds as in `0,1,2`; by default those of the suite.
        set: Texts `KEY=VALUE`.
    """

    folder: str = Field(pattern=r"^[\w-]+$")
    suite: str
    only: str | None = None
    seeds: str | None = None
    set: list[str] = Field(default=[])

    @property
    def options(self) -> list[str]:
        """Options of `lossbench work` that name its part of the suite."""
        given = [("--only", self.only), ("--seeds", self.seeds), *(("--set", s) for s in self.set)]
        return [text for option, value in given if value is not None for text in (option, value)]

    @property
    def title(self) -> str:
        return " ".join([self.suite, *self.options])


@dataclass(frozen=True)
class Progress:
    """State of a job.

    Attributes:
        finished: Number of finished trainings.
        total: Number of known trainings.
        spent_sec: Wall time of the finished trainings.
    """

    finished: int
    total: int
    spent_sec: float

    @property
    def left_sec(self) -> float | None:
        """Wall time of the other trainings one after the other; None if none has finished yet."""
        if not self.finished:
            return None if self.total else 0.0
        return self.spent_sec / self.finished * (self.total - self.finished)


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


def progress(job: Job, results: Path, data_root: Path) -> Progress:
    """State of a job.

    Args:
        job: The job.
        results: Folder of the folders with archives.
        data_root: Folder of the prepared data sets.

    Raises:
        RequestError: The suite or an archive cannot be used.
    """
    plan = load_plan(Path(job.suite), job.set, job.only, job.seeds, data_root, [])
    store = ArchiveFolder(results / job.folder, plan.suite.suite).read()
    found = load_plan_with_results(plan, store)
    trials = [trial for stage in found.stages for trial in stage.trials]
    done = [trial for trial in trials if found.is_complete(trial)]
    spent = sum(found.results[trial.identity].wall_time_sec for trial in done)
    return Progress(len(done), len(trials), spent)
