"""Real processes with ASCII outputs, locales without UTF-8, and users without a home."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SUITE = """\
suite: plain
dataset: digits
model: {name: digits_cnn, feature_dim: 2}
recipe:
  epochs: 1
  batch_size: 64
  optimizer: {name: sgd, lr: 0.03, momentum: 0.9}
variants:
  größe: {}
losses: [softmax]
"""
ASCII = {"PYTHONIOENCODING": "ascii"}
C_LOCALE = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
NOBODY = 54_321
AS_NOBODY = [
    *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),  # Python may be root's
]


def lossbench(
    folder: Path, *arguments: str, before: list[str] | None = None, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    removed = {
        "MLFLOW_TRACKING_URI",
        "PYTHONIOENCODING",
        *(key for key, value in environment.items() if not value),
    }
    kept = {k: v for k, v in os.environ.items() if k not in removed}
    return subprocess.run(
        [*(before or []), sys.executable, "-m", "lossbench.cli", *arguments],
        cwd=folder,
        env=kept | {k: v for k, v in environment.items() if v},
        capture_output=True,
        timeout=300,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "plain.yaml").write_text(SUITE, encoding="utf-8")
    return tmp_path


@pytest.fixture
def open_folder(folder: Path) -> Path:
    """A folder in which another user can work, if the tests may become one."""
    if os.getuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("only root can become another user")
    with pytest.raises(KeyError):
        pwd.getpwuid(NOBODY)
    for path in (folder, *list(folder.parents)[:2]):
        path.chmod(0o777)
    return folder


@pytest.mark.parametrize("environment", [ASCII, C_LOCALE])
@pytest.mark.parametrize(
    "arguments", [["list", "losses", "lgm"], ["plan", "plain.yaml", "--trials"]]
)
def test_outputs_become_plain(
    folder: Path, arguments: list[str], environment: dict[str, str]
) -> None:
    done = lossbench(folder, *arguments, **environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii()
    if arguments[0] == "plan":
        assert b"grosse    softmax" in done.stdout


def test_errors_become_plain(folder: Path) -> None:
    done = lossbench(folder, "plan", "größe.yaml", **ASCII)
    assert done.returncode == 2
    assert done.stderr.isascii()
    assert b"no such file" in done.stderr


@pytest.mark.ray
def test_a_run_in_a_locale_without_utf_8(folder: Path) -> None:
    """Its result is kept, and its files are UTF-8."""
    done = lossbench(folder, "run", "plain.yaml", **C_LOCALE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert done.stderr.isascii()
    report = (folder / "reports" / "plain" / "report.md").read_text(encoding="utf-8")
    assert "größe" in report
    assert "±" in report
    for form in ("json", "csv", "markdown", "latex"):
        done = lossbench(folder, "report", "plain.yaml", "--format", form, **C_LOCALE)
        assert (done.returncode, done.stderr) == (0, b"")
        assert "größe" in done.stdout.decode("utf-8")  # what other programs read keeps its names
    assert lossbench(folder, "check", "plain.yaml", "--update", **C_LOCALE).returncode == 0
    done = lossbench(folder, "check", "plain.yaml", **ASCII)
    assert b"Traceback" not in done.stderr
    assert done.stdout.isascii()


@pytest.mark.parametrize("home", ["", "/", "/nonexistent"])
def test_a_user_without_a_home_can_plan(open_folder: Path, home: str) -> None:
    done = lossbench(open_folder, "plan", "plain.yaml", "--probe", "1", before=AS_NOBODY, HOME=home)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.ray
def test_a_user_without_a_home_can_run(open_folder: Path) -> None:
    for path in Path(sys.prefix, "lib").parents:
        if not path.stat().st_mode & 0o001:
            pytest.skip(f"alembic asks whether it may read its files, and {path} is closed")
    long = open_folder / ("long" * 30)
    long.mkdir()
    long.chmod(0o777)
    done = lossbench(open_folder, "run", "plain.yaml", before=AS_NOBODY, HOME="/", TMPDIR=str(long))
    assert done.returncode == 0, done.stderr
    assert (open_folder / "reports" / "plain" / "report.html").exists()
    assert b"Matplotlib" not in done.stderr


def test_every_option_takes_a_home(folder: Path) -> None:
    done = lossbench(
        folder, "plan", "~/plain.yaml", "--data-root=~/none", "--set=dataset=mine", HOME=str(folder)
    )
    assert done.returncode == 2
    assert f"--data-root {folder}/none: no such folder".encode() in done.stderr
    done = lossbench(folder, "plan", "plain.yaml", "--set=dataset=~/mine", HOME=str(folder))
    assert f"{folder}/mine: no such folder".encode() in done.stdout  # the plan has its table
    for option in ("--plugin", "--tracking-uri"):
        place = "~/none/x.py" if option == "--plugin" else "sqlite:///~/none/x.db"
        done = lossbench(folder, "plan", "plain.yaml", f"{option}={place}", HOME=str(folder))
        assert done.returncode == 2
        assert f"{folder}/none".encode() in done.stderr
