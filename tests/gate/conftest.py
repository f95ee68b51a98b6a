"""Fixture: a baseline file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gate.files import BODY, STEADY, Fill, MakePlan, update


@pytest.fixture
def written(make_plan: MakePlan, fill: Fill, tmp_path: Path) -> Path:
    """A baseline file of `STEADY`."""
    path = tmp_path / "baselines" / "synthetic.json"
    update(make_plan(BODY), fill(make_plan(BODY), STEADY), path)
    return path
