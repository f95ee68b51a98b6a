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

from campaign.jobs import Job, progress, read_jobs
from lossbench.errors import LossbenchError

HERE = Path(__file__).parent
app = typer.Typer(add_completion=False, no_args_is_help=True)
console = Console()
Jobs = Annotated[Path, typer.Option(metavar="FILE", help="List of jobs.")]
Results = Annotated[Path, typer.Option(metavar="DIR", help="Folder for the archives.")]
DataRoot = Annotated[
    Path, typer.Option("--data-root", metavar="DIR", help="Folder of the prepared data sets.")
]
DEFAULT_RESULTS = HERE.parent / "reports" / "campaign"


@app.callback()
def main() -> None:
    """Train the published tables, at the lowest priority and in pieces.

    Every finished training is an archive; an interrupted one continues after its last checkpoint.
    """


@app.command()
def run(
    jobs: Jobs = HERE / "jobs.yaml",
    results: Results = DEFAULT_RESULTS,
    data_root: DataRoot = Path("data"),
    processes: Annotated[int, typer.Option(min=1, help="Trainings at a time.")] = 2,
) -> None:
    """Work on the jobs in their order until all are done or the command is stopped.

    Run it again to continue.
    """
    os.nice(19 - os.nice(0))
    signal.signal(signal.SIGTERM, _stop)
    failed = []
    for job in read_jobs(jobs):
        console.print(Text(job.title, "bold"), soft_wrap=True)
        codes = _work(job, results / job.folder, data_root, processes)
        if 2 in codes:
            raise typer.Exit(2)
        if any(codes):
            failed.append(job.title)
    for title in failed:
        console.print(Text(f"has failed trainings: {title}", "red"), soft_wrap=True)
    if failed:
        raise typer.Exit(1)


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
    """Print what is done, what is left, and how many hours that takes."""
    table = Table(box=SIMPLE_HEAD)
    for heading in ("job", "folder"):
        table.add_column(heading, overflow="fold")
    for heading in ("trained", "left", "hours so far", f"hours left, {processes} at a time"):
        table.add_column(heading, justify="right")
    for job in read_jobs(jobs):
        found = progress(job, results, data_root)
        left = found.left_sec
        table.add_row(
            job.title,
            job.folder,
            str(found.finished),
            str(found.total - found.finished),
            f"{found.spent_sec / 3600:.1f}",
            "unknown" if left is None else f"{left / 3600 / processes:.1f}",
        )
    console.print(table)


if __name__ == "__main__":
    try:
        app()
    except LossbenchError as error:
        console.print(Text(str(error), "red"), soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
