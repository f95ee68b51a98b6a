"""Results of one or several archives of a suite, for reports without a database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from lossbench.archive.arrays import Arrays
from lossbench.archive.reading import Archive
from lossbench.errors import RequestError
from lossbench.planning.look_record import LookRecord
from lossbench.planning.measurements import merged_result, result_for
from lossbench.planning.plan import Plan
from lossbench.planning.search import SearchPoints
from lossbench.planning.trial import Trial
from lossbench.records import Results, TrialResult


class ArchiveStore:
    """Store of the results in archives; see `planning.selection.ResultStore`.

    Args:
        archives: Archives. If two have different networks for the same training, the first counts.
    """

    def __init__(self, archives: Sequence[Archive]) -> None:
        self._archives = tuple(archives)
        self._results: dict[str, TrialResult] = {}

    def results(self, trials: Iterable[Trial]) -> Results:
        """Return the results by identity; see `ResultStore`."""
        found = {
            trial.identity: result_for(trial, merged_result(r for _, r in holders))
            for trial in trials
            if (holders := list(self._holders(trial.identity)))
        }
        self._results |= found
        return found

    def holder(self, identity: str) -> Archive | None:
        """The first archive that has a training; one with its weights, if there is one."""
        archives = [archive for archive, _ in self._holders(identity)]
        with_weights = [archive for archive in archives if archive.has_weights(identity)]
        return next(iter([*with_weights, *archives]), None)

    def search_points(self, suite: str) -> Mapping[str, SearchPoints]:
        """Return the points that the searches of a suite have proposed, by `search_identity`."""
        found: dict[str, SearchPoints] = {}
        for archive in self._archives:
            for identity, points in archive.search_points.items():
                if identity not in found or len(points.points) > len(found[identity].points):
                    found[identity] = points
        return found

    def look_records(self, suite: str) -> Mapping[str, LookRecord]:
        """Return the records of looks by their identities; the longest of the same record."""
        found: dict[str, LookRecord] = {}
        for record in (archive.looks for archive in self._archives):
            if record is None:
                continue
            known = found.get(record.identity)
            if known is None or record.starts_with(known):
                found[record.identity] = record
        return found

    def arrays(self, identity: str, name: str) -> Arrays | None:
        """Arrays of an artifact of a trial for which `results` was called; None if missing."""
        if identity not in self._results:
            return None
        measurements = self._results[identity].measurements
        for archive, _ in self._holders(identity):
            arrays = archive.arrays(measurements, identity, name)
            if arrays is not None:
                return arrays
        return None

    def other_seeds(self, trials: Sequence[Trial]) -> tuple[int, ...]:
        """Seeds other than those of some trials for which the archives have the same trials."""
        cells = {(t.variant, t.row, t.holdout): t for t in trials}
        asked = {t.seed for t in trials}
        known = {trial.seed for archive in self._archives for trial in archive.trials.values()}
        return tuple(
            seed
            for seed in sorted(known - asked)
            if any(any(self._holders(trial.with_seed(seed).identity)) for trial in cells.values())
        )

    @cached_property
    def differing(self) -> tuple[str, ...]:
        """Names of the trainings for which the archives have different networks."""
        names: dict[str, str] = {}
        for archive in self._archives:
            for identity, trial in archive.trials.items():
                if archive not in [holder for holder, _ in self._holders(identity)]:
                    names[identity] = f"{archive.path}: {trial.name}"
        return tuple(names.values())

    def _holders(self, identity: str) -> Iterator[tuple[Archive, TrialResult]]:
        """Archives that have the same network as the first one that has this training."""
        first: TrialResult | None = None
        for archive in self._archives:
            result = archive.results.get(identity)
            if result is None:
                continue
            first = first or result
            if result.weights_digest == first.weights_digest:
                yield archive, result


def open_archives(paths: Iterable[Path], *, weights: bool = False) -> list[Archive]:
    """Open archives and check them; see `Archive`.

    Args:
        paths: Files, or folders with files `*.zip`.
        weights: Whether the weights are checked as well.

    Raises:
        RequestError: One of them cannot be used, or a folder has none.
    """
    files: list[Path] = []
    for path in paths:
        inside = sorted(path.glob("*.zip")) if path.is_dir() else [path]
        if not inside:
            raise RequestError(f"{path}: has no archives (*.zip)")
        files += inside
    return [Archive(file, weights=weights) for file in dict.fromkeys(files)]


def joint_plan(archives: Sequence[Archive]) -> Plan:
    """Plan of the table that several archives fill together, with the seeds of all of them.

    Raises:
        RequestError: They are of different tables.
    """
    first, plan = archives[0], archives[0].plan
    seeds = set(plan.suite.seeds)
    for archive in archives[1:]:
        other = archive.plan
        if _table(other) != _table(plan):
            raise RequestError(
                f"{archive.path}: is of another table than {first.path}; import both with "
                "'lossbench import' and report each suite"
            )
        seeds |= set(other.suite.seeds)
    if len(archives) == 1:
        return plan
    suite = plan.suite.model_copy(update={"seeds": sorted(seeds)})
    changes = list(plan.changes)
    if any(archive.plan.suite.seeds != plan.suite.seeds for archive in archives):
        changes = [change for change in changes if not change.startswith("seeds ")]
        changes.append(f"seeds {','.join(map(str, suite.seeds))}")
    return replace(plan, suite=suite, changes=tuple(changes))


def _table(plan: Plan) -> tuple[object, ...]:
    """Everything that two archives of the same table have in common: all but seeds and title."""
    suite = plan.suite.model_dump(mode="json", exclude={"seeds", "title", "keep_weights"})
    suite["resources"].pop("gpus")
    suite["dataset"].pop("name")
    for variant in suite["variants"].values():
        variant.get("dataset", {}).pop("name", None)
    digests = [
        (plan.columns[name].data_digest, plan.columns[name].validation_digest)
        for name in plan.suite.variants
    ]
    return suite, [row.label for row in plan.rows], digests
