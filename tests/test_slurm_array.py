"""deploy/slurm-array.sh with stand-ins for SLURM and lossbench, and its page."""

from __future__ import annotations

import inspect
import os
import re
import signal
import subprocess
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from lossbench.cli.main import LEFT_OUT
from lossbench.cli.work import work

REPOSITORY = Path(__file__).resolve().parent.parent
SCRIPT = REPOSITORY / "deploy" / "slurm-array.sh"
AT_LEAST_A_MINUTE = "((minutes >= 1)) || minutes=1"
STUBS = {
    "lossbench": "printf '%s\\n' \"$@\" > called; exit $CODE",
    "scontrol": "printf '%s\\n' \"$@\" > requeued",
    "squeue": "exit 1",
}
WAITING = """\
trap 'exit 143' TERM
: > started
while :; do sleep 0.05; done
"""

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Start the script as the third task of eight."""

    def run(*arguments: str, script: Path = SCRIPT, **changes: str) -> subprocess.Popen[bytes]:
        (tmp_path / "bin").mkdir(exist_ok=True)
        for name, text in {**STUBS, **changes}.items():
            if name in STUBS:
                stub = tmp_path / "bin" / name
                stub.write_text(f"#!/bin/bash\n{text}\n", encoding="utf-8")
                stub.chmod(0o755)
        environment = {
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "SLURM_JOB_ID": "77",
            "SLURM_ARRAY_JOB_ID": "70",
            "SLURM_ARRAY_TASK_ID": "3",
            "SLURM_ARRAY_TASK_COUNT": "8",
            "SLURM_JOB_END_TIME": str(int(time.time()) + 240 * 60 + 30),
            "CODE": "0",
            **{key: value for key, value in changes.items() if key not in STUBS},
        }
        return subprocess.Popen(["bash", script, *arguments], cwd=tmp_path, env=environment)

    return run


def test_a_task_works_on_its_share_until_shortly_before_the_time_limit(
    start: Start, tmp_path: Path
) -> None:
    assert start("my suite.yaml", "--output", "out").wait() == 0
    called = (tmp_path / "called").read_text(encoding="utf-8").splitlines()
    command = ["work", "my suite.yaml", "--output", "out"]
    assert called == [*command, "--shard", "3/8", "--minutes", "230"]
    options = {f"--{name.replace('_', '-')}" for name in inspect.signature(work).parameters}
    assert {option for option in called if option.startswith("--")} <= options
    assert not (tmp_path / "requeued").exists()


def test_an_older_slurm_is_asked_for_the_end(start: Start, tmp_path: Path) -> None:
    end = "date -d '+50 minutes 30 seconds' +%Y-%m-%dT%H:%M:%S"
    assert start("a.yaml", squeue=end, SLURM_JOB_END_TIME="").wait() == 0
    called = (tmp_path / "called").read_text(encoding="utf-8").splitlines()
    assert called[-2:] == ["--minutes", "40"]


@pytest.mark.parametrize(("code", "again"), [("0", True), ("143", True), ("1", False)])
def test_a_task_whose_time_is_up_is_queued_again(
    start: Start, tmp_path: Path, code: str, again: bool
) -> None:
    text = SCRIPT.read_text(encoding="utf-8")
    assert AT_LEAST_A_MINUTE in text
    script = tmp_path / "short.sh"
    script.write_text(text.replace(AT_LEAST_A_MINUTE, "minutes=0"), encoding="utf-8")
    assert start("a.yaml", script=script, CODE=code).wait() == int(code)
    requeued = tmp_path / "requeued"
    assert requeued.exists() == again
    if again:
        assert requeued.read_text(encoding="utf-8").split() == ["requeue", "70_3"]


def test_slurms_signal_reaches_lossbench(start: Start, tmp_path: Path) -> None:
    process = start("a.yaml", lossbench=WAITING)
    while not (tmp_path / "started").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    assert not (tmp_path / "requeued").exists()  # somebody ended it before its time was up


def test_the_script_asks_for_the_signal_and_to_be_queued_again() -> None:
    text = SCRIPT.read_text(encoding="utf-8")
    options = set(re.findall(r"^#SBATCH (--\S+)$", text, re.MULTILINE))
    assert options >= {"--array=1-8", "--signal=B:TERM@120", "--requeue", "--open-mode=append"}


def test_the_page_names_the_packages_that_work_needs() -> None:
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    declared = {re.split(r"[^\w.-]", text)[0] for text in settings["project"]["dependencies"]}
    page = (REPOSITORY / "docs/guide/job-arrays.md").read_text(encoding="utf-8")
    [line] = re.findall(r"^pip install (filelock .*)$", page, re.MULTILINE)
    assert declared - set(line.split()) == set(LEFT_OUT)
    assert set(line.split()) <= declared
