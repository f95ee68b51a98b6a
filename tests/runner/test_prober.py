"""Probing on the device of the run: a GPU in another process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch

from lossbench.errors import DataError, LossbenchError
from lossbench.planning.costs import Cost
from lossbench.planning.plan import Plan
from lossbench.planning.trial import Trial
from lossbench.runner.prober import Prober, local_prober, measured_costs
from tests.runner.fake_runs import NOWHERE, result_of

FAKE_GPU = """
import os, time
import torch
from lossbench.errors import DataError, ParameterError, Problem
from lossbench.planning.costs import Cost
from lossbench.runner import prober

def probe(trial, data_root, device, seconds):
    assert device == "cuda"
    if trial.seed == 1:
        raise DataError("the data are elsewhere")
    if trial.seed == 2:
        raise ParameterError("sgd", [Problem(("lr",), "is missing")])
    if trial.seed == 3:
        os._exit(7)
    if trial.seed == 4:
        time.sleep(600)
    return Cost(seconds, os.getpid())

prober.probe = probe
prober.device_name = lambda device: "Fake GPU 9000"
"""
"""Code of a child process, in place of a GPU."""


@pytest.fixture
def fake_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated GPU in child processes; in this process, its use is an error."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(FAKE_GPU, encoding="utf-8")
    path = os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)

    def touched(*_: object) -> None:
        raise AssertionError("CUDA is initialised in the driver")

    for name in ("_lazy_init", "init", "get_device_name", "get_device_properties"):
        monkeypatch.setattr(torch.cuda, name, touched)


def seeded(plan: Plan, seed: int) -> Trial:
    return plan.trials[0].model_copy(update={"seed": seed})


@pytest.mark.long
def test_a_gpu_is_probed_in_another_process_which_ends(plan: Plan, fake_gpu: None) -> None:
    with local_prober("cuda", NOWHERE, ()) as prober:
        assert prober.device_name == "Fake GPU 9000"
        costs = [prober(trial, 0.25) for trial in plan.trials]
    assert {cost.wall_time_sec for cost in costs} == {0.25}
    [process_id] = {int(cost.memory_mib) for cost in costs}
    assert process_id != os.getpid()
    assert not psutil.pid_exists(process_id)
    assert not torch.cuda.is_initialized()


@pytest.mark.long
@pytest.mark.parametrize(
    ("seed", "kind", "message"),
    [
        (1, DataError, "the data are elsewhere"),
        (2, LossbenchError, "ParameterError: sgd: lr: is missing"),  # it cannot be unpickled
        (3, LossbenchError, r"the process that probes the trials has died \(exit code 7\)"),
    ],
)
def test_an_error_in_the_probing_process_is_raised_in_the_parent(
    plan: Plan, fake_gpu: None, seed: int, kind: type[Exception], message: str
) -> None:
    with local_prober("cuda", NOWHERE, ()) as prober, pytest.raises(kind, match=message):
        prober(seeded(plan, seed), 1.0)


@pytest.mark.long
def test_ctrl_c_ends_a_probe_and_its_process(plan: Plan, fake_gpu: None) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    started = time.monotonic()

    def probe_until_interrupted() -> None:
        with local_prober("cuda", NOWHERE, ()) as prober:
            timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
            timer.start()
            prober(seeded(plan, 4), 600)

    try:
        with pytest.raises(KeyboardInterrupt):
            probe_until_interrupted()
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - started < 300
    assert multiprocessing.active_children() == []


def test_a_cpu_is_probed_in_this_process(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "lossbench.runner.prober.probe", lambda trial, root, device, sec: Cost(sec, os.getpid())
    )
    with local_prober("cpu", NOWHERE, ()) as prober:
        assert prober(plan.trials[0], 2.0) == Cost(2.0, os.getpid())
        assert prober.device_name == "cpu"


def test_costs_come_from_results_of_the_device_or_else_from_probes(plan: Plan) -> None:
    probed: list[tuple[str, float]] = []

    def measure(trial: Trial, seconds: float) -> Cost:
        probed.append((trial.row, seconds))
        return Cost(30.0, 1.0)

    first, second, third = plan.trials
    results = {
        first.identity: result_of(first, device="Fake GPU 9000"),
        second.identity: result_of(second, device="cpu"),
    }
    prober = Prober("Fake GPU 9000", measure)
    costs = measured_costs(plan.trials, results, prober, 5.0, lambda: 0.5)
    assert probed == [(third.row, 5.0), (second.row, 5.0)]
    assert [costs.cost_of_trial(trial).wall_time_sec for trial in plan.trials] == [1.0, 60.0, 60.0]


def test_probing_ends_after_its_time(plan: Plan) -> None:
    probed: list[str] = []

    def measure(trial: Trial, seconds: float) -> Cost:
        probed.append(trial.row)
        time.sleep(0.02)
        return Cost(30.0, 1.0)

    measured_costs(plan.trials, {}, Prober("cpu", measure), 0.01)
    assert len(probed) == 1
    measured_costs(plan.trials, {}, Prober("cpu", measure), 0.0)
    assert len(probed) == 1
