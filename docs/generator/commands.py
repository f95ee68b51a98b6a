"""The command line's reference, from the functions of its verbs."""

from __future__ import annotations

import enum
import inspect
import typing
from collections.abc import Callable, Iterator
from typing import Any

import typer
from typer.models import ArgumentInfo, OptionInfo

from lossbench.cli.documentation.markdown_parts import Row, code, table
from lossbench.cli.main import app

INTRODUCTION = """\
# Command line

What `--help` says, on one page. `lossbench --install-completion` completes verbs, options and file
names in your shell; `lossbench --version` prints the version.

| exit code | |
| --- | --- |
| 0 | good |
| 1 | a trial failed, a regression was found, an audit or a loss's contract failed |
| 2 | the request was wrong; nothing was started |
| 3 | a check found too little evidence |
| 130, 143, 129 | stopped by Ctrl-C, SIGTERM, SIGHUP; the same command goes on |"""


def command_line() -> str:
    """Every verb with its options, help and examples."""
    verbs = [_verb(name, function) for name, function in _verbs(app, "lossbench")]
    return "\n\n".join([INTRODUCTION, *verbs])


def _verbs(group: typer.Typer, prefix: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    for command in group.registered_commands:
        assert command.callback is not None
        yield f"{prefix} {command.name or command.callback.__name__}", command.callback
    for below in group.registered_groups:
        assert below.typer_instance is not None
        yield from _verbs(below.typer_instance, f"{prefix} {below.name}")


def _verb(name: str, function: Callable[..., Any]) -> str:
    told, _, examples = inspect.cleandoc(function.__doc__ or "").partition("\b\n")
    signature = inspect.signature(function).parameters
    arguments, options, usage = [], [], [name]
    for key, hint in typing.get_type_hints(function, include_extras=True).items():
        for info in getattr(hint, "__metadata__", ()):
            if isinstance(info, ArgumentInfo):
                usage.append(_metavar(info, hint))
                arguments.append((code(_metavar(info, hint)), info.help or ""))
            elif isinstance(info, OptionInfo):
                options.append(_option(key, info, hint, signature[key].default))
    lines = inspect.cleandoc(examples.partition("\n")[2])
    parts = [
        f"## {name}",
        f"```\n{' '.join([*usage, '[OPTIONS]'])}\n```",
        told.strip(),
        table(("argument", ""), arguments),
        table(("option", "", "default"), options),
        f"Examples:\n\n```\n{lines}\n```" if lines else "",
    ]
    return "\n\n".join(part for part in parts if part)


def _metavar(info: ArgumentInfo | OptionInfo, hint: Any) -> str:
    """`FILE`, or the values to choose from."""
    of = hint.__origin__
    kinds = [kind for kind in typing.get_args(of) or [of] if kind is not type(None)]
    choices = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, enum.Enum)]
    if choices and not info.metavar:
        return "|".join(str(choice.value) for choice in choices[0])
    return info.metavar or str(getattr(kinds[0], "__name__", kinds[0])).upper()


def _option(key: str, info: OptionInfo, hint: Any, default: Any) -> Row:
    flag = hint.__origin__ is bool
    name = "--" + key.rstrip("_").replace("_", "-")
    # typer takes a first name for the default, where the default is the function's own
    first = [info.default] if isinstance(info.default, str) else []
    names = ", ".join([*first, *(info.param_decls or ())])
    names = names or (f"{name}, --no-{name[2:]}" if flag else name)
    shown = names if flag else f"{names} {_metavar(info, hint)}"
    told = info.help or ""
    if info.envvar:
        told += f" Environment: `{info.envvar}`."
    value = getattr(default, "value", default)
    return code(shown), told, "" if value in (None, [], False) else code(str(value))
