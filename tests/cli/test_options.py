"""An option given twice is an error for every command, unless it is repeatable."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lossbench.cli.commands import COMMANDS, load_command

Run = Callable[..., tuple[int, str, str]]
VALUES = {"--format": "json", "--port": "5001", "--probe": "1", "--checkpoint-every": "1"}
PASSWORD = "http://me:secret@host"


def _commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    for name in COMMANDS:
        command = load_command(name)
        if hasattr(command, "commands"):
            yield from (((name, below), found) for below, found in command.commands.items())
        else:
            yield (name,), command


def _options() -> Iterator[Any]:
    for words, command in _commands():
        for param in command.params:
            if param.param_type_name == "option" and not param.is_flag:
                yield pytest.param(words, command, param, id=f"{' '.join(words)} {param.opts[0]}")


@pytest.mark.parametrize(("words", "command", "param"), list(_options()))
def test_given_twice(words: tuple[str, ...], command: Any, param: Any, run: Run) -> None:
    name = param.opts[0]
    needed = [_argument(p) for p in command.params if p.param_type_name == "argument"]
    required = [p for p in command.params if p.required and p.param_type_name == "option"]
    needed += [text for p in required if p is not param for text in (p.opts[0], "x")]
    value = PASSWORD if name == "--tracking-uri" else VALUES.get(name, "x")
    arguments = [*words, *needed, name, value, name, value]
    if param.multiple:
        found = command.make_context("lossbench", arguments[len(words) :])
        assert len(found.params[param.name]) == 2
        return
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err == f"error: {name}: given twice; give it once\n"
    code, _, err = run(*words, *needed, f"{name}={value}", name, value)
    assert err == f"error: {name}: given twice; give it once\n"
    assert list(Path().iterdir()) == []


def _argument(param: Any) -> str:
    return "losses" if param.name == "kind" else "x"


def test_a_flag_may_be_given_twice(run: Run) -> None:
    assert "nowhere.yaml: no such file" in run("run", "nowhere.yaml", "--yes", "--yes")[2]


def test_a_key_given_twice(run: Run) -> None:
    code, _, err = run("test-loss", "lgm", "--set", "alpha=1", "--set", "alpha=2")
    assert (code, err) == (2, "error: --set alpha=2: alpha is set twice; give it once\n")


def test_seeds_by_two_options(run: Run) -> None:
    for key in ("seeds", '"seeds"'):
        code, _, err = run("plan", "x.yaml", "--set", f"{key}=[5]", "--seeds", "1,2")
        assert (code, err) == (2, "error: --seeds 1,2: --set gives seeds, too; give them once\n")
