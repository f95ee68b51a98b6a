"""Real processes with ASCII outputs, locales without UTF-8, and users without a home."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
FORMATS = ("json", "csv", "markdown", "latex")
C_LOCALE = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
NOBODY = 54_321
AS_NOBODY = [
    *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),  # Python may be root's
]


PROGRAM = """
import json, sys
from lossbench.cli.main import main

for arguments in json.loads(sys.argv[1]):
    sys.argv = ["lossbench", *arguments]
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        stream.buffer.write(b"\\0%d\\0" % code)
        stream.flush()
"""
"""Several commands in one process, with the exit code of each after its output."""


@dataclass(frozen=True)
class Done:
    """Exit code and outputs of one of the commands in a process."""

    returncode: int
    stdout: bytes
    stderr: bytes


def lossbench(
    folder: Path, *commands: list[str], before: list[str] | None = None, **environment: str
) -> list[Done]:
    """Run commands, one after the other, in a new process with another environment."""
    removed = {
        "MLFLOW_TRACKING_URI",
        "PYTHONIOENCODING",
        *(key for key, value in environment.items() if not value),
    }
    kept = {k: v for k, v in os.environ.items() if k not in removed}
    ended = subprocess.run(
        [*(before or []), sys.executable, "-c", PROGRAM, json.dumps(commands)],
        cwd=folder,
        env=kept | {k: v for k, v in environment.items() if v},
        capture_output=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    out, err = (text.split(b"\0") for text in (ended.stdout, ended.stderr))
    assert out.pop() == err.pop() == b""
    assert out[1::2] == err[1::2]
    assert len(out) == 2 * len(commands)
    return [
        Done(int(code), *texts) for code, *texts in zip(out[1::2], out[::2], err[::2], strict=True)
    ]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Folder with a suite, not among those of pytest, which each start of pytest makes private."""
    with tempfile.TemporaryDirectory() as made:
        (Path(made) / "plain.yaml").write_text(SUITE, encoding="utf-8")
        yield Path(made)


def another_user(folder: Path) -> list[str]:
    """Command prefix that becomes another user, who can work in a folder; [] if not possible."""
    if os.getuid() != 0 or not shutil.which("setpriv"):
        return []
    with pytest.raises(KeyError):
        pwd.getpwuid(NOBODY)
    folder.chmod(0o777)
    return AS_NOBODY


@pytest.mark.parametrize("environment", [ASCII, C_LOCALE])
def test_outputs_become_plain(folder: Path, environment: dict[str, str]) -> None:
    commands = [["list", "losses", "lgm"], ["plan", "plain.yaml", "--trials"]]
    listed, planned = lossbench(folder, *commands, **environment)
    for done in (listed, planned):
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.isascii()
    assert b"grosse    softmax" in planned.stdout


def test_errors_become_plain(folder: Path) -> None:
    command = [sys.executable, "-m", "lossbench.cli", "plan", "größe.yaml"]
    done = subprocess.run(command, cwd=folder, env=os.environ | ASCII, capture_output=True)
    assert done.returncode == 2
    assert done.stderr.isascii()
    assert b"no such file" in done.stderr


@pytest.mark.ray
def test_a_run_in_a_locale_without_utf_8_and_without_a_home(folder: Path) -> None:
    """Its result is kept, and its files are UTF-8.

    The home is "/", which another user cannot write; alembic asks whether it may read its files.
    """
    closed = any(not p.stat().st_mode & 0o001 for p in Path(sys.prefix, "lib").parents)
    long = folder / ("long" * 30)
    long.mkdir()
    long.chmod(0o777)
    reports = [["report", "plain.yaml", "--format", form] for form in FORMATS]
    commands = [["run", "plain.yaml"], *reports, ["check", "plain.yaml", "--update"]]
    before = [] if closed else another_user(folder)
    environment = {**C_LOCALE, "HOME": "/", "TMPDIR": str(long)}
    ran, *reported, updated = lossbench(folder, *commands, before=before, **environment)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.isascii()
    assert ran.stderr.isascii()
    assert b"Matplotlib" not in ran.stderr
    assert (folder / "reports" / "plain" / "report.html").exists()
    report = (folder / "reports" / "plain" / "report.md").read_text(encoding="utf-8")
    assert "größe" in report
    assert "±" in report
    for done in reported:
        assert (done.returncode, done.stderr) == (0, b"")
        assert "größe" in done.stdout.decode("utf-8")  # what other programs read keeps its names
    assert updated.returncode == 0
    [checked] = lossbench(folder, ["check", "plain.yaml"], **ASCII)
    assert b"Traceback" not in checked.stderr
    assert checked.stdout.isascii()


@pytest.mark.parametrize(
    "home",
    [
        "",
        pytest.param("/", marks=pytest.mark.slow),
        pytest.param("/nonexistent", marks=pytest.mark.slow),
    ],
)
def test_a_user_without_a_home_can_plan(folder: Path, home: str) -> None:
    before = another_user(folder)
    if not before:
        pytest.skip("only root can become another user")
    [done] = lossbench(folder, ["plan", "plain.yaml", "--probe", "1"], before=before, HOME=home)
    assert (done.returncode, done.stderr) == (0, b"")


def test_every_option_takes_a_home(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setenv("HOME", str(folder))
    suite = folder / "plain.yaml"
    code, _, err = run("plan", "~/plain.yaml", "--data-root=~/none", "--set=dataset=mine")
    assert code == 2
    assert f"--data-root {folder}/none: no such folder" in err
    _, out, _ = run("plan", suite, "--set=dataset=~/mine")
    assert f"{folder}/mine: no such folder" in out  # the plan has its table
    for option in ("--plugin", "--tracking-uri"):
        place = "~/none/x.py" if option == "--plugin" else "sqlite:///~/none/x.db"
        code, _, err = run("plan", suite, f"{option}={place}")
        assert code == 2
        assert f"{folder}/none" in err
