"""Queue of the trials of a run."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher

from lossbench.runner.trial_queue import TrialQueue


def test_configurations_come_in_their_order_and_then_the_end() -> None:
    queue = TrialQueue([{"trial": "a"}, {"trial": "b"}])
    assert [queue.suggest("1"), queue.suggest("2")] == [{"trial": "a"}, {"trial": "b"}]
    assert queue.suggest("3") == Searcher.FINISHED


def test_a_configuration_is_made_when_it_is_taken() -> None:
    made: list[int] = []

    def configurations() -> Iterator[dict[str, Any]]:
        for number in range(100_000):
            made.append(number)
            yield {"trial": str(number)}

    queue = TrialQueue(configurations())
    queue.suggest("1")
    assert made == [0]


def test_a_limit_holds_until_a_trial_ends() -> None:
    queue = TrialQueue(({"trial": name} for name in "abc"), max_live=2)
    queue.suggest("1")
    queue.suggest("2")
    assert queue.suggest("3") is None
    queue.on_trial_complete("1", error=True)
    assert queue.suggest("3") == {"trial": "c"}


def test_tune_can_save_but_not_restore_it(tmp_path: Path) -> None:
    queue = TrialQueue({"trial": name} for name in "abc")
    pickle.dumps(queue)
    queue.save_to_dir(str(tmp_path))
    with pytest.raises(NotImplementedError):
        queue.restore(str(tmp_path))
