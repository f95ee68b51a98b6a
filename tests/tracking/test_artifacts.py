"""A working folder that was renamed, moved, copied or linked keeps its results."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from lossbench.cli.common import load_plan
from lossbench.planning.plan import Plan
from lossbench.planning.result_files import RESULT
from lossbench.records import TrialResult
from lossbench.tracking import artifacts
from lossbench.tracking.artifacts import write_folder, write_text
from lossbench.tracking.location import locate
from lossbench.tracking.runs import Runs
from lossbench.tracking.store import Tracker

MakeResult = Callable[..., TrialResult]
Run = Callable[..., tuple[int, str, str]]


def uri_of(folder: Path) -> str:
    return f"sqlite:///{folder}/mlflow.db"


def snapshot(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """Content and modification time of every file."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def record(folder: Path, plan: Plan, results: list[TrialResult], artifacts: Path) -> None:
    tracker = Tracker.open(uri_of(folder))
    tracker.start_suite(plan, {})
    for trial, result in zip(plan.trials, results, strict=False):
        tracker.finish(trial, result, artifacts)
    tracker.finish_suite("FINISHED")


def require_results(folder: Path, plan: Plan, count: int) -> None:
    reader = Tracker.open(uri_of(folder), create=False)
    assert list(reader.results(plan.trials)) == [t.identity for t in plan.trials[:count]]
    assert reader.arrays(plan.trials[0].identity, "predictions") is not None


@pytest.fixture
def original(
    tmp_path: Path, empty_database: Path, plan: Plan, make_result: MakeResult, artifacts: Path
) -> Path:
    """A folder with the results of two trials."""
    folder = tmp_path / "the original"
    folder.mkdir()
    shutil.copy(empty_database, folder)
    record(folder, plan, [make_result(trial) for trial in plan.trials[:2]], artifacts)
    return folder


def test_files_are_replaced_as_a_whole(original: Path, plan: Plan, artifacts: Path) -> None:
    client = MlflowClient(uri_of(original), registry_uri=uri_of(original))
    [*_, run] = Runs(lambda: client, locate(uri_of(original))).finished([plan.suite.suite])
    (artifacts / RESULT).write_text("a folder's", encoding="utf-8")
    stored = Path(run.artifact_uri)
    for write in (
        lambda: write_folder(lambda: client, locate(uri_of(original)), run, artifacts),
        lambda: write_text(lambda: client, locate(uri_of(original)), run, RESULT, "a text"),
    ):
        before = (stored / RESULT).read_bytes()
        with (stored / RESULT).open("rb") as reader:  # another process, which reads meanwhile
            write()
            assert reader.read() == before != (stored / RESULT).read_bytes()
    assert not list(stored.glob(".*"))


@pytest.mark.parametrize("original_is", ["there", "gone"])
def test_a_copy_is_complete_and_never_writes_into_the_original(
    original_is: str,
    original: Path,
    tmp_path: Path,
    make_plan: Callable[..., Plan],
    make_result: MakeResult,
    artifacts: Path,
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(original, copy)
    before = snapshot(original)
    if original_is == "gone":
        shutil.rmtree(original)
    plan, other = make_plan(), make_plan(suite="other", seeds=[5])
    require_results(copy, plan, 2)
    record(copy, plan, [make_result(trial) for trial in plan.trials[:3]], artifacts)
    record(copy, other, [make_result(trial) for trial in other.trials[:1]], artifacts)
    require_results(copy, plan, 3)
    require_results(copy, other, 1)
    if original_is == "there":
        assert snapshot(original) == before
        require_results(original, plan, 2)
        assert snapshot(original) == before
    else:
        assert not original.exists()

    # MLflow's own programs find everything, too
    client = MlflowClient(uri_of(copy), registry_uri=uri_of(copy))
    for experiment in client.search_experiments(filter_string="name != 'Default'"):
        assert experiment.artifact_location == f"{copy}/mlartifacts/{experiment.name}"
        for run in client.search_runs([experiment.experiment_id]):
            assert Path(run.info.artifact_uri).parent == Path(
                f"{copy}/mlartifacts/{experiment.name}/{run.info.run_id}"
            )
            assert Path(run.info.artifact_uri).is_dir()


def test_reading_a_moved_folder_changes_nothing(original: Path, tmp_path: Path, plan: Plan) -> None:
    moved = original.rename(tmp_path / "moved")
    before = snapshot(moved)
    require_results(moved, plan, 2)
    assert snapshot(moved) == before
    assert not original.exists()


@pytest.mark.parametrize(
    "prefix", ["/old/place", "file:///old/place", "file:///with%20space", "/a/mlartifacts/b"]
)
def test_artifacts_of_a_database_of_an_older_version_are_found(
    prefix: str, original: Path, plan: Plan
) -> None:
    with closing(sqlite3.connect(original / "mlflow.db")) as db, db:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            db.execute(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(original), prefix)
            )
    before = snapshot(original)
    require_results(original, plan, 2)
    assert snapshot(original) == before
    Tracker.open(uri_of(original)).start_suite(plan, {})
    require_results(original, plan, 2)
    with closing(sqlite3.connect(original / "mlflow.db")) as db:
        places = db.execute("SELECT artifact_uri FROM runs").fetchall()
    assert len(places) == 3
    assert all(place.startswith(f"{original}/mlartifacts/demo/") for (place,) in places)


def test_experiments_of_others_keep_their_paths(original: Path, plan: Plan) -> None:
    theirs = {
        "bucket": "s3://bucket/mlartifacts/bucket",
        "folder": "/somewhere/else",
        "numbered": "/their/server/mlartifacts/7",
        "prefixed": "/their/server/mlartifacts/not prefixed",
    }
    client = MlflowClient(uri_of(original), registry_uri=uri_of(original))
    runs = {}
    for name, place in theirs.items():
        experiment = client.create_experiment(name, artifact_location=place)
        runs[name] = client.create_run(experiment).info
    Tracker.open(uri_of(original)).start_suite(plan, {})
    for name, place in theirs.items():
        found = client.get_experiment_by_name(name)
        assert found.artifact_location == place
        assert client.get_run(runs[name].run_id).info.artifact_uri == runs[name].artifact_uri


@pytest.mark.parametrize("link", ["folder", "database"])
def test_artifacts_are_found_through_a_symbolic_link(
    link: str,
    original: Path,
    tmp_path: Path,
    plan: Plan,
    make_result: MakeResult,
    artifacts: Path,
) -> None:
    linked = tmp_path / "linked"
    if link == "folder":
        linked.symlink_to(original)
    else:
        linked.mkdir()
        (linked / "mlflow.db").symlink_to(original / "mlflow.db")
    require_results(linked, plan, 2)
    record(linked, plan, [make_result(trial) for trial in plan.trials[:3]], artifacts)
    require_results(linked, plan, 3)
    require_results(original, plan, 3)
    assert not (tmp_path / "linked" / "mlartifacts").exists() or link == "folder"


def test_reading_a_copied_database_without_artifacts(
    original: Path, tmp_path: Path, plan: Plan
) -> None:
    shutil.copy(original / "mlflow.db", tmp_path)
    require_results(tmp_path, plan, 2)


def test_writing_to_a_copied_database_without_artifacts(
    original: Path, tmp_path: Path, plan: Plan, make_result: MakeResult, artifacts: Path
) -> None:
    shutil.copy(original / "mlflow.db", tmp_path)
    before = snapshot(original)
    tracker = Tracker.open(uri_of(tmp_path))
    tracker.start_suite(plan, {})
    tracker.finish(plan.trials[2], make_result(plan.trials[2]), artifacts)
    require_results(tmp_path, plan, 3)
    assert snapshot(original) == before


def test_every_command_in_a_copied_folder(
    run: Run,
    write_suite: Callable[..., Path],
    make_result: MakeResult,
    empty_database: Path,
    artifacts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, copy = tmp_path / "folder", tmp_path / "copy"
    shutil.copy(empty_database, folder)
    suite = write_suite()
    plan = load_plan(suite, [], None, None, Path("data"), [])
    (artifacts / "predictions.npz").unlink()
    record(folder, plan, [make_result(trial) for trial in plan.trials], artifacts)
    shutil.copytree(folder, copy)
    before = snapshot(folder)
    database = (copy / "mlflow.db").stat()
    monkeypatch.chdir(copy)
    for arguments in (
        ("plan", suite),
        ("report", suite),
        ("check", suite, "--update"),
        ("check", suite),
        ("rank", suite),
    ):
        code, out, err = run(*arguments)
        assert code == 0, err
    after = (copy / "mlflow.db").stat()
    assert (after.st_mtime_ns, after.st_size) == (database.st_mtime_ns, database.st_size)
    code, out, err = run("run", suite)
    assert (code, "every trial has its result" in err) == (0, True), err
    assert "0 to train, 0 to measure" in run("plan", suite)[1]
    assert out
    assert snapshot(folder) == before


def test_the_folder_of_an_experiment_is_found_once_for_all_its_runs(
    original: Path, plan: Plan
) -> None:
    artifacts._experiment_places.cache_clear()
    require_results(original, plan, 2)
    found = artifacts._experiment_places.cache_info()
    assert (found.misses, found.hits >= 1) == (1, True)
