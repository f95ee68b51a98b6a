"""The campaign trains the jobs of a list, and says what is left."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from campaign import __main__ as main
from campaign.__main__ import DEFAULT_RESULTS, HERE
from campaign.jobs import (
    Job,
    Progress,
    plan_of,
    progress,
    read_jobs,
    training_sec,
    with_chosen_losses,
)
from campaign.measure import measure
from lossbench.archive.reading import Archive
from lossbench.errors import RequestError
from lossbench.records import EpochRecord
from lossbench.runner.sharded_work import ShardedWork
from lossbench.runner.shards import read_shard
from lossbench.suite.load import load_suite
from tests.suite.test_shipped import STAND_INS

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
    first = campaign("run", *options, "--processes", "1", "--nice", "0", cwd=tmp_path)
    assert first.returncode == 0, first.stdout + first.stderr
    one, two = read_jobs(jobs)
    found = [progress(job, tmp_path / "results", tmp_path / "data") for job in (one, two)]
    assert [state.finished for state in found] == [state.total for state in found]
    assert found[0].total == 1
    assert found[0].left_sec == 0
    files = {path: path.read_bytes() for path in (tmp_path / "results" / "digits").glob("*.zip")}
    assert len(files) == sum(state.total for state in found)
    again = campaign("run", *options, "--processes", "1", "--nice", "0", cwd=tmp_path)
    assert again.returncode == 0
    assert "trained in" not in again.stderr
    assert {path: path.read_bytes() for path in files} == files


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a list of jobs, and archives of the first, which has trained two of 16 rows."""
    folder = tmp_path_factory.mktemp("campaign")
    suite = ROOT / "suites" / "digits.yaml"
    few = "recipe.epochs=1, dataset.train_size=100"
    (folder / "jobs.yaml").write_text(
        f"- {{folder: trained, suite: {suite}, only: 32-D/*softmax, seeds: '0', set: [{few}]}}\n"
        f"- {{folder: measured, suite: {suite}, only: 32-D/*, seeds: '0', networks: trained,\n"
        f"   minutes: 3, set: [{few}, 'evaluate=[error, calibration]']}}\n"
        f"- {{folder: trained, suite: {suite}, only: 32-D/*, seeds: '0', set: [{few}]}}\n",
        encoding="utf-8",
    )
    [job, _, _] = read_jobs(folder / "jobs.yaml")
    output = folder / "results" / job.folder
    output.mkdir(parents=True)
    plan = plan_of(job, folder / "data")
    shard = read_shard("1/1")
    ShardedWork(plan, shard, output, data_root=folder / "data", device="cpu").run()
    return folder


def copied(trained: Path, tmp_path: Path) -> tuple[list[Job], Path]:
    shutil.copytree(trained, tmp_path / "copy")
    return read_jobs(tmp_path / "copy" / "jobs.yaml"), tmp_path / "copy" / "results"


def test_trained_networks_are_measured_once_and_nothing_is_trained(
    trained: Path, tmp_path: Path
) -> None:
    [_, job, _], results = copied(trained, tmp_path)
    before = {path: path.read_bytes() for path in (results / "trained").glob("*.zip")}
    lines: list[str] = []
    outcome = measure(job, results, tmp_path, lines.append)
    assert sorted(outcome.measured) == ["32-D/l_softmax/seed0", "32-D/softmax/seed0"]
    assert len(outcome.untrained) == 6
    assert "32-D/center/seed0" in outcome.untrained
    archives = [Archive(path) for path in sorted((results / "measured").glob("*.zip"))]
    assert len(archives) == 2
    for archive in archives:
        [result] = archive.results.values()
        assert {"error", "nll"} <= result.metrics.keys()
        assert not archive.has_weights(result.identity)
        assert result.weights_digest
    assert {path: path.read_bytes() for path in before} == before
    [expected] = [r for path in before for r in Archive(path).results.values()][:1]
    [found] = [a.results[i] for a in archives for i in a.results if i == expected.identity]
    assert found.metrics["error"] == expected.metrics["error"]
    kept = {path: path.read_bytes() for path in (results / "measured").glob("*.zip")}
    assert measure(job, results, tmp_path, lines.append).measured == []
    assert {path: path.read_bytes() for path in kept} == kept


def test_an_evaluation_added_later_keeps_the_earlier_measurements(
    trained: Path, tmp_path: Path
) -> None:
    [_, job, _], results = copied(trained, tmp_path)
    measure(job, results, tmp_path, print)
    more = job.model_copy(update={"set": [*job.set[:2], "evaluate=[error, calibration, knn]"]})
    assert len(measure(more, results, tmp_path, print).measured) == 2
    for path in (results / "measured").glob("*.zip"):
        archive = Archive(path)
        [result] = archive.results.values()
        assert [record.name for record in result.measurements] == ["error", "calibration", "knn"]
        names = {name for name, _ in archive.files(result.identity)}
        calibration = result.measurements[1]
        for artifact in calibration.artifacts:
            assert f"measurements/{calibration.identity}/{artifact}.npz" in names


def test_the_measure_command_names_untrained_networks(trained: Path, tmp_path: Path) -> None:
    copied(trained, tmp_path)
    options = ("--jobs", "jobs.yaml", "--results", "results")
    found = campaign("measure", *options, "--nice", "0", cwd=tmp_path / "copy")
    assert found.returncode == 0, found.stdout + found.stderr
    assert "32-D/softmax/seed0: measured" in found.stdout
    assert "not trained yet: 32-D/center/seed0" in found.stdout


def test_progress_counts_trials_of_several_jobs_once(trained: Path, tmp_path: Path) -> None:
    jobs, results = copied(trained, tmp_path)
    counted: set[tuple[str, str]] = set()
    first, measuring, rest = (progress(job, results, tmp_path, counted) for job in jobs)
    assert (first.finished, first.left) == (2, 0)
    assert (measuring.finished, measuring.left, measuring.untrained) == (0, 8, 6)
    assert measuring.left_sec == 8 * 180
    assert measuring.estimated
    assert (rest.finished, rest.left, rest.left_sec) == (0, 6, None)
    measure(jobs[1], results, tmp_path, print)
    after = progress(jobs[1], results, tmp_path)
    assert (after.finished, after.left, after.untrained) == (2, 6, 6)
    assert not after.estimated
    assert after.each_sec is not None
    assert 0 < after.each_sec < 60


def test_chosen_losses_are_those_of_the_selection_that_the_suite_does_not_have(
    tmp_path: Path,
) -> None:
    few = ["recipe.epochs=2", "dataset.train_size=600"]
    grid = "losses=[softmax, center: {weight: {grid: [0.02, 0.5]}}]"
    selection = ["selection={holdout: 0.2, metric: error}", "variants={32-D: {}}"]
    suite = str(ROOT / "suites" / "digits.yaml")
    choosing = Job(folder="choice", suite=suite, seeds="0", set=[*few, grid, *selection])
    job = Job(folder="full", suite=suite, only="32-D/*", set=few, losses_from="choice")
    jobs = [job, choosing]
    results, data = tmp_path / "results", tmp_path / "data"
    assert with_chosen_losses(choosing, jobs, results, data) is choosing
    assert with_chosen_losses(job, jobs, results, data) is None
    output = results / "choice"
    output.mkdir(parents=True)
    ShardedWork(
        plan_of(choosing, data), read_shard("1/1"), output, data_root=data, device="cpu"
    ).run()
    errors = {}
    for path in output.glob("*.zip"):
        [trial] = Archive(path).trials.values()
        if trial.holdout and trial.loss.name == "center":
            [errors[trial.loss.params["weight"]]] = [
                result.metrics["error"] for result in Archive(path).results.values()
            ]
    best = min(sorted(errors), key=errors.__getitem__)
    found = with_chosen_losses(job, jobs, results, data)
    assert found is not None
    assert found.set == [*few, f'losses=[{{"center": {{"weight": {best}}}}}]']
    same = job.model_copy(update={"set": [*few, f"losses=[center: {{weight: {best}}}, softmax]"]})
    assert with_chosen_losses(same, jobs, results, data) is None
    with pytest.raises(RequestError, match="no job has the folder 'choice'"):
        with_chosen_losses(job, [job], results, data)
    plain = choosing.model_copy(update={"set": few})
    with pytest.raises(RequestError, match="has no selection"):
        with_chosen_losses(job, [job, plain], results, data)


def test_a_job_without_chosen_losses_waits(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, results = copied(trained, tmp_path)
    suite = jobs[0].suite
    path = tmp_path / "copy" / "jobs.yaml"
    path.write_text(
        f"- {{folder: full, suite: {suite}, name: waiting, losses_from: choice}}\n"
        f"- {{folder: choice, suite: {suite}, only: 32-D/softmax, seeds: '0', name: choosing,\n"
        "   set: ['selection={holdout: 0.2, metric: error}']}\n",
        encoding="utf-8",
    )
    worked: list[str] = []

    def work(job: Job, *_: object) -> list[int]:
        worked.append(job.title)
        return [0]

    monkeypatch.setattr(main, "_work", work)
    monkeypatch.setattr(main, "_prepare_process", lambda niceness: None)
    options = ["--jobs", str(path), "--results", str(results)]
    ran = CliRunner().invoke(main.app, ["run", *options])
    assert ran.exit_code == 0, ran.output
    assert "choice has chosen no further losses for it" in ran.output
    assert worked == ["choosing"]
    assert "not chosen" in CliRunner().invoke(main.app, ["status", *options]).output


def test_the_committed_jobs_can_be_planned(
    make_folder: Callable[..., Path], make_faces: Callable[..., None], tmp_path: Path
) -> None:
    """With the options of each job, and the data of its suite."""
    for name, (side, channels, classes, train) in STAND_INS.items():
        make_folder(name, side=side, channels=channels, classes=classes, train=train)
    make_faces(tmp_path / "data" / "lfw")
    jobs = read_jobs(HERE / "jobs.yaml")
    names = {job.folder for job in jobs}
    for job in jobs:
        plan = plan_of(job.model_copy(update={"suite": str(ROOT / job.suite)}), tmp_path / "data")
        assert plan.trials
        epochs = plan.trials[0].recipe.epochs
        full = load_suite(ROOT / job.suite).recipe.epochs
        if epochs < full:
            assert f"{epochs} of {full} epochs" in plan.suite.title
        width = plan.trials[0].model.params.get("width")
        reduced = any(text.startswith("model.width") for text in job.set)
        assert not reduced or f"width {width} of" in plan.suite.title
        assert {job.networks, job.losses_from} - {None} <= names


def test_hours_left_are_those_of_the_trainings_so_far() -> None:
    assert Progress(2, 6, 0, spent_sec=100, each_sec=40).left_sec == 160
    assert Progress(0, 6, 0, spent_sec=0, each_sec=None).left_sec is None
    assert Progress(6, 6, 0, spent_sec=0, each_sec=None).left_sec == 0


def test_the_duration_of_a_training_leaves_interruptions_out(trained: Path) -> None:
    [path, *_] = (trained / "results" / "trained").glob("*.zip")
    [result] = Archive(path).results.values()
    stamps_ms = [0, 10_000, 20_000, 9_020_000, 9_030_000]
    history = tuple(
        EpochRecord(epoch=i + 1, timestamp_ms=stamp, metrics={})
        for i, stamp in enumerate(stamps_ms)
    )
    update = {"history": history, "wall_time_sec": 9_040.0}
    assert training_sec(result.model_copy(update=update)) == 50
    assert training_sec(result) == result.wall_time_sec  # one epoch


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
    assert campaign("run", "--jobs", "jobs.yaml", "--nice", "0", cwd=tmp_path).returncode == 2


def test_the_committed_jobs_name_suites_that_exist() -> None:
    jobs = read_jobs(HERE / "jobs.yaml")
    assert all((ROOT / job.suite).is_file() for job in jobs)
    folders = {path.name for path in DEFAULT_RESULTS.iterdir() if path.is_dir()}
    assert folders <= {job.folder for job in jobs}


def test_options_name_the_part_of_the_suite() -> None:
    job = Job(folder="a", suite="s.yaml", only="x/*", seeds="0", set=["a.b=1", "c=2"])
    expected = ["--only", "x/*", "--seeds", "0", "--set", "a.b=1", "--set", "c=2"]
    assert job.options == expected
