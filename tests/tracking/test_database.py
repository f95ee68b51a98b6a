"""Databases of other programs or MLflow versions: reading never changes or migrates them."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient

from lossbench.errors import NothingRecordedError, TrackingError
from lossbench.planning.plan import Plan
from lossbench.tracking import connection
from lossbench.tracking.database import known_revisions, newest_revision
from lossbench.tracking.location import locate
from lossbench.tracking.store import Tracker

Run = Callable[..., tuple[int, str, str]]
VERBS = (
    ("plan", "SUITE"),
    ("report", "SUITE"),
    ("check", "SUITE", "--update"),
    ("rank", "SUITE"),
    ("ui",),
    ("run", "SUITE"),
)


@pytest.fixture
def database(uri: str) -> Path:
    return Path(uri.removeprefix("sqlite:///"))


def change(database: Path, *statements: str) -> None:
    with closing(sqlite3.connect(database)) as db, db:
        for statement in statements:
            db.execute(statement)


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and modification time of every file except empty locks."""
    return {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(".lock")
    }


UNKNOWN = "0123456789ab"


def test_schema_revisions_are_those_of_mlflow() -> None:
    head, known = known_revisions()
    assert head in known
    assert len(known) > 30
    assert UNKNOWN not in known


def test_the_newest_revision_is_found_without_mlflow(database: Path) -> None:
    with closing(sqlite3.connect(database)) as db:
        [(revision,)] = db.execute("SELECT version_num FROM alembic_version").fetchall()
    assert newest_revision() == revision == known_revisions()[0]


@pytest.mark.parametrize(
    ("revision", "said"),
    [
        ("older", ("{revision}", "cp {file} {file}.bak && mlflow db upgrade sqlite:///{file}")),
        ("unknown", ("schema revision 0123456789ab", "does not support", "install")),
        ("none", ("schema revision none",)),
    ],
)
def test_another_schema_is_refused_by_every_command(
    revision: str,
    said: tuple[str, ...],
    database: Path,
    run: Run,
    write_suite: Callable[..., Path],
    tmp_path: Path,
) -> None:
    head, known = known_revisions()
    older = min(known - {head})
    if revision == "none":
        change(database, "DELETE FROM alembic_version")
    else:
        version = {"older": older, "unknown": UNKNOWN}[revision]
        # an older schema has fewer tables; MLflow would migrate it on opening
        change(
            database,
            f"UPDATE alembic_version SET version_num = '{version}'",
            "DROP TABLE logged_model_metrics",
        )
    suite = write_suite()
    before = state(tmp_path)
    for verb in VERBS:
        arguments = [str(suite) if part == "SUITE" else part for part in verb]
        code, out, err = run(*arguments, "--tracking-uri", f"sqlite:///{database}")
        assert (code, out) == (2, "")
        assert err.count("error: ") == 1
        assert "Traceback" not in err
        assert str(database) in err
        for part in said:
            assert part.format(file=database, revision=older) in err
    assert state(tmp_path) == before


def test_a_path_with_spaces_in_the_commands(database: Path) -> None:
    folder = database.parent / "my results"
    folder.mkdir()
    moved = Path(shutil.move(database, folder))
    change(moved, f"UPDATE alembic_version SET version_num = '{min(known_revisions()[1])}'")
    with pytest.raises(TrackingError) as caught:
        Tracker.open(f"sqlite:///{moved}", create=False)
    assert f"cp '{moved}' '{moved}.bak' && mlflow db upgrade 'sqlite:///{moved}'" in str(
        caught.value
    )


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is an empty file"),
        (b"A text of some length, and no database at all.\n" * 50, "file is not a database"),
        (b"SQLite format 3\x00 and then nothing more", "is not a database|malformed"),
        (None, "is a folder"),
    ],
)
def test_a_file_that_is_not_a_database_is_refused(
    content: bytes | None, said: str, create: bool, tmp_path: Path
) -> None:
    path = tmp_path / "mlflow.db"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    before = state(tmp_path)
    with pytest.raises(TrackingError, match=said):
        Tracker.open(f"sqlite:///{path}", create=create)
    assert state(tmp_path) == before


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize(
    ("tables", "said"),
    [
        (("accounts (id)",), "not MLflow's"),
        (("experiments (id)", "alembic_version (version_num)"), "schema revision none"),
        (("experiments (id)", "alembic_version (other)"), "no such column"),
    ],
)
def test_a_database_of_another_program_is_refused(
    tables: tuple[str, ...], said: str, create: bool, tmp_path: Path
) -> None:
    path = tmp_path / "mlflow.db"
    change(path, *(f"CREATE TABLE {table}" for table in tables))
    before = state(tmp_path)
    with pytest.raises(TrackingError, match=said):
        Tracker.open(f"sqlite:///{path}", create=create)
    assert state(tmp_path) == before


def test_a_database_without_experiments_has_no_results(database: Path) -> None:
    change(database, "DELETE FROM experiments")
    before = state(database.parent)
    with pytest.raises(NothingRecordedError):
        Tracker.open(f"sqlite:///{database}", create=False)
    assert state(database.parent) == before


def test_a_database_of_another_project_can_be_used(
    database: Path,
    run: Run,
    write_suite: Callable[..., Path],
    plan: Plan,
    tmp_path: Path,
) -> None:
    uri = f"sqlite:///{database}"
    client = MlflowClient(uri, registry_uri=uri)
    theirs = client.create_experiment("theirs")
    client.log_metric(client.create_run(theirs).info.run_id, "loss", 1.0)
    before = database.read_bytes(), database.stat().st_mtime_ns
    suite = write_suite()
    for verb, expected in (("plan", 0), ("report", 0), ("check", 2), ("rank", 2)):
        code, _, err = run(verb, suite, "--tracking-uri", uri)
        assert code == expected, err
        assert "Traceback" not in err
    assert (database.read_bytes(), database.stat().st_mtime_ns) == before

    [run_before] = client.search_runs([theirs])
    Tracker.open(uri).start_suite(plan, {})
    [run_after] = client.search_runs([theirs])
    assert run_after.to_dictionary() == run_before.to_dictionary()
    names = sorted(e.name for e in client.search_experiments())
    assert names == ["Default", "demo", "theirs"]


def test_a_locked_database_is_reported(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lossbench.tracking.database._TIMEOUT_SEC", 0.1)
    with closing(sqlite3.connect(database)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for create in (True, False):
            with pytest.raises(TrackingError, match="another process is writing to it"):
                Tracker.open(f"sqlite:///{database}", create=create)


@pytest.mark.parametrize("protected", ["file", "folder"])
def test_a_read_only_database_can_be_read(
    protected: str, database: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    readonly = database if protected == "file" else database.parent
    # tests may run as root, who may write everything
    monkeypatch.setattr("os.access", lambda path, mode: path != readonly)
    before = state(database.parent)
    with pytest.raises(TrackingError, match="may read it, but not write it or its folder"):
        Tracker.open(f"sqlite:///{database}")
    assert Tracker.open(f"sqlite:///{database}", create=False).results(plan.trials) == {}
    assert state(database.parent) == before


def test_a_transaction_of_a_killed_process_is_rolled_back(
    database: Path, plan: Plan, tmp_path: Path
) -> None:
    killed = tmp_path / "killed"
    killed.mkdir()
    with closing(sqlite3.connect(database)) as other:
        other.execute("PRAGMA cache_size = 1")  # so that it writes before it commits
        for number in range(2000):
            other.execute("INSERT INTO tags VALUES (?, ?, ?)", (f"key{number}", "x" * 500, "r"))
        for name in ("mlflow.db", "mlflow.db-journal"):
            shutil.copy(database.with_name(name), killed)
    uri = f"sqlite:///{killed}/mlflow.db"
    assert Tracker.open(uri, create=False).results(plan.trials) == {}
    assert sorted(path.name for path in killed.iterdir()) == ["mlflow.db"]


def test_reading_leaves_nothing_in_the_working_folder(
    database: Path, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    Tracker.open(f"sqlite:///{database}", create=False).results(plan.trials)
    assert list(here.iterdir()) == []


def test_a_full_disk_is_reported_and_leaves_no_incomplete_database(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def small(uri: str) -> SimpleNamespace:
        def search_experiments(**_: object) -> None:
            with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as db:
                db.execute("PRAGMA max_page_count = 2")
                for number in range(3):
                    db.execute(f"CREATE TABLE t{number} (x)")

        return SimpleNamespace(search_experiments=search_experiments)

    monkeypatch.setattr(connection, "_client", small)
    with pytest.raises(sqlite3.OperationalError) as caught:
        connection._make_database(database)
    assert list(database.parent.glob(".*.new*")) == []
    reason = connection._reason(locate(f"sqlite:///{database}"), caught.value)
    assert reason == f"the disk is full; make room in {database.parent}"
