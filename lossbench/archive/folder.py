"""A folder with one archive per training, which several processes fill at the same time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from lossbench.archive.reading import Archive
from lossbench.archive.store import ArchiveStore
from lossbench.archive.writing import writing_archive
from lossbench.errors import RequestError
from lossbench.planning.plan import Plan
from lossbench.planning.plan_file import plan_record, read_plan_record
from lossbench.planning.portable import portable_plan
from lossbench.planning.search import SearchPoints
from lossbench.planning.trial import Trial
from lossbench.records import TrialResult


class ArchiveFolder:
    """Folder of the archives of one suite.

    Args:
        folder: The folder, which exists.
        suite: Name of the suite.
    """

    def __init__(self, folder: Path, suite: str) -> None:
        self._folder, self._suite = folder, suite
        self._archives: dict[tuple[Path, int], Archive] = {}
        self._store = ArchiveStore([])

    def read(self) -> ArchiveStore:
        """The results in the archives; an archive is read again only if it was replaced.

        The store is the same object as before if nothing has changed.

        Raises:
            RequestError: An archive is damaged, or of another suite.
        """
        keys = [(path, path.stat().st_mtime_ns) for path in sorted(self._folder.glob("*.zip"))]
        if list(self._archives) != keys:
            self._archives = {key: self._archives.get(key) or self._open(key[0]) for key in keys}
            self._store = ArchiveStore(list(self._archives.values()))
        return self._store

    @property
    def archives(self) -> list[Archive]:
        """The archives at the last `read`."""
        return list(self._archives.values())

    def save(
        self,
        trial: Trial,
        result: TrialResult,
        files: Iterable[tuple[str, bytes]],
        plan: Plan,
    ) -> None:
        """Write the archive of a training, which replaces an earlier one.

        Args:
            trial: The trial.
            result: Its result with all measurements.
            files: Name and content of its other files.
            plan: Plan with the points that its searches have proposed so far.
        """
        points: Mapping[str, SearchPoints] = plan.search_points
        with writing_archive(self._path(trial), trial.suite) as archive:
            archive.add_training(trial, result, files)
            archive.finish(plan, points)

    def outdated(self, trials: Iterable[Trial], plan: Plan) -> list[Trial]:
        """Trials whose archives were saved with another state of the plan.

        The plan changes when a search proposes points, or the user adds rows or evaluations.
        Archives can be reported together only if their plans agree.
        """
        by_path = {archive.path: archive for archive in self.archives}
        text = plan_record(portable_plan(plan)).model_dump_json()
        content = read_plan_record(text).model_dump()  # as it is read
        return [
            trial
            for trial in trials
            if (archive := by_path.get(self._path(trial))) is not None
            and plan_record(archive.plan).model_dump() != content
        ]

    def update(self, trial: Trial, plan: Plan) -> None:
        """Write the archive of a training again, with the current plan."""
        archive = next(a for a in self.archives if a.path == self._path(trial))
        result = archive.results[trial.identity]
        self.save(trial, result, archive.files(trial.identity), plan)

    def _path(self, trial: Trial) -> Path:
        return self._folder / f"{self._suite}-{trial.identity}.zip"

    def _open(self, path: Path) -> Archive:
        try:
            archive = Archive(path)
        except RequestError as error:
            raise RequestError(
                f"{error}; move it to another folder, and what it lacks is trained again"
            ) from None
        if archive.manifest.suite != self._suite:
            raise RequestError(
                f"{path}: is of suite {archive.manifest.suite!r}; give every suite a folder of its "
                "own"
            )
        return archive
