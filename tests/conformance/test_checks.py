"""Every check fails for a broken head, with a reason; a sound head passes all checks."""

from __future__ import annotations

from pathlib import Path

import pytest

from lossbench.conformance import CHECKS, Subject, run_checks
from lossbench.losses import LossHead
from tests.conformance import broken_heads
from tests.conformance.broken_heads import BROKEN
from tests.conformance.sound_heads import DrawsForEachSample, ReturnsScores, Sampling, Sound


@pytest.mark.parametrize(
    ("check", "head", "reason"),
    BROKEN,
    ids=[f"{check}-{head.__name__}" for check, head, _ in BROKEN],
)
def test_a_broken_head_fails_with_a_reason(check: str, head: type[LossHead], reason: str) -> None:
    subject = Subject(head, Path(broken_heads.__file__))
    [found] = run_checks(subject, {check: CHECKS[check]})
    assert found.status == "failed"
    assert reason in found.reason
    assert "\n" not in found.reason


def test_every_check_has_a_head_that_fails_it() -> None:
    assert {check for check, _, _ in BROKEN} == set(CHECKS)


@pytest.mark.parametrize(
    ("head", "not_applicable"),
    [
        (Sound, ["scores", "densities"]),
        (ReturnsScores, ["densities"]),
        (Sampling, ["scores", "densities"]),
        (DrawsForEachSample, ["scores", "order", "densities"]),
    ],
)
def test_a_sound_head_passes(head: type[LossHead], not_applicable: list[str]) -> None:
    found = run_checks(Subject(head), CHECKS)
    assert [f for f in found if f.status == "failed"] == []
    assert [f.check for f in found if f.status == "none"] == not_applicable
