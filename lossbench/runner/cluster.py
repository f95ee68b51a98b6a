"""A Ray cluster to run on: this machine's own, or one that already runs."""

from __future__ import annotations

import contextlib
import logging
import math
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
from lossbench.errors import LossbenchError, RequestError, redacted
from lossbench.runner.ray_files import ray_options
from lossbench.suite.schema import Resources

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
"""Ray's environment: no loggers of its own, no advice, no statistics sent."""

DRIVER_ONLY = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
)
"""Variables that Ray's processes do not get: only the driver talks to MLflow."""


@dataclass(frozen=True)
class Slot:
    """What each trial gets.

    Attributes:
        cpus, gpus: Of each of its workers; a part of a GPU is possible.
        workers: That train it together.
        concurrent: How many trials fit on the cluster at once.
        attached: Whether it is a cluster that ran before, with nodes that may share no files.
    """

    cpus: int
    gpus: float
    workers: int
    concurrent: int
    attached: bool = False

    @property
    def device(self) -> str:
        return "cuda" if self.gpus else "cpu"


@contextlib.contextmanager
def connect(address: str | None, resources: Resources) -> Iterator[Slot]:
    """Start Ray on this machine, or attach to a running cluster, for the time of a `with`.

    Raises:
        RequestError: The cluster cannot be reached, no node of it has what a trial wants, or there
            is no room for Ray's files.
        LossbenchError: Ray does not start.
    """
    # ray reads its environment when it is imported: too late where somebody has done so
    fresh = "ray" not in sys.modules
    os.environ.update({key: os.environ.get(key, value) for key, value in QUIET.items()})
    if address is None and fresh and "RAY_AUTH_MODE" not in os.environ:
        # without a token anybody on this machine could run code on the cluster
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    options = {} if address else ray_options()
    import ray

    if address is None:
        try:
            with _secrets_withheld():
                _init(
                    address="local",
                    _node_ip_address="127.0.0.1",  # nothing listens to the network
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    **options,
                )
        except Exception as error:  # it raises this very class
            first = str(error).partition("\n")[0]
            raise LossbenchError(f"Ray could not be started: {first}") from error
    else:
        _attach(address)
    try:
        yield replace(_slot(resources), attached=address is not None)
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _secrets_withheld() -> Iterator[None]:
    """Keep MLflow's credentials out of Ray's processes and of its list of jobs.

    Ray copies the environment to its workers, and the command line of the driver to a list that
    everybody on the cluster can read.
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
    """Call `ray.init`, and keep the handler of SIGTERM: with Ray's own the process aborts."""
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
        if host and port.isdigit():  # ray itself waits for minutes
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
            "RAY_AUTH_MODE is token, but neither RAY_AUTH_TOKEN nor RAY_AUTH_TOKEN_PATH has one"
        )
        raise RequestError(f"--address {address}: {message}") from None
    except (OSError, ConnectionError, ValueError, RuntimeError) as error:
        first = str(error).partition("\n")[0]
        if listens:  # ray says so in its log only
            first += "; if it asks for a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN as there"
        raise RequestError(f"--address {address}: no Ray cluster there: {first}") from None


def _slot(wanted: Resources) -> Slot:
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    most_gpus = max(node.get("GPU", 0.0) for node in nodes)
    gpus = float(min(most_gpus, 1)) if wanted.gpus == "auto" else wanted.gpus

    def fits(node: dict[str, float]) -> int:
        by_cpu = node.get("CPU", 0.0) / wanted.cpus
        by_gpu = node.get("GPU", 0.0) / gpus if gpus else math.inf
        return int(min(by_cpu, by_gpu) + 1e-9)

    places = sum(fits(node) for node in nodes)
    if not places:  # ray would wait for ever
        most_cpus = max(node.get("CPU", 0.0) for node in nodes)
        raise RequestError(
            f"resources: a trial wants {wanted.cpus} CPUs and {gpus:g} GPUs, but the largest "
            f"node has {most_cpus:g} CPUs and {most_gpus:g} GPUs"
        )
    if places < wanted.workers:
        raise RequestError(
            f"resources: a trial wants {wanted.workers} workers of {wanted.cpus} CPUs and "
            f"{gpus:g} GPUs, but there is room for {places}"
        )
    return Slot(wanted.cpus, gpus, wanted.workers, places // wanted.workers)
