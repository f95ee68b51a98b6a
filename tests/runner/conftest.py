"""Fixtures of runs without Ray."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from lossbench.assembly.check import check
from lossbench.planning.plan import Plan
from lossbench.suite.load import load_suite
from tests.runner.fake_runs import NOWHERE, WorkFolder


@pytest.fixture
def plan(write_suite: Callable[..., Path]) -> Plan:
    """Plan of three trials with one seed."""
    return check(load_suite(write_suite(), ["seeds=[0]"]), NOWHERE)


@pytest.fixture
def folder(tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch) -> WorkFolder:
    """Working folder whose runs train nothing."""
    made = WorkFolder(tmp_path, uri)
    module = "lossbench.runner.execution"
    monkeypatch.setattr(f"{module}.ray_cluster", lambda *_: contextlib.nullcontext(made.resources))
    monkeypatch.setattr("lossbench.runner.tune_jobs.run_trials", made.run_trials)
    monkeypatch.setattr(f"{module}.POLL_SEC", 0.05)
    return made
