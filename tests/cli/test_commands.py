"""The list of commands, whose modules are imported when they are used."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest
import typer

from lossbench.cli.commands import COMMANDS, load_command
from lossbench.cli.main import app

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_summary_is_the_first_paragraph_of_the_help(name: str) -> None:
    found = COMMANDS[name].load()
    text = found.info.help if isinstance(found, typer.Typer) else found.__doc__
    assert isinstance(text, str)
    assert COMMANDS[name].summary == inspect.cleandoc(text).split("\n\n")[0]
    assert load_command(name).name == name


def test_help_lists_the_commands_that_are_not_hidden(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    listed = {line.split()[0] for line in out.partition("Commands:")[2].splitlines() if line}
    assert listed >= {"run", "test-loss", "data"}
    assert listed == {name for name, source in COMMANDS.items() if not source.hidden}


def test_shell_completion(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, expected in (
        ("lossbench re", ["report"]),
        ("lossbench data p", ["prepare"]),
        ("lossbench list l", ["losses"]),
        ("lossbench plan --see", ["--seeds"]),
    ):
        monkeypatch.setenv("_LOSSBENCH_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
        with pytest.raises(SystemExit):
            app([], prog_name="lossbench")
        assert capsys.readouterr().out.split() == expected
