"""Locks on trials: one process trains a trial, the others wait."""

from __future__ import annotations

import pytest

from lossbench.errors import RequestError
from lossbench.planning.plan import Plan
from tests.runner.fake_runs import WorkFolder

pytestmark = pytest.mark.long


def test_a_trial_is_locked_by_one_process(plan: Plan, folder: WorkFolder) -> None:
    first, second = folder.other_process(), folder.other_process()
    assert first.acquire(plan.trials[:2]) == list(plan.trials[:2])
    assert first.acquire(plan.trials[:2]) == list(plan.trials[:2])  # still
    assert second.acquire(plan.trials) == [plan.trials[2]]
    first.release()
    assert second.acquire(plan.trials) == list(plan.trials)


def test_a_working_folder_that_cannot_be_written_is_refused(plan: Plan, folder: WorkFolder) -> None:
    (folder.work).write_text("a file", encoding="utf-8")
    with pytest.raises(RequestError, match="claims: cannot be written: Not a dir"):
        folder.run(plan)
    assert folder.trained == []
