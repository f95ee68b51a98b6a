"""Commands as a user can type them again: without secrets, quoted for the shell."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from lossbench.errors.redaction import redacted


def command_text(arguments: Iterable[str]) -> str:
    """Return the text of the `lossbench` command with these arguments."""
    return shlex.join(["lossbench", *map(redacted, arguments)])


def run_command(
    suite: Path,
    overrides: Sequence[str],
    only: str | None,
    seeds: str | None,
    plugins: Sequence[Path] = (),
) -> str:
    """Return the `lossbench run` command for a request, without absolute paths."""
    arguments = ["run", _portable(suite)]
    for plugin in plugins:
        arguments += ["--plugin", _portable(plugin)]
    for override in overrides:
        arguments += ["--set", override]
    for option, value in (("--only", only), ("--seeds", seeds)):
        if value is not None:
            arguments += [option, value]
    return command_text(arguments)


def _portable(path: Path) -> str:
    if path.is_absolute():
        inside = path.is_relative_to(Path.cwd())
        path = path.relative_to(Path.cwd()) if inside else Path(path.name)
    return str(path)
