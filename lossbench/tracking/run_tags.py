"""Changes of the tags of many runs at once."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

from lossbench.tracking import names
from lossbench.tracking.location import Location

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from lossbench.tracking.connection import GetClient

TagChanges = Mapping[str, str | None]
"""New values of tags; None deletes a tag."""
_TIMEOUT_SEC = 60
_REQUESTS = 8
"""Number of requests to a server at a time."""
_TAGS_PER_CALL = 100
"""MLflow's limit."""


def change_tags(client: GetClient, location: Location, changes: Mapping[str, TagChanges]) -> None:
    """Change tags of runs; in a database in one transaction, which is a hundred times faster.

    Args:
        client: Returns MLflow's client.
        location: Location of the store.
        changes: Run id -> changes of its tags.

    Raises:
        TrackingError: The database cannot be written.
    """
    if not changes:
        return
    if location.database is None:
        with ThreadPoolExecutor(_REQUESTS) as pool:
            list(pool.map(lambda item: _change(client(), *item), changes.items()))
        return
    deleted = [(run, key) for run, tags in changes.items() for key, v in tags.items() if v is None]
    kept = [
        (run, key, value)
        for run, tags in changes.items()
        for key, value in names.tag_texts({k: v for k, v in tags.items() if v is not None}).items()
    ]
    try:
        with closing(sqlite3.connect(location.database, timeout=_TIMEOUT_SEC)) as db, db:
            db.executemany("DELETE FROM tags WHERE run_uuid = ? AND key = ?", deleted)
            db.executemany(
                "INSERT OR REPLACE INTO tags (run_uuid, key, value) VALUES (?, ?, ?)", kept
            )
    except sqlite3.Error as error:
        raise location.error(str(error)) from error


def _change(client: MlflowClient, run_id: str, tags: TagChanges) -> None:
    for key in (key for key, value in tags.items() if value is None):
        client.delete_tag(run_id, key)
    kept = names.as_tags({key: value for key, value in tags.items() if value is not None})
    for start in range(0, len(kept), _TAGS_PER_CALL):
        client.log_batch(run_id, tags=kept[start : start + _TAGS_PER_CALL])
