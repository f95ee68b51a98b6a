"""Plans of checked suites, kept in the user's cache folder: an unchanged suite needs no torch.

A plan is kept with all that its check has read, and used only while all of this is unchanged: the
suite with its overrides, the code of lossbench, the installed packages, Python, the machine, the
environment's folders, and every file of data, labels or weights. A plan is not kept if a part of
this cannot be listed: with plugins, with initial weights from a file, or with data in nested
folders.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import sys
import sysconfig
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

import lossbench
from lossbench.data.content_digest import SETTLED_NS, file_state
from lossbench.planning.head_requirements import DryRunHead, HeadRequirements
from lossbench.planning.plan import Plan
from lossbench.planning.plan_file import PlanRecord, plan_of, plan_record
from lossbench.records import Strict
from lossbench.registry import user_path
from lossbench.suite.cache import installation_digest, read_cached, write_cached
from lossbench.suite.schema import Component, Suite

VARIABLE = "LOSSBENCH_PLAN_CACHE"
"""Environment variable that turns the cache off with the value `off`."""
KEPT = 64
"""Number of plans that are kept, the last written ones."""
_NAME = "plan"
_ENVIRONMENT = ("HOME", "XDG_CACHE_HOME")
_MACHINE = ("/proc/", "/sys/", "/dev/")
_State = tuple[int, int, int, int] | None
"""State of a file or folder, as in `FileState`; None if there is none."""


class _CachedPlan(Strict):
    """A plan, and the states of the files and folders that its check has read, by path."""

    states: dict[str, _State] = Field(min_length=1)
    plan: PlanRecord


def read_cached_plan(suite: Suite, data_root: Path) -> Plan | None:
    """The plan of an earlier check of the same suite; None if it has to be checked.

    Args:
        suite: Suite with its overrides, used without plugins.
        data_root: Folder of prepared data sets.
    """
    if not _is_on():
        return None
    try:
        content = read_cached(_NAME, _key(suite, data_root))
        kept = _CachedPlan.model_validate_json(json.dumps(content))
        if any(_state(path) != state for path, state in kept.states.items()):
            return None
    except (OSError, ValidationError):  # no working folder, or no plan
        return None
    return _restored(kept.plan, suite, data_root)


def check_and_cache(suite: Suite, data_root: Path, names: Iterable[str]) -> Plan:
    """Check a suite completely and keep its plan, if all that the check reads is known.

    Args:
        suite: Suite with its overrides, used without plugins.
        data_root: Folder of prepared data sets.
        names: Names of all its data sets.

    Raises:
        As `check`.
    """
    from lossbench.assembly.check import check

    started_ns, key = time.time_ns(), ""
    if _is_on():
        with contextlib.suppress(OSError):
            key = _key(suite, data_root)  # with the code before the check
    with _opened_files() as opened:
        plan = check(suite, data_root)
    if key and _is_known(plan):
        with contextlib.suppress(OSError):
            read = [*_dataset_files(names, data_root), *_label_files(plan, data_root), *opened]
            states = _states(read, started_ns)
            if states is not None:
                _keep(key, plan, states, suite, data_root)
    return plan


def _is_on() -> bool:
    return os.environ.get(VARIABLE) != "off"


def _restored(record: PlanRecord, suite: Suite, data_root: Path) -> Plan:
    plan = plan_of(record)
    return replace(
        plan,
        suite=plan.suite.with_origin(suite.origin),
        dry_run_head=_dry_run_head(suite, data_root),
    )


def _dry_run_head(suite: Suite, data_root: Path) -> DryRunHead:
    """Dry run of further heads, which a search proposes; the first one checks the suite again."""

    @functools.cache
    def checked() -> DryRunHead:
        from lossbench.assembly.check import check

        found = check(suite, data_root).dry_run_head
        assert found is not None
        return found

    def dry_run_head(variant: str, loss: Component) -> HeadRequirements:
        return checked()(variant, loss)

    return dry_run_head


def _is_known(plan: Plan) -> bool:
    """Whether no code of users and no file with weights, which Python may not open, was used."""
    groups = importlib.metadata.entry_points().groups
    if plan.sources or any(group.startswith("lossbench.") for group in groups):
        return False
    return not any(column.weights_digest for column in plan.columns.values())


def _keep(key: str, plan: Plan, states: dict[str, _State], suite: Suite, data_root: Path) -> None:
    """Store a plan, if it can be read as it was."""
    record = plan_record(plan)
    text = _CachedPlan(states=states, plan=record).model_dump_json()
    read = _CachedPlan.model_validate_json(text).plan
    same_text = read.model_dump_json() == record.model_dump_json()
    if _restored(read, suite, data_root) == plan and same_text:
        write_cached(_NAME, key, json.loads(text), max_files=KEPT)


def _key(suite: Suite, data_root: Path) -> str:
    """Digest of everything that a check depends on, except the files that it reads."""
    content: list[Any] = [
        suite.model_dump(mode="json"),
        _given_keys(suite),
        [str(data_root), os.getcwd(), *(os.environ.get(name) for name in _ENVIRONMENT)],
        [sys.executable, sys.path, platform.node(), platform.machine()],
        installation_digest(),
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def _given_keys(value: object) -> object:
    """Keys that a suite gives; a default may have another effect than the same value if given."""
    if isinstance(value, BaseModel):
        return {key: _given_keys(getattr(value, key)) for key in sorted(value.model_fields_set)}
    if isinstance(value, Mapping):
        return {key: _given_keys(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_given_keys(each) for each in value]
    return None


def _state(path: str) -> _State:
    try:
        return file_state(os.stat(path))
    except (FileNotFoundError, NotADirectoryError):
        return None


def _dataset_files(names: Iterable[str], data_root: Path) -> Iterator[str]:
    """Paths of data sets, of their content, and of content that would change how they are read.

    A nested folder is a path that ends with a separator.
    """
    for name in names:
        is_path = "/" in name or name.startswith(".")
        folder = user_path(name).absolute() if is_path else (data_root / name).absolute()
        yield str(folder)
        yield str(folder / "dataset.json")
        with contextlib.suppress(FileNotFoundError):  # a bundled data set
            for entry in os.scandir(folder):
                yield f"{entry.path}{os.sep if entry.is_dir() else ''}"


def _label_files(plan: Plan, data_root: Path) -> Iterator[str]:
    """Paths of files of labels, which are not opened if they were read for another suite before."""
    from lossbench.data.label_files import find_label_file  # imports torch

    for settings in plan.settings.values():
        noise = settings.dataset.label_noise
        if noise is not None and noise.file is not None:
            yield str(find_label_file(noise.file, data_root))


def _states(paths: Iterable[str], started_ns: int) -> dict[str, _State] | None:
    """States of files and folders that were read in a check.

    Args:
        paths: Paths as from `_dataset_files`, and of opened files.
        started_ns: Start of the check.

    Returns:
        None if a folder is nested, or if a file may have changed since shortly before the check.
    """
    states: dict[str, _State] = {}
    for path in dict.fromkeys(paths):
        states[path] = state = _state(path)
        if path.endswith(os.sep):
            return None
        if state and max(state[1:3]) > started_ns - SETTLED_NS:
            return None
    return states


_recorders: list[set[str]] = []


@functools.cache
def _install_hook() -> None:
    def record(event: str, arguments: tuple[Any, ...]) -> None:
        if _recorders and event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            path = os.path.abspath(os.fsdecode(arguments[0]))
            for opened in _recorders:
                opened.add(path)

    sys.addaudithook(record)  # it stays for the life of the process


@contextlib.contextmanager
def _opened_files() -> Iterator[set[str]]:
    """Paths of the files that Python opens meanwhile, without those of code and of the machine."""
    _install_hook()
    opened: set[str] = set()
    _recorders.append(opened)
    try:
        yield opened
    finally:
        _recorders.remove(opened)
        code = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
        ignored = (*(f"{folder}{os.sep}" for folder in code), *_MACHINE)
        own = str(Path(lossbench.__file__).parent)
        opened -= {
            path
            for path in opened
            if path.startswith(ignored) or (path.startswith(own) and path.endswith((".py", ".pyc")))
        }
