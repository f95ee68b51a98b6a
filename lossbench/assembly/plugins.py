"""Plugins: Python files of the user that register components, given on the command line.

A plugin is one Python file. It registers its components in the same way as lossbench:

    from lossbench.losses import LOSSES, LossHead

    @LOSSES.register("my_loss", reference="...")
    class MyHead(LossHead): ...

Likewise models, augmentations, evaluations, optimizers and schedules (`registries.KINDS`). The text
of the file is sent to the workers with each trial. A digest of the code of each component (see
`code_digest`) is part of the identity of the trials that use it, so that trials of an edited loss
are run again. A suite file cannot name a plugin, so running somebody else's suite never runs
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

from torch import nn

from lossbench.assembly.code_digest import CodeDigests
from lossbench.assembly.registries import KINDS, REGISTRIES, ComponentKind
from lossbench.errors import RequestError, did_you_mean, format_exception
from lossbench.planning.trial import short_digest
from lossbench.records import Plugin
from lossbench.registry import Entry, registering
from lossbench.training.optimizers import OPTIMIZERS

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
        first, *others = KINDS
        listed = ", ".join(f"{kind.constant} of {kind.module}" for kind in others)
        raise RequestError(
            f"--plugin {path}: registers nothing; put @{first.constant}.register"
            f"({first.example!r}) before your class (from {first.module} import "
            f"{first.constant}); registries of the other kinds: {listed}"
        )
    for kind in KINDS:
        for entry in kind.registry.registered_by(digest):
            if problem := _problem(entry, kind):
                forget(plugin.file)
                name = f"{kind.registry.kind} {entry.name!r}"
                raise RequestError(f"--plugin {path}: {name}: {problem}")


def _problem(entry: Entry[Any], kind: ComponentKind) -> str:
    """Reason why a factory cannot be used; empty if there is none."""
    factory = entry.factory
    if not callable(factory):
        return f"should be a class or a function, not {type(factory).__name__}"
    if isinstance(factory, type) and kind.base is not None:
        if not issubclass(factory, kind.base):
            base = kind.base.__name__
            module = "torch.nn" if kind.base is nn.Module else kind.module
            return f"{factory.__name__} is no {base}; derive it from {module}.{base}"
        if inspect.isabstract(factory):
            lacking = " and ".join(sorted(getattr(factory, "__abstractmethods__", ())))
            return f"{factory.__name__} lacks {lacking}"
    given = inspect.signature(factory).parameters.values()
    positional = [p for p in given if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in positional if p.default is p.empty]
    variable = any(p.kind is p.VAR_POSITIONAL for p in given)
    wanted = len(kind.arguments)
    if len(required) > wanted or (len(positional) < wanted and not variable):
        listed = ", ".join([*kind.arguments, "*", "name: float = 1.0"])
        message = (
            f"{factory.__name__} should have the arguments ({listed}): parameters follow the *"
        )
        if kind.registry is OPTIMIZERS:
            message += "; or derive it from torch.optim.Optimizer"
        return message
    return ""
