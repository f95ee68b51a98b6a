"""Reading of experiments and runs from MLflow's database, without MLflow.

MLflow takes seconds to import, and many statements per run to read all metrics. Only databases with
its schema are opened (`database.check_database`); a test compares what is read here with what
MLflow's client returns.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

from lossbench.tracking import names
from lossbench.tracking.database import connect_for_reading
from lossbench.tracking.stored_run import RunValues, StoredExperiment, StoredRun

_COLUMNS = "r.run_uuid, r.name, r.experiment_id, r.status, r.end_time, r.artifact_uri"


def read_experiments(database: Path) -> list[StoredExperiment]:
    """All experiments, also deleted ones.

    Raises:
        sqlite3.Error: They cannot be read.
    """
    with closing(connect_for_reading(database)) as db:
        db.execute("BEGIN")  # one state of the database
        tags: dict[int, dict[str, str]] = {}
        for key, tag, value in db.execute("SELECT experiment_id, key, value FROM experiment_tags"):
            tags.setdefault(key, {})[tag] = value or ""
        rows = db.execute("SELECT experiment_id, name, lifecycle_stage FROM experiments")
        return [StoredExperiment(str(k), name, stage, tags.get(k, {})) for k, name, stage in rows]


def read_runs(
    database: Path,
    experiments: Collection[str],
    tags: Mapping[str, str],
    *,
    finished: bool | None = None,
) -> list[StoredRun]:
    """Runs that were not deleted, in the order of MLflow's client, the earliest first.

    Args:
        database: The database.
        experiments: Ids of the experiments to search.
        tags: Tags that the runs have.
        finished: Whether they are finished or not; None for all.

    Raises:
        sqlite3.Error: They cannot be read.
    """
    listed = ", ".join(str(int(key)) for key in experiments)
    condition = f"r.lifecycle_stage = 'active' AND r.experiment_id IN ({listed})"
    if finished is not None:
        condition += f" AND r.status {'=' if finished else '!='} 'FINISHED'"
    values: list[str] = []
    for key, value in tags.items():
        condition += (
            " AND EXISTS (SELECT 1 FROM tags t WHERE t.run_uuid = r.run_uuid"
            " AND t.key = ? AND t.value = ?)"
        )
        values += [key, value]
    query = f"SELECT {_COLUMNS} FROM runs r WHERE {condition} ORDER BY r.start_time, r.run_uuid"
    with closing(connect_for_reading(database)) as db:
        db.execute("BEGIN")
        runs = db.execute(query, values).fetchall()
        return list(_complete(db, runs))


def read_run(database: Path, run_id: str) -> StoredRun | None:
    """A run, also a deleted one; None if there is none.

    Raises:
        sqlite3.Error: It cannot be read.
    """
    with closing(connect_for_reading(database)) as db:
        db.execute("BEGIN")
        query = f"SELECT {_COLUMNS} FROM runs r WHERE r.run_uuid = ?"
        runs = db.execute(query, [run_id]).fetchall()
        return next(_complete(db, runs), None)


def read_values(database: Path, run_id: str) -> RunValues:
    """Parameters and metrics of a run.

    Raises:
        sqlite3.Error: They cannot be read.
    """
    with closing(connect_for_reading(database)) as db:
        params = db.execute("SELECT key, value FROM params WHERE run_uuid = ?", [run_id])
        query = "SELECT key, value, is_nan FROM latest_metrics WHERE run_uuid = ?"
        metrics = {k: math.nan if nan else v for k, v, nan in db.execute(query, [run_id])}
        return RunValues(dict(params.fetchall()), metrics)


def _complete(db: sqlite3.Connection, runs: Iterable[tuple[object, ...]]) -> Iterator[StoredRun]:
    """The runs of rows with `_COLUMNS`, with their tags and the parameters that lookups need."""
    found = {str(row[0]): row for row in runs}
    tags = _pairs(db, "tags", found)
    lookups = [run for run in found if names.MEASURED not in tags[run]] + _with_sources(db, found)
    params = _pairs(db, "params", dict.fromkeys(lookups))
    for run, (_, name, experiment, status, end_time, uri) in found.items():
        yield StoredRun(
            run,
            str(name or ""),
            str(experiment),
            str(status),
            end_time if isinstance(end_time, int) else None,
            str(uri),
            tags[run],
            params.get(run, {}),
        )


def _with_sources(db: sqlite3.Connection, runs: Collection[str]) -> list[str]:
    """Those runs that used code of plugins."""
    query = "SELECT DISTINCT run_uuid FROM params WHERE key GLOB ?"
    return [run for (run,) in db.execute(query, [f"{names.SOURCES}*"]) if run in runs]


_RUNS_PER_QUERY = 500
"""Below the number of values that every version of SQLite allows in a statement."""


def _pairs(db: sqlite3.Connection, table: str, runs: Collection[str]) -> dict[str, dict[str, str]]:
    """Keys and values of runs, of the table `tags` or `params`."""
    pairs: dict[str, dict[str, str]] = {run: {} for run in runs}
    listed = list(pairs)
    shared: dict[str, str] = {}  # most texts are those of many runs
    for start in range(0, len(listed), _RUNS_PER_QUERY):
        some = listed[start : start + _RUNS_PER_QUERY]
        places = ", ".join("?" * len(some))
        query = f"SELECT run_uuid, key, value FROM {table} WHERE run_uuid IN ({places})"
        for run, key, value in db.execute(query, some):
            text = value or ""
            pairs[run][shared.setdefault(key, key)] = shared.setdefault(text, text)
    return pairs
