"""Queue from which Ray Tune takes the trials of a run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ray import tune

MAX_PENDING = "TUNE_MAX_PENDING_TRIALS_PG"
"""Environment variable with the largest number of trials that wait for their worker at once."""
PENDING = 200
"""Largest number of trials that wait for their worker at once, as Tune chooses it for grids."""


class TrialQueue(tune.search.Searcher):
    """Searcher of Tune that returns given configurations, one after the other.

    Tune's own way for a fixed list, `grid_search`, copies the whole list for every trial, so that
    the time grows with the square of its length.

    Args:
        configurations: Configuration of each trial, without what all of them have in common.
        max_live: Largest number of trials that are taken and not finished; None: the resources of
            the cluster limit it.
    """

    def __init__(
        self, configurations: Iterable[dict[str, Any]], max_live: int | None = None
    ) -> None:
        super().__init__()
        self._left = iter(configurations)
        self._max_live = max_live
        self._live: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        """Return no state: Tune pickles its searchers for a restore, which is not used here."""
        return {}

    def suggest(self, trial_id: str) -> Any:
        """Next configuration; None if too many trials are live, `FINISHED` at the end."""
        if self._max_live is not None and len(self._live) >= self._max_live:
            return None
        configuration = next(self._left, None)
        if configuration is None:
            return tune.search.Searcher.FINISHED
        self._live.add(trial_id)
        return configuration

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        self._live.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Write an empty file: Tune saves its searchers for a restore, which is not used here."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError
