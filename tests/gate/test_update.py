"""Updates of a baseline file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lossbench.errors import RequestError
from lossbench.gate.baseline_file import read_baseline
from lossbench.planning.plan import Plan
from tests.gate.files import BODY, STEADY, Fill, MakePlan, update
from tests.report.synthetic_report import GRID, HEAD, Results, with_own_metric


def test_an_update_weakens_the_baseline_only_if_accepted(
    written: Path, make_plan: MakePlan, fill: Fill
) -> None:
    plan = make_plan(BODY)
    before = written.read_text(encoding="utf-8")

    def refused(results: Results, *min_effects: str, plan: Plan = plan) -> list[str]:
        with pytest.raises(RequestError, match="the new baseline would be weaker") as caught:
            update(plan, results, written, *min_effects)
        assert written.read_text(encoding="utf-8") == before
        return [line.strip() for line in str(caught.value).splitlines()[1:-1]]

    slightly = fill(plan, {**STEADY, "B/center": [5.0, 5.21, 5.5], "A/softmax": [1.0, 1.0, 1.0]})
    assert refused(slightly) == ["B/center error: 5.20 in the baseline, 5.24 now"]
    diverged = fill(plan, {**STEADY, "B/center": [5.0, 5.1, float("nan")]})
    assert refused(diverged) == ["B/center error: 0 diverged in the baseline, 1 now"]
    assert refused(fill(plan, STEADY), "error=0.6") == [
        "metrics: error.min_effect: 0.5 in the baseline, 0.6 now"
    ]
    fewer = make_plan(BODY + "seeds: [0, 1]")
    [line] = refused(fill(fewer, STEADY), plan=fewer)
    assert line.startswith("A/softmax error, ")
    assert line.endswith(" and 5 more: 3 seeds in the baseline, 2 now")
    smaller = make_plan(BODY.replace(", center", ""))
    removed = refused(fill(smaller, STEADY), plan=smaller)
    assert removed == ["A/center error, B/center error: removed"]
    other = make_plan(BODY, HEAD.replace("epochs: 8", "epochs: 3"))
    assert refused(fill(other, STEADY), plan=other) == ["recipe.epochs: 8 in the baseline, 3 now"]

    messages = update(plan, slightly, written, "error=0.4", accept=True)
    assert messages[1:] == ["accepted: B/center error: 5.20 in the baseline, 5.24 now"]
    new = read_baseline(written)
    assert new.metric_by_name["error"].min_effect == 0.4
    assert new.cells[0].values == [1.0, 1.0, 1.0]


def test_an_update_of_some_cells_keeps_the_others(
    written: Path, make_plan: MakePlan, fill: Fill
) -> None:
    plan = make_plan(BODY)
    old = read_baseline(written)
    results = fill(plan, {**STEADY, "B/center": [4.0, 4.2, 4.3], "A/softmax": [1.0, 1.0, 1.0]})
    update(plan, results, written, only="B/center")
    new = read_baseline(written)
    changed = [a.name for a, b in zip(old.cells, new.cells, strict=True) if a != b]
    assert changed == ["B/center"]
    assert new.conditions == old.conditions

    other = make_plan(BODY, HEAD.replace("epochs: 8", "epochs: 3"))
    with pytest.raises(RequestError, match="the other cells cannot be kept"):
        update(other, fill(other, STEADY), written, only="B/center", accept=True)


@pytest.mark.parametrize("text", ["error", "error=x", "error=0", "=1", "error=nan", "error=inf"])
def test_min_effects_are_numbers_above_0(
    make_plan: MakePlan, fill: Fill, tmp_path: Path, text: str
) -> None:
    plan, path = make_plan(BODY), tmp_path / "new.json"
    with pytest.raises(RequestError, match="should be METRIC=NUMBER"):
        update(plan, fill(plan, STEADY), path, text)
    with pytest.raises(RequestError, match="unknown metric; did you mean 'error'"):
        update(plan, fill(plan, STEADY), path, "eror=1")
    assert not path.exists()


def test_only_percentages_have_a_default_minimum_effect(
    make_plan: MakePlan, tmp_path: Path
) -> None:
    plan, results = with_own_metric(make_plan(BODY), "s", 1e-9)
    path = tmp_path / "baseline.json"
    with pytest.raises(RequestError, match=r"--min-effect mine=NUMBER is required: .*, in s\n"):
        update(plan, results, path)
    assert not path.exists()
    update(plan, results, path, "mine=1e-10")
    assert read_baseline(path).metric_by_name["mine"].min_effect == 1e-10


def test_a_new_baseline_takes_the_minimum_effects_of_the_suite(
    make_plan: MakePlan, fill: Fill, tmp_path: Path
) -> None:
    plan, path = make_plan(BODY + "min_effect: {error: 0.3}\n"), tmp_path / "new.json"
    results = fill(plan, STEADY)

    def written_with(*given: str, plan: Plan = plan) -> float:
        update(plan, results, path, *given, accept=True)
        return read_baseline(path).metric_by_name["error"].min_effect

    assert written_with() == 0.3
    assert written_with(plan=make_plan(BODY + "min_effect: {error: 0.7}\n")) == 0.3  # its own stays
    assert written_with("error=0.8") == 0.8
    assert written_with() == 0.8
    path.unlink()
    assert written_with("error=0.8") == 0.8
    path.unlink()
    assert written_with(plan=make_plan(BODY)) == 0.5


def test_the_held_out_metric_has_the_minimum_effect_of_its_metric(
    make_plan: MakePlan, run_all: Callable[[Plan], Results], tmp_path: Path
) -> None:
    plan, path = make_plan(GRID + "min_effect: {error: 0.3}\n"), tmp_path / "new.json"
    update(plan, run_all(plan), path)
    assert {m.name: m.min_effect for m in read_baseline(path).metrics} == {
        "holdout_error": 0.3,
        "error": 0.3,
    }


def test_a_metric_without_a_default_takes_the_minimum_effect_of_the_suite(
    make_plan: MakePlan, tmp_path: Path
) -> None:
    plan, results = with_own_metric(make_plan(BODY), "s", 1e-9)
    suite = plan.suite.model_copy(update={"min_effect": {"mine": 1e-10}})
    path = tmp_path / "baseline.json"
    update(replace(plan, suite=suite), results, path)
    assert read_baseline(path).metric_by_name["mine"].min_effect == 1e-10
