"""The reference of the command line, from the functions of its commands."""

from __future__ import annotations

import enum
import inspect
import typing
from collections.abc import Callable, Iterator
from typing import Any

import typer
from typer.models import ArgumentInfo, OptionInfo

from lossbench.cli.commands import COMMANDS
from lossbench.cli.documentation.markdown_parts import Row, code, table

INTRODUCTION = """\
# Command line

This page has the `--help` of every command. `lossbench --install-completion` installs shell
completion of commands, options and file names; `lossbench --version` prints the version.

| exit code | meaning |
| --- | --- |
| 0 | success |
| 1 | a trial failed, a regression was found, an unfair comparison, or a violated contract |
| 2 | invalid request; nothing was started |
| 3 | too little evidence for a check |
| 130, 143, 129 | stopped by Ctrl-C, SIGTERM, SIGHUP; run the same command to continue |"""


def command_line() -> str:
    """The page: every command with its options, help and examples."""
    sections = [_section(name, function) for name, function in _commands()]
    return "\n\n".join([INTRODUCTION, *sections])


def _commands() -> Iterator[tuple[str, Callable[..., Any]]]:
    for name, source in COMMANDS.items():
        found = source.load()
        if not isinstance(found, typer.Typer):
            yield f"lossbench {name}", found
            continue
        for command in found.registered_commands:
            assert command.callback is not None
            yield f"lossbench {name} {command.name or command.callback.__name__}", command.callback


def _section(name: str, function: Callable[..., Any]) -> str:
    description, _, examples = inspect.cleandoc(function.__doc__ or "").partition("\b\n")
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
        description.strip(),
        table(("argument", "meaning"), arguments),
        table(("option", "meaning", "default"), options),
        f"Examples:\n\n```\n{lines}\n```" if lines else "",
    ]
    return "\n\n".join(part for part in parts if part)


def _metavar(info: ArgumentInfo | OptionInfo, hint: Any) -> str:
    """Placeholder of a value: `FILE`, or the values to choose from."""
    annotated = hint.__origin__
    kinds = [k for k in typing.get_args(annotated) or [annotated] if k is not type(None)]
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
    text = info.help or ""
    if info.envvar:
        text += f" Environment: `{info.envvar}`."
    value = getattr(default, "value", default)
    return code(shown), text, "" if value in (None, [], False) else code(str(value))
