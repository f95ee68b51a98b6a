"""Costs of trials on the device of the run: from stored results, otherwise from probing."""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

from lossbench.assembly.plugins import install
from lossbench.errors import LossbenchError
from lossbench.planning.costs import Cost, Costs, cell_of
from lossbench.planning.trial import Trial
from lossbench.records import Plugin, TrialResult
from lossbench.runner.environment import device_name
from lossbench.runner.probe import probe

Measure = Callable[[Trial, float], Cost]
"""Function of a trial and of the maximum time in seconds that returns the trial's cost."""


class Prober:
    """Callable that probes trials on one device.

    Args:
        device_name: `cpu`, or the product name of the GPU.
        measure: Function that measures the cost of a trial.

    Attributes:
        spent_sec: Time spent on probing so far, without start-up.
    """

    def __init__(self, device_name: str, measure: Measure) -> None:
        self.device_name, self._measure = device_name, measure
        self.spent_sec = 0.0

    def __call__(self, trial: Trial, seconds: float) -> Cost:
        started = time.monotonic()
        try:
            return self._measure(trial, seconds)
        finally:
            self.spent_sec += time.monotonic() - started


@contextlib.contextmanager
def local_prober(device: str, data_root: Path, plugins: Sequence[Plugin]) -> Iterator[Prober]:
    """Prober for this machine.

    A GPU is probed in another process, because a CUDA context in this process would occupy memory
    of the GPU while the trials run. A CPU is probed in this process, where all imports are done.

    Args:
        device: `cpu` or `cuda`.
        data_root: Folder of the prepared data sets.
        plugins: Files that register components of the trials.
    """
    if device == "cpu":
        yield Prober(device, lambda trial, sec: probe(trial, data_root, device, sec))
        return
    context = multiprocessing.get_context("spawn")
    own, other = context.Pipe()
    process = context.Process(
        target=serve_probes, args=(other, device, data_root, tuple(plugins)), daemon=True
    )
    process.start()
    other.close()

    def receive() -> object:
        try:
            answer = own.recv()
        except EOFError:
            process.join()
            message = f"the process that probes the trials has died (exit code {process.exitcode})"
            raise LossbenchError(message) from None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def measure(trial: Trial, seconds: float) -> Cost:
        own.send((trial, seconds))
        cost = receive()
        assert isinstance(cost, Cost)
        return cost

    try:
        yield Prober(str(receive()), measure)
    finally:
        own.close()
        process.kill()  # it may be in the middle of a probe
        process.join()


def serve_probes(
    connection: Connection, device: str, data_root: Path, plugins: Sequence[Plugin]
) -> None:
    """Send the device name, then a cost or an error for each trial that is received."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C the parent kills this process
    try:
        install(plugins)
        connection.send(device_name(device))
        while True:
            trial, seconds = connection.recv()
            connection.send(probe(trial, data_root, device, seconds))
    except EOFError:  # the parent is done
        return
    except Exception as error:
        connection.send(_portable(error))


def _portable(error: Exception) -> Exception:
    """The error, or a LossbenchError with its message if it cannot be unpickled."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return LossbenchError(f"{type(error).__name__}: {error}")
    return error


def measured_costs(
    trials: Sequence[Trial],
    results: Mapping[str, TrialResult],
    prober: Prober,
    probe_sec: float,
    processor_share: Callable[[], float] = lambda: 1.0,
) -> Costs:
    """Costs of trials: from results on the prober's device, otherwise from probing.

    Args:
        trials: All trials of the table.
        results: Results by identity.
        prober: Prober for the device of the run.
        probe_sec: Maximum time for probing; 0: nothing is probed.
        processor_share: Returns the share of a processor that each thread will get; probed times
            are divided by it.
    """
    left = [trial for trial in trials if trial.identity not in results]
    done = [trial for trial in trials if trial.identity in results]
    cells = len({cell_of(trial) for trial in left}) or 1

    def measure(trial: Trial) -> Cost:
        cost = prober(trial, probe_sec / cells)
        return replace(cost, wall_time_sec=cost.wall_time_sec / processor_share())

    return Costs(
        left + done,
        results,
        prober.device_name,
        measure if probe_sec else None,
        lambda: prober.spent_sec >= probe_sec,
    )
