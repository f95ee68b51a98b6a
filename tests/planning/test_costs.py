"""What trials will cost: from what ran, from probes, and what fits into a budget."""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from lossbench.assembly.check import check
from lossbench.cli import plan as planned
from lossbench.cli.run import confirm_long_run
from lossbench.errors import RequestError
from lossbench.planning.costs import Cost, Costs, cost_of
from lossbench.planning.plan import Plan
from lossbench.planning.trial import Trial
from lossbench.records import EpochRecord, TrialResult
from lossbench.runner.capacity import Capacity, processors
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


def test_what_ran_tells_what_its_cell_costs_and_probes_the_rest(plan: Plan) -> None:
    first, second, third, *_ = plan.trials
    results = {first.identity: result_of(first, 10), second.identity: result_of(second, 20)}
    probed: list[str] = []

    def measure(trial: Trial) -> Cost:
        probed.append(trial.row)
        return Cost(40.0, 7.0)

    costs = Costs(plan.trials, results, "cpu", measure)
    assert probed == [third.row]
    assert [costs.of(t).wall_time_sec for t in plan.trials] == pytest.approx([11, 22, 40] * 2)
    left = [t for t in plan.trials if t.identity not in results]
    forecast = costs.forecast(left, 2)
    assert forecast.work_sec == pytest.approx(40 + 11 + 22 + 40)
    assert forecast.wall_time_sec == pytest.approx(11 + 22 + 40)  # beside them the other 40
    assert (forecast.trials, forecast.basis) == (4, {"probed": 1, "ran": 2})
    assert forecast.memory_mib == 200

    assert not Costs(plan.trials, results, "another GPU")
    diverged = {first.identity: result_of(first, 1, status="diverged")}
    assert not Costs(plan.trials, diverged, "cpu")


def test_cells_that_nobody_looked_at_cost_what_the_others_do(plan: Plan) -> None:
    looks = itertools.count()
    costs = Costs(plan.trials, {}, "cpu", lambda t: Cost(8.0, 1.0), lambda: next(looks) > 0)
    assert costs.forecast(plan.trials, 1).basis == {"probed": 1, "guessed": 2}
    assert costs.forecast(plan.trials, 1).wall_time_sec == 48


def test_a_budget_takes_one_seed_everywhere_first_and_leaves_what_would_not_end(
    plan: Plan,
) -> None:
    lengths = {"softmax": 10.0, "lgm(alpha=0)": 60.0, "lgm(alpha=0.3)": 20.0}
    costs = Costs(plan.trials, {}, "cpu", lambda t: Cost(lengths[t.row], 1.0))
    chosen = costs.fitting(plan.trials, 2, 45)
    assert [(t.row, t.seed) for t in chosen] == [
        ("softmax", 0),
        ("lgm(alpha=0.3)", 0),
        ("softmax", 1),
        ("lgm(alpha=0.3)", 1),
    ]
    assert costs.fitting(plan.trials, 2, 5) == []
    assert len(costs.fitting(plan.trials, 2, 1000)) == len(plan.trials)
    costs.learn(plan.trials, {plan.trials[1].identity: result_of(plan.trials[1], 10)})
    assert plan.trials[1] in costs.fitting(plan.trials, 2, 45)


def test_a_trial_of_one_epoch_has_its_training_s_time(plan: Plan) -> None:
    one = plan.trials[0].model_copy(
        update={"recipe": plan.trials[0].recipe.model_copy(update={"epochs": 1})}
    )
    assert cost_of(result_of(one, 5)).wall_time_sec == 5


def test_a_probe_leaves_nothing_and_scales_with_the_epochs(plan: Plan) -> None:
    trial = plan.trials[1]
    long = trial.model_copy(
        update={"recipe": trial.recipe.model_copy(update={"epochs": 100 * trial.recipe.epochs})}
    )
    short_cost, long_cost = (probe(t, NOWHERE, "cpu", 0.1) for t in (trial, long))
    assert 0.01 < short_cost.wall_time_sec < 30
    assert 20 < long_cost.wall_time_sec / short_cost.wall_time_sec < 500
    assert short_cost.memory_mib > 50


def test_a_forecast_counts_in_what_other_processes_take(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lossbench.runner.probe.probe", lambda *_: Cost(3.0, 100.0))
    monkeypatch.setattr("lossbench.runner.capacity.this_machine", lambda _: Capacity(0, 1, 1))
    told = {}
    for share in (1.0, 0.25):
        monkeypatch.setattr(
            "lossbench.runner.probe.processor_share", lambda threads, share=share: share
        )
        found = planned.LocalPlanStatus(plan, plan.trials, {})
        forecast = found.forecast(found.costs(NOWHERE, 1.0), found.machine[1])
        assert forecast is not None
        assert forecast.wall_time_sec == pytest.approx(3.0 / share * len(plan.trials))
        told[share] = "\n".join(planned.format_forecast(found, forecast))
        content = json.loads(planned.as_json(found, forecast))
        assert content["forecast"]["processor_share"] == share
    assert "busy" not in told[1.0]
    assert "other processes keep this machine busy: each thread gets 25 % of a proc" in told[0.25]


def test_threads_that_compete_share_the_processors() -> None:
    assert processor_share(4 * processors(), seconds=0.3) < 0.5


def test_a_probe_is_of_an_idle_machine(plan: Plan) -> None:
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


def test_a_short_trial_is_not_probed_longer_than_it_takes(plan: Plan) -> None:
    started = time.monotonic()
    probe(plan.trials[1], NOWHERE, "cpu", seconds=3600)
    assert time.monotonic() - started < 60


def test_columns_without_room_come_in_further_tables(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"column-{k:02}" for k in range(7)]
    suite = plan.suite.model_copy(update={"variants": dict.fromkeys(names)})
    trials = [t.model_copy(update={"variant": name}) for name in names for t in plan.trials]
    found = planned.LocalPlanStatus(dataclasses.replace(plan, suite=suite), trials, {})
    planned.print_cells(Console(width=60), found)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    headings = [line for line in lines if line[0] == "row"]
    assert len(headings) > 1
    assert [name for line in headings for name in line[1:]] == names
    assert all(cell == "0/2" for line in lines if line[0] != "row" for cell in line[1:])


def test_the_table_of_cells_and_its_forecast(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(planned.LocalPlanStatus, "machine", ("cpu", 2))
    softmax, zero, *_ = plan.trials
    results = {
        softmax.identity: result_of(softmax, 3600),
        zero.identity: result_of(zero, 3600, status="diverged"),
        plan.trials[3].identity: result_of(plan.trials[3], 3600, reason="no better than guessing"),
    }
    found = planned.LocalPlanStatus(plan, plan.trials, results)
    forecast = found.forecast(found.costs(NOWHERE, 0), found.machine[1])
    assert forecast is not None
    planned.print_cells(Console(width=100), found)
    told = " ".join(planned.format_forecast(found, forecast))
    seen = capsys.readouterr().out
    assert [line.split() for line in seen.splitlines()] == [
        ["row", "done"],
        ["softmax", "2/2", "✓", "1", "no", "better", "than", "guessing"],
        ["lgm(alpha=0)", "1/2", "1", "diverged"],
        ["lgm(alpha=0.3)", "0/2"],
    ]
    assert planned.format_counts(found) == "6 trials, 3 to do"
    assert "about 2 h 12 min here (cpu, 2 at a time); 3.3 CPU-hours; up to 36,000 MiB" in told
    assert "2 guessed" in told
    content = json.loads(planned.as_json(found, forecast))
    assert content["forecast"]["wall_time_sec"] == 2 * 3960
    assert content["cells"][1]["diverged"] == 1


def test_long_work_is_asked_about(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    hours = 1.0
    results: dict[str, TrialResult] = {}

    def costs(self: planned.LocalPlanStatus, data_root: Path, probe_sec: float) -> Costs:
        return Costs(plan.trials, {}, "cpu", lambda t: Cost(3600 * hours, 1.0))

    def require(ask: Callable[[str], bool] | None) -> None:
        confirm_long_run(plan, None, NOWHERE, ask)

    monkeypatch.setattr(planned.LocalPlanStatus, "costs", costs)
    monkeypatch.setattr(planned.LocalPlanStatus, "machine", ("cpu", 2))
    require(None)  # too small to be worth a look, also at what is recorded
    monkeypatch.setattr(planned, "_SMALL", 1.0)
    monkeypatch.setattr(
        planned,
        "load_status",
        lambda plan, uri: planned.LocalPlanStatus(plan, plan.trials, results),
    )
    with pytest.raises(RequestError, match=r"6 trials will take about 3 h 0 min here; .* --yes"):
        require(None)
    asked: list[str] = []
    require(lambda text: bool(asked.append(text) or True))
    assert asked == ["6 trials will take about 3 h 0 min here. Continue?"]
    with pytest.raises(RequestError, match="nothing was started"):
        require(lambda text: False)
    results |= {t.identity: result_of(t, 1) for t in plan.trials[1:]}
    require(None)  # one trial of an hour is left
    results.clear()
    hours = 0.3
    require(None)


def test_a_trial_that_waited_at_a_rung_cost_no_more() -> None:
    times = [1000, 2000, 3000, 603_000, 604_000, 605_000]  # ten minutes for the others
    history = tuple(
        EpochRecord(epoch=epoch, timestamp_ms=at, metrics={}) for epoch, at in enumerate(times, 1)
    )
    result = TrialResult(
        identity="a", status="finished", metrics={}, history=history, wall_time_sec=5.0,
        peak_memory_mib=1.0, device="cpu", environment={},
    )  # fmt: skip
    assert cost_of(result).wall_time_sec == pytest.approx(6.0)
