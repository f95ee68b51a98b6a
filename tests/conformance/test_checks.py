"""Every check can fail, and says why; a sound head passes them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from lossbench.conformance import CHECKS, Subject, examine
from lossbench.losses import LossHead
from tests.conformance import broken_heads
from tests.conformance.broken_heads import BROKEN
from tests.conformance.sound_heads import DrawsForEachSample, Sampling, Sound


@pytest.mark.parametrize(
    ("check", "head", "why"), BROKEN, ids=[f"{check}-{head.__name__}" for check, head, _ in BROKEN]
)
def test_a_broken_head_is_found_out(check: str, head: type[LossHead], why: str) -> None:
    subject = Subject(head, Path(broken_heads.__file__))
    [found] = examine(subject, {check: CHECKS[check]})
    assert found.status == "failed"
    assert why in found.why
    assert "\n" not in found.why


def test_every_check_has_a_head_that_fails_it() -> None:
    assert {check for check, _, _ in BROKEN} == set(CHECKS)


@pytest.mark.parametrize(
    ("head", "not_applicable"),
    [
        (Sound, ["densities"]),
        (Sampling, ["densities"]),
        (DrawsForEachSample, ["order", "densities"]),
    ],
)
def test_a_sound_head_passes(head: type[LossHead], not_applicable: list[str]) -> None:
    found = examine(Subject(head), CHECKS)
    assert [f for f in found if f.status == "failed"] == []
    assert [f.check for f in found if f.status == "none"] == not_applicable
