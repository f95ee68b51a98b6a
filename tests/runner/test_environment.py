"""Environment of a training: changes of the code that change its digest."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import lossbench
from lossbench.runner.environment import code_digest

COMMENT = "# a comment\n"
FIRST = "from __future__ import annotations\n"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Copy of the package that a test may change."""
    source = Path(lossbench.__file__).parent
    ignored = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(source, tmp_path / "lossbench", ignore=ignored))


def digest_after(package: Path, file: str, old: str, new: str) -> str:
    """Digest of the code with one text of a file replaced."""
    path = package / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    code_digest.cache_clear()
    return code_digest(package)


def test_comments_docstrings_and_formatting_do_not_change_the_digest(package: Path) -> None:
    before = code_digest(package)
    assert before == code_digest()
    old = "def constant(_: int) -> Schedule:\n"
    assert digest_after(package, "training/schedules.py", old, f"{COMMENT}{old}") == before
    old = '"""Constant learning rate."""'
    assert digest_after(package, "training/schedules.py", old, '"""Another text."""') == before
    old = "    return lambda epoch: 1.0"
    new = "    return (\n        lambda epoch: 1.0\n    )"
    assert digest_after(package, "training/schedules.py", old, new) == before


@pytest.mark.parametrize(
    "file",
    [
        "training/loop.py",
        "losses/softmax.py",
        "planning/divergence.py",
        "assembly/build.py",
        "runner/trial.py",
        "runner/measurement.py",
    ],
)
def test_code_that_affects_results_changes_the_digest(package: Path, file: str) -> None:
    assert digest_after(package, file, FIRST, f"{FIRST}\nCONSTANT = 1\n") != code_digest()


@pytest.mark.parametrize(
    "file",
    [
        "errors/__init__.py",
        "report/build.py",
        "cli/main.py",
        "planning/plan.py",
        "suite/schema.py",
        "runner/run.py",
        "tracking/store.py",
    ],
)
def test_code_for_plans_runs_and_reports_does_not_change_the_digest(
    package: Path, file: str
) -> None:
    assert digest_after(package, file, FIRST, f"{FIRST}\nCONSTANT = 1\n") == code_digest()


def test_a_changed_constant_changes_the_digest(package: Path) -> None:
    old, new = "ROUNDING = 1e-9", "ROUNDING = 1e-8"
    assert digest_after(package, "training/schedules.py", old, new) != code_digest()


def test_a_new_module_changes_the_digest(package: Path) -> None:
    (package / "losses" / "mine.py").write_text("CONSTANT = 1\n", encoding="utf-8")
    code_digest.cache_clear()
    assert code_digest(package) != code_digest()
