"""Environment of a training: versions, the digest of the code, the device."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import lossbench
from lossbench.assembly.code_digest import normalized_source
from lossbench.assembly.registries import training_entries
from lossbench.evaluation import EVALUATIONS
from lossbench.planning.trial import Trial
from lossbench.registry import Entry

ROOTS = (
    *("losses", "models", "data", "training", "evaluation"),
    *("planning/divergence.py", "runner/trial.py"),
)
"""Folders and files of the package whose code, with the modules that they import, affects the
results of a trial."""
EXCLUDED = ("errors", "records", "suite", "planning")
"""Imported modules that are left out: they have only messages and types, or their effect on the
results of a trial is part of its identity."""


def device_name(device: str) -> str:
    """`cpu`, or the product name of the GPU."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu"


def environment(trial: Trial | None = None, evaluation: str = "") -> dict[str, str]:
    """Versions that affect the results.

    Args:
        trial: Trial whose components may come from other libraries, which are included.
        evaluation: Name of an evaluation, which may come from another library.
    """
    entries: list[Entry[Any]] = list(training_entries(trial)) if trial else []
    if evaluation:
        entries.append(EVALUATIONS[evaluation])
    libraries = {entry.distribution for entry in entries} - {"", "torch", "numpy"}
    return {
        "lossbench": lossbench.__version__,
        "code": code_digest(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        **{library: importlib.metadata.version(library) for library in sorted(libraries)},
    }


@functools.cache
def code_digest(package: Path = Path(lossbench.__file__).parent) -> str:
    """Digest of the source code that affects the results of a trial.

    It may differ between two installations with the same version number. It does not depend on
    comments, docstrings, formatting, and the code that plans, runs and reports.

    Args:
        package: Folder of the package.
    """
    sources: dict[str, ast.Module] = {}
    waiting = [package / root for root in ROOTS]
    while waiting:
        path = waiting.pop()
        if path.is_dir():
            waiting += path.rglob("*.py")
            continue
        name = path.relative_to(package).as_posix()
        if name not in sources:
            sources[name] = ast.parse(path.read_bytes())
            waiting += _imported_files(sources[name], package)
    digest = hashlib.sha256()
    for name, tree in sorted(sources.items()):
        digest.update(f"{name}\0{normalized_source(tree)}\0".encode())
    return digest.hexdigest()[:12]


def _imported_files(tree: ast.Module, package: Path) -> Iterator[Path]:
    """Files of the package that a module imports, without the excluded ones."""
    modules: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    for module in modules:
        first, *parts = module.split(".")
        if first == "lossbench" and parts and parts[0] not in EXCLUDED:
            base = package.joinpath(*parts)
            files = (base.with_suffix(".py"), base / "__init__.py")
            yield from (file for file in files if file.is_file())
