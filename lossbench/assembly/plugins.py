"""Losses of the user's own: files that register them, named on the command line.

A plugin is one Python file. It registers what it holds as lossbench does its own:

    from lossbench.losses import LOSSES, LossHead

    @LOSSES.register("my_loss", reference="...")
    class MyHead(LossHead): ...

Its text travels with every trial to the worker that runs it. A digest of what the loss is made of
(see `code_digest`) is part of the identity of the trials that use it: an edited loss is another
loss, and is run again. A suite file
cannot name a plugin, so to run somebody's suite never runs their code.
"""

from __future__ import annotations

import inspect
import linecache
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from lossbench.assembly.code_digest import CodeDigests
from lossbench.assembly.registries import REGISTRIES
from lossbench.errors import RequestError, did_you_mean, format_exception
from lossbench.losses import LOSSES, LossHead
from lossbench.planning.trial import short_digest
from lossbench.records import Plugin
from lossbench.registry import Entry, registering

_installed: dict[str, str] = {}
"""File -> digest of what was registered from it in this process."""


def read_plugins(paths: Iterable[Path]) -> tuple[Plugin, ...]:
    """Read the user's files and register what they hold.

    Raises:
        RequestError: A file cannot be read or imported, or registers nothing that can be used.
    """
    plugins = []
    for path in dict.fromkeys(paths):
        plugin = _read(path)
        try:
            install([plugin])
        except RequestError as error:  # of a registry
            raise RequestError(f"--plugin {path}: {error}") from None
        except (Exception, SystemExit) as error:
            raise RequestError(f"--plugin {path}: {_why(error, path.resolve())}") from None
        _require_usable(plugin, path)
        plugins.append(plugin)
    return tuple(plugins)


def install(plugins: Iterable[Plugin]) -> None:
    """Register in this process what plugins hold; once each, and an edited one in place of itself.

    Raises whatever a plugin's code raises.
    """
    for plugin in plugins:
        digest = _digest(plugin)
        if _installed.get(plugin.file) == digest:
            continue
        _forget(plugin.file)
        _installed[plugin.file] = digest
        module = ModuleType(Path(plugin.file).stem)
        module.__file__ = plugin.file
        lines = plugin.text.splitlines(keepends=True)
        # tracebacks and torch.compile read the source, which another node does not have
        linecache.cache[plugin.file] = (len(plugin.text), None, lines, plugin.file)
        sys.modules[module.__name__] = module  # where dataclasses and pickle look
        beside = str(Path(plugin.file).parent)
        sys.path.insert(0, beside)  # it may import its neighbours, where there are any
        try:
            with registering(digest, CodeDigests(plugin.text, Path(plugin.file))):
                exec(compile(plugin.text, plugin.file, "exec"), module.__dict__)
        except BaseException:
            _forget(plugin.file)
            raise
        finally:
            sys.path.remove(beside)


def _forget(file: str) -> None:
    digest = _installed.pop(file, None)
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
    if stem in sys.modules and str(path.resolve()) not in _installed:
        raise RequestError(f"--plugin {path}: a module is called {stem!r} already; rename the file")
    return Plugin(file=str(path.resolve()), text=text)


def _digest(plugin: Plugin) -> str:
    return short_digest(plugin.text)


def _why(error: BaseException, file: Path) -> str:
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: {type(error).__name__}: {error.msg}"
    return f"cannot be imported: {format_exception(error, file)}"


def _require_usable(plugin: Plugin, path: Path) -> None:
    """Whether it registers anything, and whether what it calls losses are some."""
    digest = _digest(plugin)
    if not any(registry.registered_by(digest) for registry in REGISTRIES):
        _forget(plugin.file)
        raise RequestError(
            f"--plugin {path}: registers nothing; put @LOSSES.register('my_loss') before your "
            "class (from lossbench.losses import LOSSES, LossHead)"
        )
    for entry in LOSSES.registered_by(digest):
        problem = _problem(entry)
        if problem:
            _forget(plugin.file)
            raise RequestError(f"--plugin {path}: loss {entry.name!r}: {problem}")


def _problem(entry: Entry[LossHead]) -> str:
    factory = entry.factory
    if not isinstance(factory, type):
        return ""  # what a function makes is seen when it is called
    if not issubclass(factory, LossHead):
        return f"{factory.__name__} is no LossHead; derive it from lossbench.losses.LossHead"
    if inspect.isabstract(factory):
        lacking = " and ".join(sorted(factory.__abstractmethods__))
        return f"{factory.__name__} lacks {lacking}"
    return ""
