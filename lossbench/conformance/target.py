"""Loading of the loss to be checked: `MODULE:CLASS`, or a registered name.

Only the named module is imported.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from lossbench.conformance.subject import D, K, Subject
from lossbench.errors import (
    ParameterError,
    RequestError,
    UnknownNameError,
    did_you_mean,
    format_exception,
)
from lossbench.losses import LOSSES, LossHead
from lossbench.registry import Entry, Registry
from lossbench.suite.yaml_io import read_override


def load_target(target: str, overrides: Iterable[str] = (), folder: Path | None = None) -> Subject:
    """Load a loss, and create one head to check that this is possible.

    Args:
        target: `MODULE:NAME` of a `LossHead` class or of a function that returns one for
            (num_classes, feature_dim), or the name of a registered loss.
        overrides: `PARAM=VALUE` of the loss's parameters; the value is YAML.
        folder: Folder that is searched first for the module; None for the working folder.

    Raises:
        RequestError: There is no such loss, it is not a `LossHead`, or it cannot be created
            with these parameters.
    """
    module_name, separator, name = target.partition(":")
    file: Path | None = None
    if not separator:
        try:
            entry = LOSSES[target]
        except UnknownNameError as error:
            raise RequestError(f"{error}; name a class as MODULE:CLASS") from None
    else:
        module = _import(module_name, target, (folder or Path.cwd()).resolve())
        file = Path(module.__file__) if module.__file__ else None
        entry = _entry(module, name, target)
    params: dict[str, Any] = {}
    for override in overrides:
        key, value = _parameter(override)
        if key in params:
            raise RequestError(f"--set {override}: {key} is set twice; give it once")
        params[key] = value
    label = target if file is None else f"{file.name}: {name}"
    try:
        entry.resolve(params)
        head: Any = entry.create(K, D, **params)
    except ParameterError as error:
        listed = "; ".join(f"{problem.key}: {problem.message}" for problem in error.problems)
        raise RequestError(f"{label}: {listed}") from None
    except Exception as error:
        raise RequestError(f"{label} cannot be created: {format_exception(error, file)}") from None
    if not isinstance(head, LossHead):
        raise RequestError(
            f"{label}: returns a {type(head).__name__}, not a LossHead; derive its class from "
            "lossbench.losses.LossHead"
        )
    return Subject(functools.partial(entry.create, **params), file)


def _parameter(override: str) -> tuple[str, Any]:
    key, value = read_override(override)
    if "." in key:
        raise RequestError(f"--set {override}: should be PARAMETER=VALUE, without dots")
    return key, value


def _import(name: str, target: str, folder: Path) -> ModuleType:
    if name.endswith(".py"):
        right = f"{Path(name).stem}:{target.partition(':')[2]}"
        raise RequestError(f"{target}: name the module without .py, as in {right}")
    if not re.fullmatch(r"\w+(\.\w+)*", name):
        raise RequestError(f"{target}: should be MODULE:CLASS, as in my_losses:MyHead")
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and name.split(".")[: error.name.count(".") + 1] == (
            error.name.split(".")
        ):
            near = did_you_mean(name, (path.stem for path in folder.glob("*.py")))
            raise RequestError(f"{target}: no module {name!r} in {folder}{near}") from None
        raise RequestError(f"{target}: {_import_failure(error, name, folder)}") from None
    except SyntaxError as error:
        place = f"{Path(error.filename or name).name}:{error.lineno}"
        raise RequestError(f"{place}: {type(error).__name__}: {error.msg}") from None
    except (Exception, SystemExit) as error:
        raise RequestError(f"{target}: {_import_failure(error, name, folder)}") from None
    finally:
        sys.path.remove(str(folder))


def _import_failure(error: BaseException, name: str, folder: Path) -> str:
    file = folder.joinpath(*name.split(".")).with_suffix(".py")
    return f"cannot be imported: {format_exception(error, file)}"


def _entry(module: ModuleType, name: str, target: str) -> Entry[LossHead]:
    found = getattr(module, name, None) if name else None
    file = Path(module.__file__ or module.__name__).name
    if found is None:
        near = did_you_mean(name, _candidates(module))
        raise RequestError(
            f"{target}: {file} has no {name!r}{near}"
            if name
            else f"{target}: name the class, as in {module.__name__}:MyHead{near}"
        )
    if isinstance(found, type):
        place = f"{file}:{_line(found)}"
        if not issubclass(found, LossHead):
            raise RequestError(
                f"{place}: {name} is not a LossHead; derive it from lossbench.losses.LossHead"
            )
        missing = sorted(getattr(found, "__abstractmethods__", ()))
        if missing:
            raise RequestError(f"{place}: {name} has no {' and no '.join(missing)}")
    elif not callable(found):
        raise RequestError(f"{file}: {name} is a {type(found).__name__}, not a LossHead class")
    if entry := LOSSES.entry_of(found):
        return entry
    registry: Registry[LossHead] = Registry("loss")
    try:
        registry.register(name)(found)
    except Exception as error:  # evaluating annotations may raise any exception
        reason = error if isinstance(error, RequestError) else format_exception(error, None)
        raise RequestError(f"{file}: the parameters of {name} cannot be read: {reason}") from None
    return registry[name]


def _candidates(module: ModuleType) -> list[str]:
    own: Mapping[str, Any] = {n: v for n, v in vars(module).items() if not n.startswith("_")}
    heads = [
        n
        for n, v in own.items()
        if isinstance(v, type) and issubclass(v, LossHead) and not inspect.isabstract(v)
    ]
    functions = [
        n for n, v in own.items() if inspect.isfunction(v) and v.__module__ == module.__name__
    ]
    return [*heads, *functions]


def _line(found: type) -> int:
    try:
        return inspect.getsourcelines(found)[1]
    except (OSError, TypeError):
        return 0
