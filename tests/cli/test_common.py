"""Loading of plans, shared by the commands with a suite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lossbench.cli.common import load_plan, load_results
from lossbench.tracking.store import Tracker
from tests.cli.conftest import Store

Write = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]


def test_a_changed_suite_has_its_own_file_in_mlflow(
    run: Run, write_suite: Write, store: Store, tmp_path: Path
) -> None:
    suite = write_suite()
    store(suite)
    [whole] = Path("mlartifacts/small").glob("*/artifacts/suite.yaml")
    before = whole.read_text(encoding="utf-8")
    Tracker.open(None).start_suite(load_plan(suite, [], "lgm", "5", tmp_path, []), {})
    [narrowed] = Path("mlartifacts/small").glob("*/artifacts/suite@*")
    assert narrowed.parent != whole.parent  # each label has a run of its own
    assert whole.read_text(encoding="utf-8") == before
    assert narrowed.name == "suite@only=lgm+seeds=5.yaml"
    assert "seeds: [5]" in narrowed.read_text(encoding="utf-8")


def test_results_keep_the_plan_with_its_trials(
    run: Run, write_suite: Write, store: Store, tmp_path: Path
) -> None:
    suite = write_suite()
    store(suite)
    plan = load_plan(suite, [], None, None, tmp_path, [])
    assert load_results(plan, None)[0].plan is plan
    fewer = load_plan(suite, [], None, "0", tmp_path, [])
    found, _ = load_results(fewer, None)
    assert found.plan is not fewer
    assert found.plan.more_seeds == (1,)
