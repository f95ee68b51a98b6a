"""All figures of a report."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lossbench.analysis.predictions import Arrays
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.report.build import build_report
from tests.report.many_metrics import ARTIFACT, BODY, METRICS, read, results_of


@pytest.fixture
def plan(make_plan: Callable[..., Plan]) -> Plan:
    return replace(make_plan(BODY), metrics=METRICS, artifacts=(ARTIFACT,))


def test_everything_is_drawn(plan: Plan, tmp_path: Path) -> None:
    files = build_report(
        PlanWithResults(plan, results_of(plan)), read, tmp_path, "lossbench report"
    )
    names = {path.stem for path in files if path.suffix == ".png"}
    assert names >= {
        "posterior-fgsm_0.3-default",
        "likelihood-fgsm_0.3-default",
        "roc-fgsm_0.3-default",
        "fgsm-default",
        "geometry-default",
        "likelihood-default",
    }
    assert all(path.stat().st_size < 300_000 for path in files if path.suffix == ".png")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "All measurements; mean ± std over 2 seeds" in page
    assert "published 84.87" in page
    assert "inside the map are drawn: softmax 2, lgm(alpha=0) 2, lgm(alpha=1) 2." in page


def test_several_processes_draw_the_same_report(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = PlanWithResults(plan, results_of(plan))
    readers = []

    def noted(identity: str, name: str) -> Arrays | None:
        readers.append(os.getpid())
        return read(identity, name)

    written = []
    for processes in (1, 3):
        started: list[int] = []
        fork = os.fork
        monkeypatch.setattr(os, "fork", lambda fork=fork, to=started: to.append(1) or fork())
        monkeypatch.chdir(tmp_path)
        files = build_report(found, noted, Path("out"), "lossbench report", processes=processes)
        monkeypatch.setattr(os, "fork", fork)
        assert len(started) == processes - 1
        written.append({path: path.read_bytes() for path in files})
    assert written[0] == written[1]
    assert list(written[0]) == list(written[1])
    assert set(readers) == {os.getpid()}  # each array read is noted in this process
