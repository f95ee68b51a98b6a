"""Output of `lossbench plan`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from lossbench.assembly.check import check
from lossbench.cli import plan_output
from lossbench.cli.local_status import LocalPlanStatus
from lossbench.cli.until_decided import ExpectedRounds
from lossbench.planning.costs import Cost
from lossbench.planning.plan import Plan
from lossbench.planning.trial import Trial
from lossbench.runner.capacity import Capacity
from lossbench.suite.load import load_suite
from lossbench.suite.schema import Variant
from tests.planning.test_costs import NOWHERE, result_of

Write = Callable[..., Path]


@pytest.fixture
def plan(write_suite: Write) -> Plan:
    """Two seeds of softmax and two rows of L-GM."""
    return check(load_suite(write_suite()), NOWHERE)


def test_a_forecast_includes_the_load_of_other_processes(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lossbench.runner.prober.probe", lambda *_: Cost(3.0, 100.0))
    monkeypatch.setattr("lossbench.runner.capacity.this_machine", lambda _: Capacity(0, 1, 1))
    shown = {}
    for share in (1.0, 0.25):
        monkeypatch.setattr(
            "lossbench.runner.probe.processor_share", lambda threads, share=share: share
        )
        found = LocalPlanStatus(plan, plan.trials, {})
        forecast = found.forecast(found.costs(NOWHERE, 1.0), found.machine[1])
        assert forecast is not None
        assert forecast.wall_time_sec == pytest.approx(3.0 / share * len(plan.trials))
        shown[share] = "\n".join(plan_output.format_forecast(found, forecast))
        content = json.loads(plan_output.as_json(found, forecast))
        assert content["forecast"]["processor_share"] == share
    assert "busy" not in shown[1.0]
    assert "other processes keep this machine busy: each thread gets 25 % of a proc" in shown[0.25]


def test_a_forecast_says_which_added_seeds_it_includes(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalPlanStatus, "machine", ("cpu", 1))
    trained = plan.trials[:2]
    results = {trial.identity: result_of(trial, 60) for trial in trained}
    found = LocalPlanStatus(plan, plan.trials, results)

    def shown(further: list[Trial], trainings: int | None) -> str:
        status = dataclasses.replace(found, further=further)
        forecast = status.forecast(status.costs(NOWHERE, 0), 1)
        assert forecast is not None
        rounds = ExpectedRounds(status, trainings, 30, 10)
        return " ".join(plan_output.format_forecast(status, forecast, rounds))

    unknown, expected, none = shown(plan.trials, None), shown(plan.trials, 12), shown([], 6)
    assert unknown.startswith("at most about ")
    assert "includes all trials that may follow; excludes start-up" in unknown
    assert expected.startswith("about ")
    assert "includes the trials that are expected to follow; excludes" in expected
    assert none.startswith("about ")
    assert "includes" not in none


def test_columns_that_do_not_fit_are_in_further_tables(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"column-{k:02}" for k in range(7)]
    suite = plan.suite.model_copy(update={"variants": dict.fromkeys(names, Variant())})
    trials = [t.model_copy(update={"variant": name}) for name in names for t in plan.trials]
    found = LocalPlanStatus(dataclasses.replace(plan, suite=suite), trials, {})
    plan_output.print_cells(Console(width=60), found)
    shown = capsys.readouterr().out
    lines = [line.split() for line in shown.splitlines() if line]
    headings = [line for line in lines if line[0] == "row"]
    assert len(headings) > 1
    assert len(headings) == 1 + shown.count("\n\n")
    words = [word for line in headings for word in line[1:]]
    assert words == [word for name in names for word in (name, "trained", "measured")]
    assert all(cell == "0/2" for line in lines if line[0] != "row" for cell in line[1:])


def test_of_many_columns_those_with_something_left_are_printed(
    plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"column-{k:02}" for k in range(12)]
    suite = plan.suite.model_copy(update={"variants": dict.fromkeys(names, Variant())})
    trials = [
        trial.model_copy(update={"variant": name, "seed": trial.seed + 100 * k})
        for k, name in enumerate(names)
        for trial in plan.trials
    ]
    finished = [t for t in trials if t.variant not in ("column-05", "column-11")]
    results = {trial.identity: result_of(trial, 60) for trial in finished}
    found = LocalPlanStatus(dataclasses.replace(plan, suite=suite), trials, results)
    plan_output.print_cells(Console(width=60), found)
    shown = capsys.readouterr().out
    printed = [name for name in names if f"{name} trained" in shown]
    assert printed == [*names[:7], names[11]]
    count = len(finished) - 6 * len(plan.trials)
    assert shown.splitlines()[-1] == (
        f"and 4 other columns: {count} of {count} trials trained, {count} measured; "
        "--only 'COLUMN/*' prints one of them"
    )


def test_columns_are_listed_with_what_differs(
    write_suite: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    adamw = "{recipe: {batch_size: 128, optimizer: {name: adamw, lr: 0.003}}}"
    variants = f"variants: {{base: {{}}, with adamw: {adamw}}}\n"
    path = write_suite(("seeds:", f"{variants}seeds:"))
    plan_output.print_columns(Console(width=50), check(load_suite(path), NOWHERE))
    title, *lines = capsys.readouterr().out.splitlines()
    assert title == "columns:"
    assert all(len(line) <= 50 for line in lines)
    assert lines[0].startswith("  base        recipe.batch_size")
    starts = [
        index for index, line in enumerate(lines) if line.startswith("  with adamw  as base, but ")
    ]
    assert len(starts) == 1
    assert all(line.startswith(" " * 14) for line in lines[starts[0] + 1 :])
    plan_output.print_columns(Console(width=50), check(load_suite(write_suite()), NOWHERE))
    assert capsys.readouterr().out == ""


def test_the_table_of_cells_and_its_forecast(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(LocalPlanStatus, "machine", ("cpu", 2))
    softmax, zero, *_ = plan.trials
    results = {
        softmax.identity: result_of(softmax, 3600),
        zero.identity: result_of(zero, 3600, status="diverged"),
        plan.trials[3].identity: result_of(plan.trials[3], 3600, reason="no better than guessing"),
    }
    found = LocalPlanStatus(plan, plan.trials, results)
    forecast = found.forecast(found.costs(NOWHERE, 0), found.machine[1])
    assert forecast is not None
    plan_output.print_cells(Console(width=100), found)
    shown = " ".join(plan_output.format_forecast(found, forecast))
    seen = capsys.readouterr().out
    assert [line.split() for line in seen.splitlines()] == [
        ["row", "trained", "measured"],
        ["softmax", "2/2", "✓,", "1", "no", "better", "than", "guessing", "2/2"],
        ["lgm(alpha=0)", "1/2,", "1", "diverged", "1/2"],
        ["lgm(alpha=0.3)", "0/2", "0/2"],
    ]
    assert plan_output.format_counts(found) == "6 trials, 3 to train, 0 to measure"
    assert "about 2 h 12 min here (cpu, 2 at a time); 3.3 CPU-hours; up to 36,000 MiB" in shown
    assert "2 estimated from the others" in shown
    content = json.loads(plan_output.as_json(found, forecast))
    assert content["forecast"]["wall_time_sec"] == 2 * 3960
    assert content["cells"][1]["diverged"] == 1
    assert (content["to_train"], content["to_measure"]) == (3, 0)


def test_trained_trials_that_lack_an_evaluation_are_shown(
    plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, *_ = plan.trials
    lacking = result_of(second, 60).model_copy(update={"unmeasured": ("fgsm", "knn")})
    results = {first.identity: result_of(first, 60), second.identity: lacking}
    found = LocalPlanStatus(plan, plan.trials, results)
    plan_output.print_cells(Console(width=100), found)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1:] == [
        ["softmax", "1/2", "1/2"],
        ["lgm(alpha=0)", "1/2", "0/2"],
        ["lgm(alpha=0.3)", "0/2", "0/2"],
    ]
    plan_output.print_trials(Console(width=100), found)
    lines = [line.split()[4:] for line in capsys.readouterr().out.splitlines()]
    assert lines[:4] == [
        ["trained", "measured"],
        ["finished", "all"],
        ["finished", "lacks", "fgsm,", "knn"],
        ["to", "train", "–"],
    ]
    assert plan_output.format_counts(found) == "6 trials, 4 to train, 1 to measure"
    content = json.loads(plan_output.as_json(found, None))
    assert (content["to_train"], content["to_measure"]) == (4, 1)
    assert [(c["finished"], c["measured"]) for c in content["cells"]] == [(1, 1), (1, 0), (0, 0)]


def test_points_of_a_tuned_entry_share_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(
        "suite: small\ndataset: digits\nmodel: {name: digits_cnn, feature_dim: 2}\n"
        "recipe: {epochs: 1, batch_size: 64, optimizer: {name: sgd, lr: 0.1}}\n"
        "losses: [softmax, lgm: {label: ours}]\nseeds: [0, 1]\nselection: {holdout: 0.2}\n"
        "tune: {recipe.optimizer.lr: {grid: [0.1, 0.2, 0.3]}}\n",
        encoding="utf-8",
    )
    plan = check(load_suite(path), tmp_path)
    plan_output.print_cells(Console(width=60), LocalPlanStatus(plan, plan.trials, {}))
    lines = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()]
    assert lines == ["row", "softmax, all points", "ours, all points"]
