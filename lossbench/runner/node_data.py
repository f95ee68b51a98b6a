"""Data on a node of a cluster: found there, or brought there from the driver once."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from lossbench.data.cache import cache_folder
from lossbench.data.sources import DATASETS
from lossbench.errors import DataError
from lossbench.planning.trial import Trial
from lossbench.registry import user_path
from lossbench.runner.file_server import Away, depot_of

MOST_BYTES = 4 * 2**30
"""Of a data set that travels; more than that is better put on each node once, by hand."""


def data_root_of(trial: Trial, config: Mapping[str, Any]) -> Path:
    """Where a trial finds its data, in a worker: the first of these folders that has all of it.

    1. `LOSSBENCH_DATA_ROOT`, as it was when Ray was started on this node,
    2. the driver's data root, at the same path,
    3. this node's cache, to which comes from the driver what is not there yet.

    Whether it is the data that was planned with is checked by the trial itself.

    Raises:
        DataError: It is on no node but the driver's, and too large to travel, or named by a path.
    """
    depot, driver_root = depot_of(config), Path(config["data_root"])
    if depot is None:
        return driver_root
    wanted = {_stored_as(name) for name in (trial.dataset.name, *trial.other_digests)} - {""}
    for path in (user_path(name) for name in wanted if "/" in name):
        if not path.is_dir():
            raise DataError(
                f"node {platform.node()}: no data set {path} there, which the suite names by its "
                "path; put it into the data root and name it without one, so that it is sent"
            )
    names = sorted(name for name in wanted if "/" not in name)
    own = os.environ.get("LOSSBENCH_DATA_ROOT")
    roots = [*([Path(own)] if own else []), driver_root]
    for root in roots:
        if all((root / name).is_dir() for name in names):
            return root
    digests = f"{trial.data_digest} {sorted(trial.other_digests.values())}"
    root = cache_folder() / hashlib.sha256(digests.encode()).hexdigest()[:16]
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".lock"):  # the node's other workers wait for the same
            for name in names:
                if not (root / name).is_dir():
                    _bring(name, root, depot, roots)
    except OSError as error:
        message = f"node {platform.node()}: no data can be kept in {root}"
        raise DataError(f"{message}: {error.strerror or error}") from None
    return root


def _stored_as(name: str) -> str:
    """The folder in the data root that a data set comes from; empty: it needs none."""
    if "/" in name or name not in DATASETS:
        return name
    source = DATASETS[name].create()
    return source.derived_from if source.bundled else name


def _bring(name: str, root: Path, depot: Away, looked: list[Path]) -> None:
    files = depot.data_files(name)
    size = sum(files.values())
    if not files:
        raise DataError(f"node {platform.node()}: no data set {name!r}, nor has the driver one")
    if size > MOST_BYTES:
        raise DataError(
            f"node {platform.node()}: no data set {name!r} in {' or '.join(map(str, looked))}, and "
            f"with {size / 2**30:.0f} GiB it is not sent; put it there, or start Ray on that node "
            "with LOSSBENCH_DATA_ROOT set to the folder that has it"
        )
    unfinished = root / f".{uuid.uuid4().hex}"
    try:
        for file, left in files.items():
            path = unfinished / file
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as handle:
                while (at := handle.tell()) < left:
                    handle.write(depot.data(name, file, at))
        os.replace(unfinished, root / name)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
