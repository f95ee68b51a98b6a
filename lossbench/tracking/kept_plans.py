"""Points of searches and records of looks, which further trials depend on; with a table's run.

Both are stored as artifacts before the trials start, so that an interrupted run continues with the
same trials.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from lossbench.errors import RequestError
from lossbench.planning.look_record import LookRecord
from lossbench.planning.search import SearchPoints
from lossbench.tracking import names
from lossbench.tracking.artifacts import read_artifact
from lossbench.tracking.connection import locked, translate_store_errors
from lossbench.tracking.location import Location
from lossbench.tracking.results import points_file
from lossbench.tracking.run_writer import RunWriter
from lossbench.tracking.runs import Runs
from lossbench.tracking.server_errors import one_line
from lossbench.tracking.stored_run import StoredRun

if TYPE_CHECKING:
    from lossbench.tracking.connection import GetClient

_LOG = logging.getLogger(__name__)


class KeptPlans:
    """Points of searches and records of looks of the tables in a store.

    What is kept before the table's run is open is written when it is opened.

    Args:
        client: Returns MLflow's client.
        location: Location of the store.
        runs: Runs of the store.
        writer: Writer of the runs of the table that is run.

    Attributes:
        location: Location of the store.
    """

    def __init__(
        self, client: GetClient, location: Location, runs: Runs, writer: RunWriter
    ) -> None:
        self._client, self.location, self._runs, self._writer = client, location, runs, writer
        self._points: dict[str, SearchPoints] = {}  # that are written, by the search's identity
        self._records: dict[str, LookRecord] = {}  # by identity
        self._pending_points: dict[str, SearchPoints] = {}
        self._pending_records: dict[str, LookRecord] = {}

    @translate_store_errors
    def keep_search_points(self, points: Mapping[str, SearchPoints]) -> None:
        """Store points that searches have proposed, by the identity of the search."""
        self._pending_points |= {k: p for k, p in points.items() if self._points.get(k) != p}
        self._write()

    @translate_store_errors
    def keep_look_records(self, records: Mapping[str, LookRecord]) -> None:
        """Store records of looks by identity; a longer one that is stored already stays.

        Raises:
            RequestError: The stored record contradicts this one, or cannot be read; nothing is
                written.
        """
        self._pending_records |= {k: r for k, r in records.items() if self._records.get(k) != r}
        self._write()

    @translate_store_errors
    def write_pending(self) -> None:
        """Write what was kept before the table's run was open."""
        self._write()

    @translate_store_errors
    def look_records(self, suite: str) -> dict[str, LookRecord]:
        """Records of looks at tables of a suite, by identity; the longest of the same record."""
        found: dict[str, LookRecord] = {}
        for run in self._runs.tables(suite):
            for identity, record in self._records_of(run):
                if identity not in found or record.starts_with(found[identity]):
                    found[identity] = record
        return found

    def _records_of(self, run: StoredRun) -> Iterator[tuple[str, LookRecord]]:
        for tag in run.tags:
            identity = tag.removeprefix(names.LOOKS)
            if identity != tag and (record := self._read(run, identity)) is not None:
                yield identity, record

    def _write(self) -> None:
        parent = self._writer.parent
        if not parent:
            return
        for identity, points in self._pending_points.items():
            text = points.model_dump_json(indent=1)
            self._writer.write_text(parent, points_file(identity), text)
            self._tag(parent, f"{names.SEARCH}{identity}", f"{points.loss}, {points.variant}")
        self._points |= self._pending_points
        self._pending_points = {}
        if self._pending_records:
            with locked(self.location):  # another process may add a round
                self._write_records(parent)

    def _write_records(self, parent: str) -> None:
        # a table has a run for each label, as with `--only`, but one record
        suite = self._client().get_experiment(self._writer.experiment).name
        known = self.look_records(suite)
        tags = {tag for run in self._runs.tables(suite) for tag in run.tags}
        for identity, record in self._pending_records.items():
            if identity not in known and f"{names.LOOKS}{identity}" in tags:
                self._pending_records = {}
                raise RequestError(
                    f"{self.location.display_uri}: {looks_file(identity)}, the record of seeds "
                    "added to this table, cannot be read by this version of lossbench; it stays"
                )
            stored = known.get(identity)
            if stored is not None and stored.starts_with(record):
                continue
            if stored is not None and not record.starts_with(stored):
                self._pending_records = {}
                raise RequestError(
                    f"{self.location.display_uri}: has another record of seeds added to this "
                    f"table, with {len(stored.rounds)} rounds up to {stored.max_seeds} seeds; it "
                    "stays"
                )
            self._writer.write_text(parent, looks_file(identity), record.model_dump_json(indent=1))
            count = len(record.rounds)
            text = f"{record.metric}, {count} {'round' if count == 1 else 'rounds'}"
            self._tag(parent, f"{names.LOOKS}{identity}", text)
        self._records |= self._pending_records
        self._pending_records = {}

    def _tag(self, run: str, key: str, value: str) -> None:
        self._client().log_batch(run, tags=names.as_tags({key: value}))

    def _read(self, run: StoredRun, identity: str) -> LookRecord | None:
        content = read_artifact(self._client, self.location, run, looks_file(identity))
        try:
            if content is None:
                raise ValueError("it is missing")
            record = LookRecord.model_validate_json(content)
            if record.identity != identity:
                raise ValueError(f"it is of {record.identity}")
            return record
        except ValueError as error:  # includes those of pydantic
            _LOG.warning(
                "%s of run %s cannot be used: %s",
                looks_file(identity),
                run.run_id,
                one_line(error),
            )
            return None


def looks_file(identity: str) -> str:
    """Name of the artifact with a record of looks."""
    return f"looks-{identity}.json"
