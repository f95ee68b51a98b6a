"""The driver's files, for workers on nodes of a cluster that do not share its file system.

A worker that sees the driver's folder writes there itself, as on one machine. One that does not
works in a folder of its own, and what has to outlast it goes through an actor on the driver's
node: checkpoints as they are written, the result once at the end. So a trial whose node dies goes
on elsewhere from its last checkpoint.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

MARK = "driver"
"""File in the run's storage: who sees it shares the driver's file system."""
DELIVERED = "delivered"
PART = 64 * 2**20
"""Bytes of a file of data that travel at once."""

Files = dict[str, bytes]
"""By their paths in a folder."""


class Depot:
    """Runs on the driver's node. Every method may be repeated: Ray does so if the actor dies.

    Args:
        storage, checkpoints, data_root: As the workers have them in their `config`.
    """

    def __init__(self, storage: str, checkpoints: str, data_root: str) -> None:
        self._delivered = Path(storage) / DELIVERED
        self._checkpoints, self._data_root = Path(checkpoints), Path(data_root)

    def checkpoints(self, identity: str) -> Files:
        """What is kept of a trial."""
        return read_files(self._checkpoints / identity)

    def keep(self, identity: str, changed: Files, names: Iterable[str]) -> None:
        """Write changed files of a trial's checkpoints, and drop those that are not in `names`."""
        folder = self._checkpoints / identity
        folder.mkdir(parents=True, exist_ok=True)
        write_files(folder, changed)
        for path in folder.iterdir():
            if path.name not in names:
                path.unlink(missing_ok=True)

    def deliver(self, identity: str, files: Files) -> str:
        """Write a trial's result; return its folder."""
        folder = self._delivered / identity
        shutil.rmtree(folder, ignore_errors=True)
        write_files(folder, files)
        return str(folder)

    def data_files(self, name: str) -> dict[str, int]:
        """Files of a data set in the driver's data root, with their sizes."""
        root = self._data_root / name
        walked = os.walk(root, followlinks=True)
        found = [Path(at) / file for at, _, files in walked for file in files]
        return {str(path.relative_to(root)): path.stat().st_size for path in found}

    def data(self, name: str, file: str, offset: int) -> bytes:
        """A part of one of them."""
        with (self._data_root / name / file).open("rb") as handle:
            handle.seek(offset)
            return handle.read(PART)


@contextlib.contextmanager
def opened(shared: Mapping[str, Any]) -> Iterator[str]:
    """A depot on this node for the time of a run; its name, for the workers' `config`."""
    storage = Path(shared["storage"])
    storage.mkdir(parents=True, exist_ok=True)
    (storage / MARK).touch()
    name = f"lossbench-{uuid.uuid4().hex}"
    here = ray.get_runtime_context().get_node_id()
    actor: Any = (
        ray.remote(Depot)
        .options(
            name=name,
            num_cpus=0,
            max_restarts=-1,
            max_task_retries=-1,
            scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=False),
        )
        .remote(shared["storage"], shared["checkpoints"], shared["data_root"])
    )
    try:
        yield name
    finally:
        with contextlib.suppress(Exception):  # the cluster may be gone
            ray.kill(actor)


class Away:
    """The depot, as a worker sees it.

    Args:
        name: Of the depot.
    """

    def __init__(self, name: str) -> None:
        self._actor = ray.get_actor(name)

    def __getattr__(self, method: str) -> Any:
        return lambda *arguments: ray.get(getattr(self._actor, method).remote(*arguments))


def depot_of(config: Mapping[str, Any]) -> Away | None:
    """In a worker: the depot of its run, if it runs on a cluster."""
    return Away(config["depot"]) if config["depot"] else None


def at_home(config: Mapping[str, Any]) -> bool:
    """In a worker: whether its node shares the driver's file system."""
    return not config["depot"] or (Path(config["storage"]) / MARK).exists()


def read_files(folder: Path) -> Files:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def write_files(folder: Path, files: Files) -> None:
    """Each file is there whole or not at all, also after a power cut."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.parent / f".{uuid.uuid4().hex}"
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
