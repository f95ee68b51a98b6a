"""Archives may come from anybody: hostile and broken ones are refused, and nothing is written."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from lossbench.archive import reading
from tests.archive.alterations import Payload
from tests.archive.hostile import Case, cases

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_a_hostile_archive_is_refused_in_one_line_and_nothing_is_written(
    case: Case, archive_with_weights: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_FILES", 1000)
    case.change(archive_with_weights)
    before = sorted(Path.cwd().parent.rglob("*"))
    tracemalloc.start()
    code, out, err = run("import", archive_with_weights)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {archive_with_weights}: "), err
    assert case.said in err
    assert err.count("\n") == 1
    assert err[:-1].isprintable()
    assert sorted(Path.cwd().parent.rglob("*")) == before
    assert not Payload.marker.exists()
    assert peak < 100 * 2**20


def test_there_are_enough_cases() -> None:
    assert len({case.name for case in cases()}) == len(list(cases())) >= 30
