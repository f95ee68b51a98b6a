"""Weights of trained networks in MLflow: which are stored, how large they are, their deletion."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lossbench.errors import RequestError, did_you_mean
from lossbench.planning.plan import matches
from lossbench.planning.result_files import WEIGHTS
from lossbench.tracking import names
from lossbench.tracking.artifacts import artifact_bytes, delete_artifact
from lossbench.tracking.connection import Opening, open_store, translate_store_errors
from lossbench.tracking.location import Location, locate
from lossbench.tracking.runs import Runs
from lossbench.tracking.stored_run import StoredRun


@dataclass(frozen=True)
class SuiteWeights:
    """Stored weights of a suite.

    Attributes:
        suite: Name of the suite.
        runs: Runs that have a file with weights.
        total_bytes: Size of these files.
        users: Name of another suite -> number of its trials that were copied from these runs, so
            that these weights are the only ones that they have.
        origins: Name of another suite -> number of trials of this suite that were copied from its
            runs, and whose weights are there.
    """

    suite: str
    runs: tuple[StoredRun, ...]
    total_bytes: int
    users: dict[str, int]
    origins: dict[str, int]


class WeightsStore:
    """Access to the stored weights.

    Args:
        location: Location of the store.
        opening: The store.
    """

    def __init__(self, location: Location, opening: Opening) -> None:
        self.location = location
        self._opening = opening
        self._runs = Runs(opening.client, location)

    @classmethod
    def open(cls, uri: str | None) -> WeightsStore:
        """Connect to a store that exists; see `Tracker.open`.

        Raises:
            TrackingError: The store cannot be used, or there is none.
        """
        location = locate(uri)
        return cls(location, open_store(location, create=False))

    @translate_store_errors
    def suites(self) -> list[str]:
        """Names of the suites with finished trials, in alphabetical order."""
        return sorted({_suite(run) for run in self._trials()} - {""})

    @translate_store_errors
    def find(self, suite: str, only: str | None = None) -> SuiteWeights:
        """Find the stored weights of a suite, also those of earlier versions of its file.

        Args:
            suite: Name of the suite.
            only: Glob of rows or cells; None for all.

        Raises:
            RequestError: The store has no such suite, or it has no such cell.
        """
        trials = list(self._trials())
        own = [run for run in trials if _suite(run) == suite]
        if not own:
            known = {_suite(run) for run in trials} - {""}
            raise RequestError(
                f"{self.location.display_uri}: has no trials of suite {suite!r}"
                f"{did_you_mean(suite, known)}"
            )
        chosen = [run for run in own if only is None or matches(only, *_cell(run))]
        if not chosen:
            cells = sorted({"/".join(_cell(run)[:2]) for run in own})
            raise RequestError(f"--only {only}: matches no cell of {', '.join(cells)}")
        sizes = {
            run.run_id: size
            for run in chosen
            if (size := artifact_bytes(self._opening.client, self.location, run, WEIGHTS))
            is not None
        }
        others = [run for run in trials if _suite(run) != suite]
        return SuiteWeights(
            suite,
            tuple(run for run in chosen if run.run_id in sizes),
            sum(sizes.values()),
            users=_counts(run for run in others if run.tags.get(names.ORIGIN) in sizes),
            origins=_counts((run for run in chosen if run.run_id not in sizes), names.ORIGIN_SUITE),
        )

    @translate_store_errors
    def delete_weights(self, found: SuiteWeights) -> None:
        """Delete the weights that `find` found; the results stay."""
        for run in found.runs:
            delete_artifact(self.location, run, WEIGHTS)

    def _trials(self) -> Iterable[StoredRun]:
        return self._runs.finished((), elsewhere=True)


def _suite(run: StoredRun) -> str:
    return str(run.tags.get(names.SUITE, ""))


def _cell(run: StoredRun) -> tuple[str, str, str]:
    """Column, row label and loss name of a trial."""
    variant, row, loss = (run.tags.get(k, "") for k in (names.VARIANT, names.ROW, names.LOSS))
    return variant, row, loss


def _counts(runs: Iterable[StoredRun], tag: str = names.SUITE) -> dict[str, int]:
    counts: dict[str, int] = {}
    for run in runs:
        if name := run.tags.get(tag):
            counts[name] = counts.get(name, 0) + 1
    return counts
