"""Access to the driver's files for workers on nodes that do not share its file system.

A worker with access to the driver's folder writes there directly, as on one machine. Other workers
use a temporary folder, and an actor on the driver's node saves the files that have to survive the
worker: each checkpoint, and the result. If a node dies, its trials resume on another node from
their last checkpoints.
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

from lossbench.suite.atomic_files import atomic_path

MARKER = "driver"
"""Name of a file in the run's storage; a node with this file shares the driver's file system."""
DELIVERED = "delivered"
"""Name of the folder for the files of finished trials, inside a storage folder."""
CHUNK_BYTES = 64 * 2**20
"""Size of the pieces in which a data file is sent."""

Files = dict[str, bytes]
"""Content of files by their paths relative to a folder."""


class FileServer:
    """Actor on the driver's node. Every method is idempotent: Ray repeats calls if it restarts.

    Args:
        storage, checkpoints, data_root: Folders as in the `config` of the workers.
    """

    def __init__(self, storage: str, checkpoints: str, data_root: str) -> None:
        self._delivered = Path(storage) / DELIVERED
        self._checkpoints, self._data_root = Path(checkpoints), Path(data_root)

    def checkpoints(self, identity: str) -> Files:
        """Read the checkpoint files of a trial."""
        return read_files(self._checkpoints / identity)

    def save_checkpoints(self, identity: str, changed: Files, names: Iterable[str]) -> None:
        """Write the changed checkpoint files of a trial; delete those not listed in `names`."""
        folder = self._checkpoints / identity
        folder.mkdir(parents=True, exist_ok=True)
        write_files(folder, changed)
        for path in folder.iterdir():
            if path.name not in names:
                path.unlink(missing_ok=True)

    def deliver(self, identity: str, files: Files) -> str:
        """Write the result files of a trial and return their folder."""
        folder = self._delivered / identity
        shutil.rmtree(folder, ignore_errors=True)
        write_files(folder, files)
        return str(folder)

    def data_files(self, name: str) -> dict[str, int]:
        """Sizes of the files of a data set in the driver's data root, by path.

        If it is a file itself, such as one with labels, its path is empty.
        """
        root = self._data_root / name
        if root.is_file():
            return {"": root.stat().st_size}
        walked = os.walk(root, followlinks=True)
        found = [Path(at) / file for at, _, files in walked for file in files]
        return {str(path.relative_to(root)): path.stat().st_size for path in found}

    def data(self, name: str, file: str, offset: int) -> bytes:
        """Read one piece of a file of a data set."""
        with (self._data_root / name / file).open("rb") as handle:
            handle.seek(offset)
            return handle.read(CHUNK_BYTES)


@contextlib.contextmanager
def running_file_server(shared: Mapping[str, Any]) -> Iterator[str]:
    """Run a file server on this node.

    Args:
        shared: `storage`, `checkpoints` and `data_root` of the run.

    Yields:
        Its name, for the `config` of the workers.
    """
    storage = Path(shared["storage"])
    storage.mkdir(parents=True, exist_ok=True)
    (storage / MARKER).touch()
    name = f"lossbench-{uuid.uuid4().hex}"
    here = ray.get_runtime_context().get_node_id()
    actor: Any = (
        ray.remote(FileServer)
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


class FileServerClient:
    """Proxy for the methods of a file server, used in workers.

    Args:
        name: Name of the file server.
    """

    def __init__(self, name: str) -> None:
        self._actor = ray.get_actor(name)

    def __getattr__(self, method: str) -> Any:
        return lambda *arguments: ray.get(getattr(self._actor, method).remote(*arguments))


def file_server_client(config: Mapping[str, Any]) -> FileServerClient | None:
    """Client for the file server of a worker's run; None if the run has none."""
    return FileServerClient(config["file_server"]) if config["file_server"] else None


def shares_filesystem(config: Mapping[str, Any]) -> bool:
    """Whether this worker's node shares the driver's file system."""
    return not config["file_server"] or (Path(config["storage"]) / MARKER).exists()


def read_files(folder: Path) -> Files:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def write_files(folder: Path, files: Files) -> None:
    """Write each file completely or not at all, even if the machine loses power."""
    for name, content in files.items():
        with atomic_path(folder / name, durable=True) as temporary:
            temporary.write_bytes(content)
