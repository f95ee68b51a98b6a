"""Number of trials that fit on a machine or a cluster."""

from __future__ import annotations

import pytest
import torch

from lossbench.runner.capacity import Node, capacity, this_machine
from lossbench.runner.cluster import ray_cluster
from lossbench.suite.schema import Resources


def test_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(wanted: Resources) -> tuple[str, int]:
        room = this_machine(wanted)
        return room.device, room.trials

    monkeypatch.setattr("lossbench.runner.capacity.processors", lambda: 8)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert found(Resources()) == ("cpu", 8)
    assert found(Resources(cpus=3)) == ("cpu", 2)
    assert found(Resources(cpus=2, workers=2)) == ("cpu", 2)
    assert found(Resources(cpus=100)) == ("cpu", 1)
    assert found(Resources(gpus=0.5)) == ("cpu", 1)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert found(Resources()) == ("cuda", 2)
    assert found(Resources(gpus=0.25)) == ("cuda", 8)
    assert found(Resources(gpus=0)) == ("cpu", 8)


def test_workers_of_a_trial_may_be_on_several_nodes_but_each_on_one() -> None:
    nodes = [Node(3), Node(3, 1), Node(0.5)]
    assert capacity(nodes, Resources(cpus=2, gpus=0, workers=2)).trials == 1
    assert capacity(nodes, Resources(cpus=4, gpus=0)).trials == 0
    assert capacity(nodes, Resources()).workers == 1  # `auto` is one GPU if a node has any
    assert capacity([Node(8, 1)], Resources(gpus=1 / 3)).trials == 3


@pytest.mark.parametrize("gpus", [0, 2, 3])
@pytest.mark.parametrize(
    "wanted",
    [Resources(), Resources(cpus=3), Resources(cpus=2, workers=2), Resources(gpus=0)],
)
def test_plan_and_run_count_the_same_concurrent_trials(
    gpus: int, wanted: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The forecast and Ray have the same number of concurrent trials."""
    monkeypatch.setattr("lossbench.runner.capacity.processors", lambda: 8)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr("ray.init", lambda **_: None)
    node = {"CPU": 8.0, "GPU": float(gpus), "memory": 1e9}
    monkeypatch.setattr("ray.nodes", lambda: [{"Alive": True, "Resources": node}])
    with ray_cluster("auto", wanted) as found:
        expected = this_machine(wanted)
        assert (found.device, found.gpus) == (expected.device, expected.gpus)
        assert found.concurrent == expected.trials
