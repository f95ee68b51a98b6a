"""Ray cluster for the trials: started on this machine, or an existing one."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import lossbench
from lossbench.errors import LossbenchError, RequestError
from lossbench.errors.redaction import redacted
from lossbench.runner.capacity import Node, capacity
from lossbench.runner.ray_files import ray_options
from lossbench.suite.schema import Resources

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
"""Ray's environment variables: no extra loggers, no hints, no usage statistics."""

DRIVER_ONLY = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
)
"""Variables that are hidden from Ray's processes: only the driver connects to MLflow."""


@dataclass(frozen=True)
class TrialResources:
    """Resources of each trial on the cluster, and the number of trials that fit.

    Attributes:
        cpus, gpus: Numbers per worker; `gpus` may be a fraction.
        workers: Number of workers per trial.
        concurrent: Number of trials that fit on the cluster at once.
        attached: Whether the cluster was running before. Its nodes may have no common file system.
    """

    cpus: float
    gpus: float
    workers: int
    concurrent: int
    attached: bool = False

    @property
    def device(self) -> str:
        return "cuda" if self.gpus else "cpu"


@contextlib.contextmanager
def ray_cluster(address: str | None, resources: Resources) -> Iterator[TrialResources]:
    """Start Ray on this machine, or attach to a running cluster; shut down or detach at the end.

    Args:
        address: Address of a running cluster; None: start Ray on this machine.
        resources: Resources of a trial.

    Raises:
        RequestError: The cluster cannot be reached, none of its nodes has the resources of a trial,
            or no folder has room for Ray's files.
        LossbenchError: Ray does not start.
    """
    # ray reads environment variables on import; later changes have no effect
    fresh = "ray" not in sys.modules
    os.environ.update({key: os.environ.get(key, value) for key, value in QUIET.items()})
    if address is None and fresh and "RAY_AUTH_MODE" not in os.environ:
        # without a token, every user of this machine could run code on the cluster
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    options = {} if address else ray_options()
    import ray

    if address is None:
        try:
            with _secrets_withheld():
                _init(
                    address="local",
                    _node_ip_address="127.0.0.1",  # not reachable from the network
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    **options,
                )
        except Exception as error:  # ray raises this class itself
            first = str(error).partition("\n")[0]
            raise LossbenchError(f"Ray could not be started: {first}") from error
    else:
        _attach(address)
    try:
        yield replace(_trial_resources(resources), attached=address is not None)
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _secrets_withheld() -> Iterator[None]:
    """Hide MLflow's credentials from Ray's processes and from its list of jobs.

    Ray copies the environment to its workers, and the command line of the driver to a list of jobs
    that every user of the cluster can read.
    """
    from ray._private import utils

    command: Callable[[], str] = utils.get_entrypoint_name
    withheld = {name: os.environ.pop(name) for name in DRIVER_ONLY if name in os.environ}
    utils.get_entrypoint_name = lambda: redacted(command())  # there is no public way
    try:
        yield
    finally:
        utils.get_entrypoint_name = command
        os.environ.update(withheld)


def _init(**options: Any) -> None:
    """Call `ray.init`, but keep the handler of SIGTERM: with Ray's handler the process aborts."""
    import ray
    from ray._private import utils

    handler, install = signal.getsignal(signal.SIGTERM), utils.set_sigterm_handler
    utils.set_sigterm_handler = lambda _: None  # there is no public way
    try:
        ray.init(**options)
    finally:
        utils.set_sigterm_handler = install
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _attach(address: str) -> None:
    from ray.exceptions import AuthenticationError

    host, _, port = address.rpartition(":")
    listens = False
    try:
        if host and port.isdigit():  # ray itself would wait for minutes
            socket.create_connection((host, int(port)), timeout=5).close()
            listens = True
        with _secrets_withheld():
            _init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"py_modules": [lossbench]},  # other nodes may not have the package
            )
    except AuthenticationError:
        message = (
            "RAY_AUTH_MODE is token, but neither RAY_AUTH_TOKEN nor RAY_AUTH_TOKEN_PATH is set"
        )
        raise RequestError(f"--address {address}: {message}") from None
    except (OSError, ConnectionError, ValueError, RuntimeError) as error:
        first = str(error).partition("\n")[0]
        if listens:  # ray writes the reason only to its log
            first += "; if it requires a token, set RAY_AUTH_MODE=token and its RAY_AUTH_TOKEN"
        raise RequestError(f"--address {address}: no Ray cluster there: {first}") from None


def _trial_resources(wanted: Resources) -> TrialResources:
    import ray

    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    nodes = [Node(node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in alive]
    found = capacity(nodes, wanted)
    if not found.workers:  # ray would wait forever
        raise RequestError(
            f"resources: a trial needs {wanted.cpus} CPUs and {found.gpus:g} GPUs, but the largest "
            f"node has {max(node.cpus for node in nodes):g} CPUs and "
            f"{max(node.gpus for node in nodes):g} GPUs"
        )
    if not found.trials:
        raise RequestError(
            f"resources: a trial needs {wanted.workers} workers with {wanted.cpus} CPUs and "
            f"{found.gpus:g} GPUs each, but only {found.workers} fit on the cluster"
        )
    return TrialResources(wanted.cpus, found.gpus, wanted.workers, found.trials)
