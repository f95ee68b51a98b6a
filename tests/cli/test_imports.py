"""Verbs that only read results start without the code that runs trials."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PROGRAM = """
import sys
from lossbench.cli.main import main

try:
    main()
except SystemExit as end:
    print("exit code", end.code)
found = [name for name in sys.modules if name == "ray" or name.startswith("lossbench.runner")]
sys.exit(" ".join(found) or 0)
"""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["plan", "--trials"], 0),
        (["plan", "--audit"], 0),
        (["report", "--format", "json"], 0),
        (["check", "--update"], 2),
        (["rank"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_a_verb_that_only_reads_never_imports_the_runner(
    arguments: list[str], code: int, write_suite: Callable[..., Path], uri: str, tmp_path: Path
) -> None:
    verb, *options = arguments
    command = [verb, str(write_suite()), *options, "--tracking-uri", uri]
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert f"exit code {code}" in ended.stdout, ended.stderr
    assert ended.returncode == 0, ended.stderr
