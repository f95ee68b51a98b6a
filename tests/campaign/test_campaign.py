"""The campaign trains the jobs of a list, and says what is left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from campaign.__main__ import DEFAULT_RESULTS, HERE
from campaign.jobs import Job, Progress, progress, read_jobs
from lossbench.errors import RequestError

ROOT = HERE.parent
pytestmark = pytest.mark.long


def campaign(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "campaign", *arguments],
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "COLUMNS": "200"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def test_jobs_are_trained_in_parts_and_only_once(tmp_path: Path) -> None:
    suite = ROOT / "suites" / "digits.yaml"
    few = "set: [recipe.epochs=1, dataset.train_size=100], seeds: '0'"
    jobs = tmp_path / "jobs.yaml"
    jobs.write_text(
        f"- {{folder: digits, suite: {suite}, only: 32-D/softmax, {few}}}\n"
        f"- {{folder: digits, suite: {suite}, only: 32-D/center, {few}}}\n",
        encoding="utf-8",
    )
    options = ("--jobs", "jobs.yaml", "--results", "results")
    before = campaign("status", *options, cwd=tmp_path)
    assert before.returncode == 0, before.stderr
    assert "unknown" in before.stdout
    first = campaign("run", *options, "--processes", "1", cwd=tmp_path)
    assert first.returncode == 0, first.stdout + first.stderr
    one, two = read_jobs(jobs)
    found = [progress(job, tmp_path / "results", tmp_path / "data") for job in (one, two)]
    assert [state.finished for state in found] == [state.total for state in found]
    assert found[0].total == 1
    assert found[0].left_sec == 0
    files = {path: path.read_bytes() for path in (tmp_path / "results" / "digits").glob("*.zip")}
    assert len(files) == sum(state.total for state in found)
    again = campaign("run", *options, "--processes", "1", cwd=tmp_path)
    assert again.returncode == 0
    assert "trained in" not in again.stderr
    assert {path: path.read_bytes() for path in files} == files


def test_hours_left_are_those_of_the_trainings_so_far() -> None:
    assert Progress(finished=2, total=6, spent_sec=100).left_sec == 200
    assert Progress(finished=0, total=6, spent_sec=0).left_sec is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- {folder: a, suite: s.yaml, onyl: b}", r"0\.onyl: unknown key; did you mean 'only'"),
        ("- {folder: a/b, suite: s.yaml}", "folder"),
    ],
)
def test_a_wrong_job_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "jobs.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RequestError, match=message):
        read_jobs(path)
    assert campaign("run", "--jobs", "jobs.yaml", cwd=tmp_path).returncode == 2


def test_the_committed_jobs_name_suites_that_exist() -> None:
    jobs = read_jobs(HERE / "jobs.yaml")
    assert all((ROOT / job.suite).is_file() for job in jobs)
    folders = {path.name for path in DEFAULT_RESULTS.iterdir() if path.is_dir()}
    assert folders <= {job.folder for job in jobs}


def test_options_name_the_part_of_the_suite() -> None:
    job = Job(folder="a", suite="s.yaml", only="x/*", seeds="0", set=["a.b=1", "c=2"])
    expected = ["--only", "x/*", "--seeds", "0", "--set", "a.b=1", "--set", "c=2"]
    assert job.options == expected
