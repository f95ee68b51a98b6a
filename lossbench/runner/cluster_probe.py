"""Prober that runs on a node of a Ray cluster."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayTaskError

from lossbench.assembly.plugins import install
from lossbench.planning.costs import Cost
from lossbench.planning.trial import Trial
from lossbench.records import Plugin
from lossbench.runner.cluster import TrialResources
from lossbench.runner.environment import device_name
from lossbench.runner.file_server import running_file_server
from lossbench.runner.node_data import data_root_of
from lossbench.runner.probe import probe
from lossbench.runner.prober import Prober


class ProbeActor:
    """Actor that probes trials on its node, with the resources of a worker.

    Args:
        config: `data_root`, `device`, `plugins`, `file_server`.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config
        install(Plugin.model_validate(plugin) for plugin in config["plugins"])

    def device_name(self) -> str:
        return device_name(self._config["device"])

    def probe(self, trial_json: str, seconds: float) -> Cost:
        trial = Trial.model_validate_json(trial_json)
        data_root = data_root_of(trial, self._config)
        return probe(trial, data_root, self._config["device"], seconds)


@contextlib.contextmanager
def cluster_prober(
    resources: TrialResources, data_root: Path, work: Path, plugins: Sequence[Plugin]
) -> Iterator[Prober]:
    """Prober for the connected cluster.

    Args:
        resources: Resources of a trial.
        data_root: The driver's data root; for other nodes see `node_data`.
        work: Working folder of the run.
        plugins: Files that register components of the trials.
    """
    storage = work / "ray" / f"probe-{time.time_ns()}"
    config: dict[str, Any] = {
        "data_root": str(data_root.resolve()),
        "device": resources.device,
        "storage": str(storage.resolve()),
        "checkpoints": str((work / "checkpoints").resolve()),
        "plugins": [plugin.model_dump() for plugin in plugins],
    }
    try:
        with running_file_server(config) as config["file_server"]:
            actor: Any = (
                ray.remote(ProbeActor)
                .options(num_cpus=resources.cpus, num_gpus=resources.gpus)
                .remote(config)
            )
            try:
                name = str(_result(actor.device_name.remote()))

                def measure(trial: Trial, seconds: float) -> Cost:
                    cost: Cost = _result(actor.probe.remote(trial.model_dump_json(), seconds))
                    return cost

                yield Prober(name, measure)
            finally:
                with contextlib.suppress(Exception):  # the cluster may be gone
                    ray.kill(actor)
    finally:
        shutil.rmtree(storage, ignore_errors=True)


def _result(reference: Any) -> Any:
    """Wait for a remote call; raise its own error, without Ray's traceback around it."""
    try:
        return ray.get(reference)
    except RayTaskError as error:
        raise error.cause from None
