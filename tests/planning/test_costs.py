"""Costs of trials from results and probes, and selection of trials for a budget."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lossbench.assembly.check import check
from lossbench.planning.costs import Cost, Costs, cost_of
from lossbench.planning.plan import Plan
from lossbench.planning.trial import Trial
from lossbench.records import EpochRecord, TrialResult
from lossbench.runner.capacity import processors
from lossbench.runner.probe import probe, processor_share
from lossbench.suite.load import load_suite

Write = Callable[..., Path]
NOWHERE = Path("/nonexistent/data")


@pytest.fixture
def plan(write_suite: Write) -> Plan:
    """Two seeds of softmax and two rows of L-GM."""
    return check(load_suite(write_suite()), NOWHERE)


def result_of(trial: Trial, seconds: float, **changes: object) -> TrialResult:
    """An epoch takes a tenth longer than its training, for the measurement after it."""
    epochs = trial.recipe.epochs
    history = tuple(
        EpochRecord(epoch=k, timestamp_ms=int(1100 * seconds / epochs * k), metrics={})
        for k in range(1, epochs + 1)
    )
    content = {
        "identity": trial.identity,
        "status": "finished",
        "metrics": {"error": 1.0},
        "history": history,
        "wall_time_sec": seconds,
        "peak_memory_mib": 10 * seconds,
        "device": "cpu",
        "environment": {},
    }
    return TrialResult.model_validate(content | changes)


def test_cells_with_results_are_not_probed(plan: Plan) -> None:
    first, second, third, *_ = plan.trials
    results = {first.identity: result_of(first, 10), second.identity: result_of(second, 20)}
    probed: list[str] = []

    def measure(trial: Trial) -> Cost:
        probed.append(trial.row)
        return Cost(40.0, 7.0)

    costs = Costs(plan.trials, results, "cpu", measure)
    assert probed == [third.row]
    assert [costs.cost_of_trial(t).wall_time_sec for t in plan.trials] == pytest.approx(
        [11, 22, 40] * 2
    )
    left = [t for t in plan.trials if t.identity not in results]
    forecast = costs.forecast(left, 2)
    assert forecast.work_sec == pytest.approx(40 + 11 + 22 + 40)
    assert forecast.wall_time_sec == pytest.approx(
        11 + 22 + 40
    )  # the other trial of 40 s runs at the same time
    assert (forecast.trials, forecast.basis) == (4, {"probed": 1, "ran": 2})
    assert forecast.memory_mib == 200

    assert not Costs(plan.trials, results, "another GPU")
    diverged = {first.identity: result_of(first, 1, status="diverged")}
    assert not Costs(plan.trials, diverged, "cpu")


def test_costs_of_unknown_cells_are_guessed_from_others(plan: Plan) -> None:
    looks = itertools.count()
    costs = Costs(plan.trials, {}, "cpu", lambda t: Cost(8.0, 1.0), lambda: next(looks) > 0)
    assert costs.forecast(plan.trials, 1).basis == {"probed": 1, "guessed": 2}
    assert costs.forecast(plan.trials, 1).wall_time_sec == 48


def test_a_budget_selects_trials_that_end_in_time(
    plan: Plan,
) -> None:
    lengths = {"softmax": 10.0, "lgm(alpha=0)": 60.0, "lgm(alpha=0.3)": 20.0}
    costs = Costs(plan.trials, {}, "cpu", lambda t: Cost(lengths[t.row], 1.0))
    chosen = costs.select_within(plan.trials, 2, 45)
    assert [(t.row, t.seed) for t in chosen] == [
        ("softmax", 0),
        ("lgm(alpha=0.3)", 0),
        ("softmax", 1),
        ("lgm(alpha=0.3)", 1),
    ]
    assert costs.select_within(plan.trials, 2, 5) == []
    assert len(costs.select_within(plan.trials, 2, 1000)) == len(plan.trials)
    costs.add_results(plan.trials, {plan.trials[1].identity: result_of(plan.trials[1], 10)})
    assert plan.trials[1] in costs.select_within(plan.trials, 2, 45)


def test_cost_of_a_trial_of_one_epoch_is_its_training_time(plan: Plan) -> None:
    one = plan.trials[0].model_copy(
        update={"recipe": plan.trials[0].recipe.model_copy(update={"epochs": 1})}
    )
    assert cost_of(result_of(one, 5)).wall_time_sec == 5


def test_a_probe_saves_nothing_and_scales_with_the_epochs(plan: Plan) -> None:
    trial = plan.trials[1]
    long = trial.model_copy(
        update={"recipe": trial.recipe.model_copy(update={"epochs": 100 * trial.recipe.epochs})}
    )
    short_cost, long_cost = (probe(t, NOWHERE, "cpu", 0.1) for t in (trial, long))
    assert 0.01 < short_cost.wall_time_sec < 30
    assert 20 < long_cost.wall_time_sec / short_cost.wall_time_sec < 500
    assert short_cost.memory_mib > 50


def test_competing_threads_share_the_processors() -> None:
    assert processor_share(4 * processors(), seconds=0.3) < 0.5


def test_a_probe_estimates_the_time_on_an_idle_machine(plan: Plan) -> None:
    """Busy processes next to it change its wall time, not what it says."""
    costs = []
    for busy in (0, 2 * processors()):
        command = [sys.executable, "-c", "while True: pass"]
        started = [subprocess.Popen(command) for _ in range(busy)]
        try:
            costs.append(probe(plan.trials[1], NOWHERE, "cpu", 0.1).wall_time_sec)
        finally:
            for process in started:
                process.kill()
                process.wait()
    assert costs[1] < 3 * costs[0]


def test_probing_does_not_take_longer_than_a_short_trial(plan: Plan) -> None:
    started = time.monotonic()
    probe(plan.trials[1], NOWHERE, "cpu", seconds=3600)
    assert time.monotonic() - started < 60


def test_waiting_at_a_rung_does_not_increase_the_cost() -> None:
    times = [1000, 2000, 3000, 603_000, 604_000, 605_000]  # ten minutes for the others
    history = tuple(
        EpochRecord(epoch=epoch, timestamp_ms=at, metrics={}) for epoch, at in enumerate(times, 1)
    )
    result = TrialResult(
        identity="a", status="finished", metrics={}, history=history, wall_time_sec=5.0,
        peak_memory_mib=1.0, device="cpu", environment={},
    )  # fmt: skip
    assert cost_of(result).wall_time_sec == pytest.approx(6.0)


def test_one_point_of_a_tuned_learning_rate_is_timed(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(
        "suite: tuned\ndataset: digits\nmodel: {name: digits_cnn, feature_dim: 2}\n"
        "recipe: {epochs: 2, batch_size: 64, optimizer: {name: sgd, lr: 0.05}}\n"
        "losses: [softmax, center]\nselection: {holdout: 0.2}\n"
        "tune: {recipe.optimizer.lr: {grid: [0.01, 0.1]}, recipe.epochs: {grid: [2, 6]}}\n",
        encoding="utf-8",
    )
    plan, probed = check(load_suite(path), NOWHERE), []

    def seconds(trial: Trial) -> Cost:
        probed.append((trial.loss.name, trial.recipe.epochs))
        return Cost({"softmax": 10.0, "center": 20.0}[trial.loss.name], 100.0)

    costs = Costs(plan.trials, {}, "cpu", seconds)
    assert probed == [("softmax", 2), ("center", 2)]
    for trial in plan.trials:
        expected = {"softmax": 10.0, "center": 20.0}[trial.loss.name] * trial.recipe.epochs / 2
        assert costs.cost_of_trial(trial).wall_time_sec == expected


def test_each_precision_is_probed_first_and_guesses_are_of_the_same_precision(
    write_suite: Write,
) -> None:
    """Two columns of each precision; the time for probes suffices for two of their cells."""
    columns = (
        "a: {}\n  b: {model: {feature_dim: 3}}\n"
        "  c: {recipe: {precision: bfloat16}}\n"
        "  d: {recipe: {precision: bfloat16}, model: {feature_dim: 3}}\n"
    )
    path = write_suite()
    path.write_text(path.read_text(encoding="utf-8") + f"variants:\n  {columns}", encoding="utf-8")
    plan = check(load_suite(path), NOWHERE)
    probed: list[str] = []

    def measure(trial: Trial) -> Cost:
        probed.append(trial.variant)
        return Cost(10.0 if trial.recipe.precision == "float32" else 110.0, 1.0)

    costs = Costs(plan.trials, {}, "cpu", measure, lambda: len(probed) == 2)
    assert sorted(probed) == ["a", "c"]
    guessed = {t.variant: costs.cost_of_trial(t).wall_time_sec for t in plan.trials}
    assert guessed == {"a": 10.0, "b": 10.0, "c": 110.0, "d": 110.0}
