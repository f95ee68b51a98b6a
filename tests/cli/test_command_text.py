"""Commands that reports and baselines show."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from lossbench.cli.command_text import command_text, run_command


def test_arguments_are_quoted_and_secrets_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["report", "my suite.yaml", "--tracking-uri", "http://me:p'w d, long@host"]
    arguments += ["--set", "recipe.epochs=3"]
    monkeypatch.setattr(sys, "argv", ["lossbench", *arguments])  # where secrets are looked for
    shown = shlex.split(command_text(arguments))
    assert shown == ["lossbench", *arguments[:3], "http://***@host", *arguments[4:]]


def test_the_run_command_has_plugins_and_no_absolute_path() -> None:
    here, away = Path.cwd() / "my_loss.py", Path("/elsewhere/their_loss.py")
    overrides = ["x=1", "model.path=http://me:pw@host"]
    assert run_command(Path("a.yaml"), overrides, "c*", "0", [here, away]) == (
        "lossbench run a.yaml --plugin my_loss.py --plugin their_loss.py "
        "--set x=1 --set 'model.path=http://***@host' --only 'c*' --seeds 0"
    )
