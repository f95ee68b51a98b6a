"""`lossbench test-loss`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conformance.test_target import HEAD

Run = Callable[..., tuple[int, str, str]]


def _write(name: str, text: str = HEAD) -> str:
    Path(f"{name}.py").write_text(text, encoding="utf-8")
    return f"{name}:Head"


def test_each_check_has_a_line_and_a_failed_one_decides(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    code, out, err = run("test-loss", _write("my_sound_loss"))
    assert (code, err) == (0, "")
    assert "15 of 15 checks passed" in out

    broken = HEAD.replace("    @in_float32\n    def terms", "    def terms")
    code, out, err = run("test-loss", _write("my_broken_loss", broken))
    assert code == 1
    [line] = [line for line in out.splitlines() if "FAILED" in line]
    assert line.split()[0] == "autocast"
    assert "14 of 15 checks passed" in out


def test_an_unknown_loss_is_one_message(run: Run) -> None:
    code, out, err = run("test-loss", "lgn")
    assert (code, out) == (2, "")
    assert err.startswith("error: unknown loss 'lgn'")


TWO_COMMANDS = """
import pathlib, sys
from lossbench.cli.main import main

for target in ("my_loss:Head", "broken"):
    sys.argv = ["lossbench", "test-loss", target]
    try:
        main()
    except SystemExit as end:
        print(end.code or 0, pathlib.Path("imported").exists())
        print("END")
"""
"""Prints each exit code, and whether the broken package has been imported."""


def test_installed_packages_are_not_imported(tmp_path: Path) -> None:
    """A broken package that offers a loss matters only to those who ask for its loss."""
    site = tmp_path / "site"
    info = site / "broken_package-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Name: broken_package\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(
        "[lossbench.losses]\nbroken = broken_package:Head\n", encoding="utf-8"
    )
    (site / "broken_package.py").write_text(
        "import pathlib\npathlib.Path('imported').touch()\nraise ImportError('out of order')\n",
        encoding="utf-8",
    )
    (tmp_path / "my_loss.py").write_text(HEAD, encoding="utf-8")

    done = subprocess.run(
        [sys.executable, "-c", TWO_COMMANDS],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(site), *sys.path])},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    first, second, rest = done.stdout.split("END\n")
    assert "15 of 15 checks passed" in first
    assert first.endswith("0 False\n"), done.stderr
    assert (second, rest) == ("2 True\n", "")
    assert "'broken' of broken_package" in done.stderr
    assert "out of order" in done.stderr
