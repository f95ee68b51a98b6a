"""Plugins: Python files of the user that register components, given on the command line.

A plugin is one Python file. It registers its components in the same way as lossbench:

    from lossbench.losses import LOSSES, LossHead

    @LOSSES.register("my_loss", reference="...")
    class MyHead(LossHead): ...

The text of the file is sent to the workers with each trial. A digest of the code of each component
(see `code_digest`) is part of the identity of the trials that use it, so that trials of an edited
loss are run again. A suite file cannot name a plugin, so running somebody else's suite never runs
their code.
"""

from __future__ import annotations

import inspect
import linecache
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from lossbench.assembly.code_digest import CodeDigests
from lossbench.assembly.registries import REGISTRIES
from lossbench.errors import RequestError, did_you_mean, format_exception
from lossbench.evaluation import EVALUATIONS, Evaluation
from lossbench.losses import LOSSES, LossHead
from lossbench.planning.trial import short_digest
from lossbench.records import Plugin
from lossbench.registry import Entry, Registry, registering

installed: dict[str, str] = {}
"""File -> digest of its text as registered in this process."""


def read_plugins(paths: Iterable[Path]) -> tuple[Plugin, ...]:
    """Read plugin files and register their components.

    Raises:
        RequestError: A file cannot be read or imported, or registers nothing usable.
    """
    plugins = []
    for path in dict.fromkeys(paths):
        plugin = _read(path)
        try:
            install([plugin])
        except RequestError as error:  # raised by a registry
            raise RequestError(f"--plugin {path}: {error}") from None
        except (Exception, SystemExit) as error:
            raise RequestError(f"--plugin {path}: {_why(error, path.resolve())}") from None
        _require_usable(plugin, path)
        plugins.append(plugin)
    return tuple(plugins)


def install(plugins: Iterable[Plugin]) -> None:
    """Register the components of plugins in this process.

    An unchanged plugin is registered once; an edited plugin replaces its earlier version.
    Exceptions of a plugin's code are not caught.
    """
    for plugin in plugins:
        digest = _digest(plugin)
        if installed.get(plugin.file) == digest:
            continue
        forget(plugin.file)
        installed[plugin.file] = digest
        module = ModuleType(Path(plugin.file).stem)
        module.__file__ = plugin.file
        lines = plugin.text.splitlines(keepends=True)
        # tracebacks and torch.compile read the source, which other nodes do not have
        linecache.cache[plugin.file] = (len(plugin.text), None, lines, plugin.file)
        sys.modules[module.__name__] = module  # dataclasses and pickle look it up there
        folder = str(Path(plugin.file).parent)
        sys.path.insert(0, folder)  # the plugin may import modules of its folder
        try:
            with registering(digest, CodeDigests(plugin.text, Path(plugin.file))):
                exec(compile(plugin.text, plugin.file, "exec"), module.__dict__)
        except BaseException:
            forget(plugin.file)
            raise
        finally:
            sys.path.remove(folder)


def forget(file: str) -> None:
    """Remove the components of a plugin file from the registries of this process."""
    digest = installed.pop(file, None)
    if digest is not None:
        sys.modules.pop(Path(file).stem, None)
        for registry in REGISTRIES:
            registry.unregister(digest)


def _read(path: Path) -> Plugin:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = [p.name for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
        hint = did_you_mean(path.name, near)
        if not path.suffix and path.with_suffix(".py").exists():
            hint = f"; did you mean {path}.py?"
        raise RequestError(f"--plugin {path}: no such file{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not a text file in UTF-8"
        raise RequestError(f"--plugin {path}: {reason}") from None
    stem = path.stem
    if path.suffix != ".py" or not stem.isidentifier():
        raise RequestError(f"--plugin {path}: should be a Python file, as in my_loss.py")
    if stem in sys.modules and str(path.resolve()) not in installed:
        raise RequestError(f"--plugin {path}: a module is called {stem!r} already; rename the file")
    return Plugin(file=str(path.resolve()), text=text)


def _digest(plugin: Plugin) -> str:
    return short_digest(plugin.text)


def _why(error: BaseException, file: Path) -> str:
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: {type(error).__name__}: {error.msg}"
    return f"cannot be imported: {format_exception(error, file)}"


def _require_usable(plugin: Plugin, path: Path) -> None:
    """Check that a plugin registers something, and that its classes can be used.

    Raises:
        RequestError: It does not.
    """
    digest = _digest(plugin)
    if not any(registry.registered_by(digest) for registry in REGISTRIES):
        forget(plugin.file)
        raise RequestError(
            f"--plugin {path}: registers nothing; put @LOSSES.register('my_loss') before your "
            "class (from lossbench.losses import LOSSES, LossHead), or "
            "@EVALUATIONS.register('my_metric') (from lossbench.evaluation import EVALUATIONS)"
        )
    bases: tuple[tuple[Registry[Any], type, str], ...] = (
        (LOSSES, LossHead, "lossbench.losses"),
        (EVALUATIONS, Evaluation, "lossbench.evaluation"),
    )
    for registry, base, module in bases:
        for entry in registry.registered_by(digest):
            problem = _problem(entry, base, module)
            if problem:
                forget(plugin.file)
                raise RequestError(f"--plugin {path}: {registry.kind} {entry.name!r}: {problem}")


def _problem(entry: Entry[Any], base: type, module: str) -> str:
    """Reason why a class cannot be used; empty if there is none.

    Args:
        entry: Entry of a plugin.
        base: Class that it has to be derived from.
        module: Module of that class.
    """
    factory = entry.factory
    if not isinstance(factory, type):
        return ""  # the result of a function is known only after a call
    if not issubclass(factory, base):
        name = base.__name__
        return f"{factory.__name__} is no {name}; derive it from {module}.{name}"
    if inspect.isabstract(factory):
        lacking = " and ".join(sorted(getattr(factory, "__abstractmethods__", ())))
        return f"{factory.__name__} lacks {lacking}"
    return ""
