"""Lookup of trained networks by the identity of their training, in all suites of a store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from lossbench.planning.earlier_results import trained_trial, upgraded
from lossbench.planning.measurements import merged_result, missing_evaluations
from lossbench.planning.trial import Trial
from lossbench.records import TrialResult
from lossbench.tracking import names
from lossbench.tracking.location import Location
from lossbench.tracking.results import ResultReader
from lossbench.tracking.runs import Runs
from lossbench.tracking.stored_run import StoredRun

_DOWNLOADS = 8
"""Number of trials whose results are read from a server at a time."""


@dataclass(frozen=True)
class StoredTraining:
    """A trained network in the store.

    Attributes:
        runs: Runs that have its result, the earliest first.
        results: The result of each run.
        result: Its result with the measurements of all these runs.
    """

    runs: tuple[StoredRun, ...]
    results: tuple[TrialResult, ...]
    result: TrialResult

    def is_complete_in(self, experiment: str, trial: Trial) -> bool:
        """Whether runs of an experiment have all measurements of a trial that the store has."""
        pairs = zip(self.runs, self.results, strict=True)
        own = [result for run, result in pairs if run.experiment_id == experiment]
        return bool(own) and len(missing_evaluations(trial, merged_result(own))) == len(
            missing_evaluations(trial, self.result)
        )


class TrainingLookup:
    """Lookup of the trained networks of trials.

    Args:
        runs: Runs of the store.
        reader: Reader of their artifacts.
        location: Location of the store.

    Attributes:
        seeds: Identity of a training -> its seed, for all runs of the suites that were looked up.
        other_code: Identity of a training with plugin code that was not asked for -> parameters of
            its run.
    """

    def __init__(self, runs: Runs, reader: ResultReader, location: Location) -> None:
        self._runs, self._reader, self._location = runs, reader, location
        self.seeds: dict[str, str] = {}
        self.other_code: dict[str, Mapping[str, str]] = {}

    def find(self, trials: Sequence[Trial]) -> dict[str, StoredTraining]:
        """Find the trained networks of trials by the identities of the trials.

        Other suites are searched only if a trial or a measurement is missing in its own suite. A
        run without a readable result is skipped with a warning.
        """
        suites = {trial.suite for trial in trials}
        own = self._runs_by_identity(trials, self._runs.finished(suites), own=True)
        found = self._read(trials, own)
        lacking = [t for t in trials if t.identity not in found or self._lacks(t, found)]
        if lacking:
            further = self._runs.finished(suites, elsewhere=True)
            others = self._runs_by_identity(lacking, further, own=False)
            both = {i: [*own.get(i, []), *runs] for i, runs in others.items()}
            found |= self._read([t for t in lacking if t.identity in others], both)
        return found

    @staticmethod
    def _lacks(trial: Trial, found: Mapping[str, StoredTraining]) -> bool:
        return bool(missing_evaluations(trial, found[trial.identity].result))

    def _runs_by_identity(
        self, trials: Iterable[Trial], runs: Iterable[StoredRun], *, own: bool
    ) -> dict[str, list[StoredRun]]:
        """Runs of the wanted trainings, the earliest first."""
        wanted = {trial.earlier_identity: trial.identity for trial in trials}
        wanted |= {trial.identity: trial.identity for trial in trials}
        data = {trial.data_digest for trial in trials}
        found: dict[str, list[StoredRun]] = {}
        for run in runs:
            identity = self._identity(run, data)
            if identity is None:
                continue
            if identity in wanted:
                found.setdefault(wanted[identity], []).append(run)
            elif own and any(key.startswith(names.SOURCES) for key in run.params):
                self.other_code[identity] = run.params
            if own:
                self.seeds[identity] = run.tags.get(names.SEED, "")
        return found

    def _identity(self, run: StoredRun, data: Set[str]) -> str | None:
        """Identity of the training of a run; None if it is no training, or one of other data."""
        identity = run.tags.get(names.IDENTITY)
        if identity is None or names.MEASURED in run.tags:
            return identity
        # a run of an earlier version, whose identity includes its evaluations
        if run.params.get("data_digest", "") not in data:
            return None
        content = self._reader.trial(run)
        trial = trained_trial(content) if content else None
        return trial.identity if trial else identity

    def _read(
        self, trials: Sequence[Trial], runs: Mapping[str, Sequence[StoredRun]]
    ) -> dict[str, StoredTraining]:
        wanted = [trial for trial in trials if trial.identity in runs]
        if self._location.database:
            read = [self._training(trial, runs[trial.identity]) for trial in wanted]
        else:
            with ThreadPoolExecutor(_DOWNLOADS) as pool:
                read = list(pool.map(lambda t: self._training(t, runs[t.identity]), wanted))
        pairs = zip(wanted, read, strict=True)
        return {trial.identity: training for trial, training in pairs if training is not None}

    def _training(self, trial: Trial, runs: Iterable[StoredRun]) -> StoredTraining | None:
        """The network with the most measurements of a trial; the earliest of equal ones.

        A network that was trained again may differ from the first one: only measurements of the
        same network are put together.
        """
        networks: dict[str, list[tuple[StoredRun, TrialResult]]] = {}
        for run, result in self._results(trial, runs):
            key = result.weights_digest or run.run_id
            networks.setdefault(key, []).append((run, result))
            if not missing_evaluations(trial, _merged(networks[key]).result):
                return _merged(networks[key])
        trainings = [_merged(pairs) for pairs in networks.values()]
        return min(trainings, key=lambda t: len(missing_evaluations(trial, t.result)), default=None)

    def _results(
        self, trial: Trial, runs: Iterable[StoredRun]
    ) -> Iterator[tuple[StoredRun, TrialResult]]:
        for run in runs:
            result = self._reader.result(run)
            if result is None:
                continue
            if names.MEASURED not in run.tags and (content := self._reader.trial(run)):
                result = upgraded(trial, content, result)
            # earlier versions had another identity; copies and archives have today's
            yield run, result.model_copy(update={"identity": trial.identity})


def _merged(pairs: Sequence[tuple[StoredRun, TrialResult]]) -> StoredTraining:
    results = tuple(result for _, result in pairs)
    return StoredTraining(tuple(run for run, _ in pairs), results, merged_result(results))
