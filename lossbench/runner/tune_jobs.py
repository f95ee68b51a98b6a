"""Submission of trials to Ray Tune, from the driver."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ray import tune
from rich.console import Console

from lossbench.planning.durations import format_duration
from lossbench.planning.trial import Trial
from lossbench.records import Plugin
from lossbench.runner.cluster import TrialResources
from lossbench.runner.file_server import running_file_server
from lossbench.runner.outbox import Outbox
from lossbench.runner.progress import Display
from lossbench.runner.ray_files import logs_folder
from lossbench.runner.recorder import MAX_WORKER_DEATHS, Recorder
from lossbench.runner.trial_queue import MAX_PENDING, PENDING, TrialQueue
from lossbench.runner.worker import run_job
from lossbench.tracking.store import Tracker

WORKERS_START_SEC = 300.0
"""Maximum time for the first worker to start; a busy machine needs one minute."""


def run_trials(
    trials: Sequence[Trial],
    until: Mapping[str, int],
    resources: TrialResources,
    tracker: Tracker,
    outbox: Outbox,
    *,
    data_root: Path,
    work: Path,
    console: Console,
    checkpoint_sec: float,
    fail_fast: bool,
    plugins: Sequence[Plugin] = (),
    deadline: float = math.inf,
    measure_only: bool = False,
) -> Recorder:
    """Run trials on the connected cluster and record each when it ends.

    Ctrl-C ends the run in an orderly way; the recorder then has fewer results than trials.

    Args:
        trials: Trials to run, in order of priority.
        until: Epoch after which each trial is paused or ends, by its identity.
        resources: Resources of each trial.
        tracker: Tracker whose suite is started.
        outbox: Outbox of the suite's table.
        data_root: The driver's data root; for other nodes see `node_data`.
        work: Folder for Ray's storage and the logs of failed trials.
        console: Console for the progress display.
        checkpoint_sec: Minimum time between two checkpoints of a trial.
        fail_fast: Whether the first trial that fails or diverges ends the run.
        plugins: Files that register components of the trials.
        deadline: Time on the monotonic clock at which running trials are stopped, as with Ctrl-C.
        measure_only: Whether the trials are trained already: their results and weights are in the
            folders of their checkpoints, and only missing evaluations are measured.
    """
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # the display shows errors in one line
    if measure_only:
        until = {trial.identity: 1 for trial in trials}  # one step of the progress bar each
    epochs = sum(until[trial.identity] for trial in trials)
    storage = work / "ray" / f"{trials[0].suite}-{time.time_ns()}"
    paused_at = [] if measure_only else [t for t in trials if until[t.identity] < t.recipe.epochs]
    up_to = f" ({len(paused_at)} of them up to a comparison of their rows)" if paused_at else ""
    task = "measure" if measure_only else "run"
    console.print(
        f"{len(trials)} trials to {task}{up_to}, "
        f"{resources.concurrent} at a time on {resources.device}",
        highlight=False,
    )
    started = time.monotonic()
    with Display(console, len(trials), epochs, until, measure_only=measure_only) as display:
        recorder = Recorder(trials, tracker, outbox, display, work, measure_only=measure_only)
        try:
            shared = {
                "data_root": str(data_root.resolve()),
                "device": resources.device,
                "gpus": resources.gpus,
                "storage": str(storage.resolve()),
                "checkpoints": str((work / "checkpoints").resolve()),
                "checkpoint_sec": checkpoint_sec,
                "plugins": [plugin.model_dump() for plugin in plugins],
                "measure_only": measure_only,
            }
            stopper = RunStopper(recorder, fail_fast, deadline, waits=resources.attached)
            # on a single machine all workers share the file system
            server = (
                running_file_server(shared) if resources.attached else contextlib.nullcontext("")
            )
            # Ctrl-C, or a signal to stop, before Tune handles it
            with server as shared["file_server"], contextlib.suppress(KeyboardInterrupt):
                _tuner(trials, until, resources, recorder, shared, stopper).fit()
        finally:
            recorder.close()
            shutil.rmtree(storage, ignore_errors=True)
    took = format_duration(time.monotonic() - started)
    paused = f", {len(recorder.paused)} paused for a comparison" if recorder.paused else ""
    done = "measured" if measure_only else "finished"
    console.print(f"{len(recorder.finished)} trials {done} in {took}{paused}", highlight=False)
    return recorder


def _tuner(
    trials: Sequence[Trial],
    until: Mapping[str, int],
    resources: TrialResources,
    recorder: Recorder,
    shared: dict[str, Any],
    stopper: RunStopper,
) -> tune.Tuner:
    storage = Path(shared["storage"])
    request: dict[str, float] = {"cpu": resources.cpus, "gpu": resources.gpus}
    max_live = None
    if (
        resources.workers > 1 and not shared["measure_only"]
    ):  # the job only waits for its workers, which Ray Train places itself
        request, max_live = {"memory": 2**20}, resources.concurrent
    jobs = ({"trial": trial.model_dump_json(), "until": until[trial.identity]} for trial in trials)
    os.environ[MAX_PENDING] = str(min(resources.concurrent, PENDING))
    return tune.Tuner(
        tune.with_resources(run_job, request),
        param_space=shared,
        tune_config=tune.TuneConfig(
            reuse_actors=True, search_alg=TrialQueue(jobs, max_live), num_samples=len(trials)
        ),
        run_config=tune.RunConfig(
            name=storage.name,
            storage_path=str(storage.parent),
            verbose=0,
            callbacks=[recorder],
            stop=stopper,
            failure_config=tune.FailureConfig(max_failures=MAX_WORKER_DEATHS),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
        ),
    )


class RunStopper(tune.Stopper):
    """Stopper of Tune that ends the whole run, never a single trial.

    It ends the run if the data cannot be used or the disk is full, because the other trials would
    fail, too; with `fail_fast`, after a trial has failed or diverged; at the deadline; and if no
    worker starts.

    Args:
        recorder: Recorder of the run.
        fail_fast: Whether the first trial that fails or diverges ends the run.
        deadline: Time on the monotonic clock.
        waits: Whether to wait for workers without a limit, because the cluster may still grow.
    """

    def __init__(
        self, recorder: Recorder, fail_fast: bool, deadline: float, *, waits: bool = False
    ) -> None:
        self._recorder, self._fail_fast, self._deadline = recorder, fail_fast, deadline
        self._workers_until = math.inf if waits else time.monotonic() + WORKERS_START_SEC

    def __getstate__(self) -> dict[str, Any]:
        """Return no state: Tune pickles its stoppers for a restore, which is not used here."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        recorder = self._recorder
        if not recorder.begun and time.monotonic() >= self._workers_until:
            recorder.abort_reason = (
                f"no worker of Ray has started in {WORKERS_START_SEC / 60:.0f} minutes; its logs, "
                f"raylet.out and raylet.err, are in {logs_folder()}"
            )
            return True
        return bool(
            recorder.data_problem
            or recorder.abort_reason
            or (self._fail_fast and (recorder.failed or recorder.diverged))
            or time.monotonic() >= self._deadline
        )
