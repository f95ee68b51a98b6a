"""Data sets on a node of a cluster: already there, or copied once from the driver."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from lossbench.data.label_files import is_label_path
from lossbench.data.sources import DATASETS
from lossbench.errors import DataError
from lossbench.planning.trial import Trial, short_digest
from lossbench.registry import user_path
from lossbench.runner.file_server import FileServerClient, file_server_client
from lossbench.suite.atomic_files import atomic_path
from lossbench.suite.cache import cache_folder

MAX_COPIED_BYTES = 4 * 2**30
"""Largest size of a data set that is copied from the driver."""


def data_root_of(trial: Trial, config: Mapping[str, Any]) -> Path:
    """Folder with the data sets of a trial, in a worker.

    It is the first of these folders that has all data sets:

    1. `LOSSBENCH_DATA_ROOT`, as set when Ray was started on this node,
    2. the driver's data root, at the same path,
    3. this node's cache, into which missing data sets are copied from the driver.

    The trial checks the data against the plan.

    Raises:
        DataError: The data, or a file of labels, are missing on this node, and are too large to
            copy, or the suite names them by a path.
    """
    client, driver_root = file_server_client(config), Path(config["data_root"])
    if client is None:
        return driver_root
    wanted = {_stored_as(name) for name in (trial.dataset.name, *trial.other_datasets)} - {""}
    for path in (user_path(name) for name in wanted if "/" in name):
        if not path.is_dir():
            raise DataError(
                f"node {platform.node()}: no data set {path}, which the suite names by its path; "
                "put it into the data root and use its name, so that it is copied"
            )
    nouns = dict.fromkeys(sorted(name for name in wanted if "/" not in name), "data set")
    noise = trial.dataset.label_noise
    if noise is not None and noise.file is not None:
        if not is_label_path(noise.file):
            nouns[noise.file] = "file of labels"
        elif not user_path(noise.file).is_file():
            raise DataError(
                f"node {platform.node()}: no file of labels {noise.file}, which the suite names by "
                "its path; put it into the data root and use its name, so that it is copied"
            )
    own = os.environ.get("LOSSBENCH_DATA_ROOT")
    roots = [*([Path(own)] if own else []), driver_root]
    for root in roots:
        if all((root / name).exists() for name in nouns):
            return root
    digests = f"{trial.data_digest} {sorted(trial.other_digests.values())}"
    if noise is not None and noise.digest:
        digests += f" {noise.digest}"
    root = cache_folder() / short_digest(digests)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".lock"):  # only one worker of the node copies
            for name, noun in nouns.items():
                if not (root / name).exists():
                    _copy(name, noun, root, client, roots)
    except OSError as error:
        message = f"node {platform.node()}: cannot write data to {root}"
        raise DataError(f"{message}: {error.strerror or error}") from None
    return root


def _stored_as(name: str) -> str:
    """Name of a data set's folder in the data root; empty if it has no folder."""
    if "/" in name or name not in DATASETS:
        return name
    source = DATASETS[name].create()
    return source.derived_from if source.bundled else name


def _copy(name: str, noun: str, root: Path, client: FileServerClient, searched: list[Path]) -> None:
    node = f"node {platform.node()}"
    files = client.data_files(name)
    total = sum(files.values())
    if not files:
        raise DataError(f"{node}: no {noun} {name!r}, and none on the driver's node")
    if total > MAX_COPIED_BYTES:
        raise DataError(
            f"{node}: no {noun} {name!r} in {' or '.join(map(str, searched))}, and with "
            f"{total / 2**30:.0f} GiB it is too large to copy from the driver; put it there, or "
            "start Ray on that node with LOSSBENCH_DATA_ROOT set to the folder that has it"
        )
    with atomic_path(root / name) as temporary:
        for file, size in files.items():
            path = temporary / file  # the same if `name` is a file
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as handle:
                while (offset := handle.tell()) < size:
                    handle.write(client.data(name, file, offset))
