"""Command line of the campaign: `python -m campaign run`, `python -m campaign status`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from campaign.jobs import Job, Progress, progress, read_jobs, with_chosen_losses
from lossbench.errors import LossbenchError

HERE = Path(__file__).parent
app = typer.Typer(add_completion=False, no_args_is_help=True)
console = Console()
Jobs = Annotated[Path, typer.Option(metavar="FILE", help="List of jobs.")]
Results = Annotated[Path, typer.Option(metavar="DIR", help="Folder for the archives.")]
DataRoot = Annotated[
    Path, typer.Option("--data-root", metavar="DIR", help="Folder of the prepared data sets.")
]
Niceness = Annotated[
    int, typer.Option("--nice", min=0, max=19, help="Niceness of the work; 19: lowest priority.")
]
DEFAULT_RESULTS = HERE.parent / "reports" / "campaign"


@app.callback()
def main() -> None:
    """Train and measure the published tables, at the lowest priority and in pieces.

    Every finished training is an archive; an interrupted one continues after its last checkpoint.
    """


@app.command()
def run(
    jobs: Jobs = HERE / "jobs.yaml",
    results: Results = DEFAULT_RESULTS,
    data_root: DataRoot = Path("data"),
    processes: Annotated[int, typer.Option(min=1, help="Trainings at a time.")] = 2,
    niceness: Niceness = 19,
) -> None:
    """Work on the jobs in their order until all are done or the command is stopped.

    Run it again to continue.
    """
    _prepare_process(niceness)
    failed = []
    listed = read_jobs(jobs)
    for written in listed:
        console.print(Text(written.title, "bold"), soft_wrap=True)
        job = with_chosen_losses(written, listed, results, data_root)
        if job is None:
            console.print(f"{written.losses_from} has chosen no further losses for it")
            continue
        if job.networks is not None:
            if _measure(job, results, data_root):
                failed.append(job.title)
            continue
        codes = _work(job, results / job.folder, data_root, processes)
        if 2 in codes:
            raise typer.Exit(2)
        if any(codes):
            failed.append(job.title)
    _exit_with(failed)


@app.command("measure")
def measure_all(
    jobs: Jobs = HERE / "jobs.yaml",
    results: Results = DEFAULT_RESULTS,
    data_root: DataRoot = Path("data"),
    niceness: Niceness = 19,
) -> None:
    """Do only the jobs that measure networks of other jobs; train nothing.

    Networks that are not trained yet are named. Run it again when more are trained.
    """
    _prepare_process(niceness)
    failed = []
    for job in read_jobs(jobs):
        if job.networks is not None:
            console.print(Text(job.title, "bold"), soft_wrap=True)
            if _measure(job, results, data_root):
                failed.append(job.title)
    _exit_with(failed)


def _prepare_process(niceness: int) -> None:
    os.nice(max(0, niceness - os.nice(0)))
    signal.signal(signal.SIGTERM, _stop)


def _exit_with(failed: list[str]) -> None:
    """Name the jobs with failed trials, if there are any, and exit with code 1."""
    for title in failed:
        console.print(Text(f"has failed trials: {title}", "red"), soft_wrap=True)
    if failed:
        raise typer.Exit(1)


def _measure(job: Job, results: Path, data_root: Path) -> bool:
    """Measure the trained networks of a job; return whether an evaluation failed."""
    from campaign.measure import measure  # torch takes seconds

    outcome = measure(
        job, results, data_root, lambda line: console.print(Text(line), soft_wrap=True)
    )
    for name in outcome.untrained:
        console.print(Text(f"not trained yet: {name}", "yellow"), soft_wrap=True)
    for name, traceback in outcome.failed.items():
        console.print(Text(f"failed: {name}\n{traceback}", "red"), soft_wrap=True)
    return bool(outcome.failed)


def _work(job: Job, folder: Path, data_root: Path, processes: int) -> list[int]:
    """Exit codes of processes that work on a job together."""
    command = [sys.executable, "-m", "lossbench.cli", "work", job.suite, *job.options, "--yes"]
    command += ["--output", str(folder), "--data-root", str(data_root)]
    started = [subprocess.Popen(command) for _ in range(processes)]
    try:
        return [process.wait() for process in started]
    finally:  # Ctrl-C and SIGTERM: trainings are saved by their checkpoints
        for process in started:
            process.terminate()
        for process in started:
            process.wait()


def _stop(number: int, frame: object) -> None:
    raise KeyboardInterrupt


@app.command()
def status(
    jobs: Jobs = HERE / "jobs.yaml",
    results: Results = DEFAULT_RESULTS,
    data_root: DataRoot = Path("data"),
    processes: Annotated[int, typer.Option(min=1, help="Trainings at a time.")] = 2,
) -> None:
    """Print what is done, what is left, and how many hours that takes.

    Trials that belong to several jobs of a folder are counted in the first one.
    """
    table = Table(box=SIMPLE_HEAD)
    for heading in ("job", "folder"):
        table.add_column(heading, overflow="fold")
    headings = ("done", "left", "of these untrained", "hours so far", "hours left")
    for heading in headings:
        table.add_column(heading, justify="right")
    left_sec: list[float | None] = []
    counted: set[tuple[str, str]] = set()
    listed = read_jobs(jobs)
    for written in listed:
        job = with_chosen_losses(written, listed, results, data_root)
        if job is None:
            table.add_row(Text(written.title), written.folder, "", "", "", "", "not chosen")
            continue
        found = progress(job, results, data_root, counted)
        at_once = processes if job.networks is None else 1
        left_sec.append(None if found.left_sec is None else found.left_sec / at_once)
        table.add_row(
            Text(job.title),
            job.folder,
            str(found.finished),
            str(found.left),
            "" if job.networks is None else str(found.untrained),
            f"{found.spent_sec / 3600:.1f}",
            _hours_left(found, at_once),
        )
    table.add_section()
    known = sum(filter(None, left_sec)) / 3600
    at_least = "at least " if None in left_sec else ""
    table.add_row("all", "", "", "", "", "", f"{at_least}{known:.1f}")
    console.print(table)
    console.print(
        f"Hours left: {processes} trainings at a time; ~: estimate, until one is finished."
    )


def _hours_left(found: Progress, at_once: int) -> str:
    if found.left_sec is None:
        return "unknown"
    mark = "~" if found.estimated and found.left else ""
    return f"{mark}{found.left_sec / 3600 / at_once:.1f}"


if __name__ == "__main__":
    try:
        app()
    except LossbenchError as error:
        console.print(Text(str(error), "red"), soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
