"""Keeps a report whose content would be the same, which saves drawing it again.

A report is a function of its plan and results, of the arrays that it reads, of the command, and of
the code. Its folder has a record of these, as digests, and of its files. If all of them are the
same and all files are as they were written, the report is kept.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from lossbench.analysis.predictions import Arrays, ReadArrays
from lossbench.analysis.tables import Table
from lossbench.planning.selection import PlanWithResults
from lossbench.records import TrialResult
from lossbench.report.provenance import provenance
from lossbench.suite.atomic_files import write_atomically

RECORD = ".report.json"
LIBRARIES = (
    *("contourpy", "jinja2", "markupsafe", "matplotlib", "numpy", "pandas", "pillow"),
    *("pydantic", "scipy", "seaborn"),
)
"""Libraries that determine the bytes of a report."""


@dataclass(frozen=True)
class NotedArrays:
    """Reads arrays, and notes a digest of each answer.

    Attributes:
        read: Reads an array artifact of a trial.
        digests: `[identity, name]` as JSON -> digest of the arrays; None: there are none.
    """

    read: ReadArrays
    digests: dict[str, str | None] = field(default_factory=dict)

    def __call__(self, identity: str, name: str) -> Arrays | None:
        arrays = self.read(identity, name)
        self.digests[json.dumps([identity, name])] = _arrays_digest(arrays)
        return arrays


def write_report_if_changed(
    found: PlanWithResults,
    tables: Sequence[Table],
    read: ReadArrays,
    output: Path,
    command: str,
    *,
    every_figure: bool,
    processes: int = 1,
) -> list[Path]:
    """Write a report with `build_report`, unless the folder has the same report already.

    Args:
        found: Plan of the suite with its results.
        tables: Its tables.
        read: Reads an array artifact of a trial.
        output: Folder of the report.
        command: Command of the user.
        every_figure: Whether to draw the figures of all columns, also if there are many.
        processes: Number of processes that draw.

    Returns:
        Paths of all files, the page first.
    """
    key = report_key(found, output, command, every_figure=every_figure)
    before = _read_record(output)
    kept = _kept_files(before, key, read)
    if kept is not None:
        return kept
    from lossbench.report.build import build_report  # imports the drawing libraries
    from lossbench.report.figures.fonts import forget_searched, searched

    noted = NotedArrays(read)
    forget_searched()
    files = build_report(
        found,
        noted,
        output,
        command,
        every_figure=every_figure,
        tables=tables,
        processes=processes,
    )
    _remove_former(before, files, output / "figures")
    if not searched:  # else the figures depend on the installed fonts
        content = {
            "key": key,
            "arrays": noted.digests,
            "files": {path.relative_to(output).as_posix(): _file_digest(path) for path in files},
        }
        write_atomically(output / RECORD, json.dumps(content).encode())
    return files


def report_key(found: PlanWithResults, output: Path, command: str, *, every_figure: bool) -> str:
    """Digest of everything that determines a report, except the arrays."""
    plan = found.plan
    digest = hashlib.sha256()
    values = (
        (command, every_figure, provenance(plan, output), plan.suite.origin.path),
        (_code_digest(), platform.python_version(), _versions()),
        (plan, found.results),
    )
    _add(values, digest.update)
    return digest.hexdigest()


@dataclass(frozen=True)
class _Record:
    """Digests of all that a written report was made from.

    Attributes:
        key: Its `report_key`.
        arrays: (identity, name) -> digest of the arrays that were read; None: there were none.
        files: Path -> digest of its content.
    """

    key: str
    arrays: Mapping[tuple[str, str], str | None]
    files: Mapping[Path, str]


def _read_record(output: Path) -> _Record | None:
    """Record of the report in a folder; None without a readable one."""
    try:
        content = json.loads((output / RECORD).read_text(encoding="utf-8"))
        arrays = {}
        for asked, digest in content["arrays"].items():
            identity, name = json.loads(asked)
            arrays[identity, name] = digest
        files = {output / name: digest for name, digest in content["files"].items()}
        return _Record(content["key"], arrays, files)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _kept_files(record: _Record | None, key: str, read: ReadArrays) -> list[Path] | None:
    """The files of a report; None unless it has this key and is intact."""
    if record is None or record.key != key:
        return None
    if any(_file_digest(path) != digest for path, digest in record.files.items()):
        return None
    if any(_arrays_digest(read(*asked)) != digest for asked, digest in record.arrays.items()):
        return None
    return list(record.files)


def _remove_former(record: _Record | None, files: Sequence[Path], figures: Path) -> None:
    """Remove figures of an earlier report that the present one lacks, if they are unchanged."""
    for path, digest in record.files.items() if record else ():
        if path not in files and path.parent == figures and _file_digest(path) == digest:
            path.unlink()


def _file_digest(path: Path) -> str | None:
    """Digest of a file; None if it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def _arrays_digest(arrays: Arrays | None) -> str | None:
    if arrays is None:
        return None
    digest = hashlib.sha256()
    _add(dict(sorted(arrays.items())), digest.update)
    return digest.hexdigest()


@cache
def _code_digest(package: Path = Path(__file__).parents[1]) -> str:
    """Digest of all files of lossbench: code, templates, style sheets."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(path.relative_to(package).as_posix().encode() + b"\0")
            digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


def _add(value: Any, add: Callable[[bytes], object]) -> None:
    """Add bytes of a value that differ between different values: types, lengths and contents.

    Raises:
        TypeError: The value has an object of unknown type.
    """
    add(f"{type(value).__qualname__} ".encode())
    if value is None or isinstance(value, bool | int | float):
        add(f"{value!r} ".encode())
    elif isinstance(value, str | Path):
        text = str(value).encode("utf-8", "surrogatepass")
        add(f"{len(text)} ".encode() + text)
    elif isinstance(value, Mapping):
        add(f"{len(value)} ".encode())
        for key, item in value.items():
            _add(key, add)
            _add(item, add)
    elif isinstance(value, list | tuple):
        add(f"{len(value)} ".encode())
        for item in value:
            _add(item, add)
    elif isinstance(value, TrialResult):  # many, with long histories; without NaN and infinities
        add(value.model_dump_json().encode())
        _add((value.unmeasured, value.failures), add)  # which JSON leaves out
    elif isinstance(value, BaseModel):
        _add({name: getattr(value, name) for name in type(value).model_fields}, add)
    elif is_dataclass(value):
        compared = (each.name for each in fields(value) if each.compare)
        _add({name: getattr(value, name) for name in compared}, add)
    elif isinstance(value, np.ndarray):
        add(f"{value.dtype.str} {value.shape} ".encode())
        add(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, set | frozenset):
        _add(sorted(_bytes(item).hex() for item in value), add)
    else:
        raise TypeError(f"{type(value).__qualname__} has no digest")


def _bytes(value: Any) -> bytes:
    parts: list[bytes] = []
    _add(value, parts.append)
    return b"".join(parts)
