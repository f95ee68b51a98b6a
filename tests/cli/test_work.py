"""`lossbench work`: options, messages, exit codes, signals, and an environment without Ray."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from lossbench.archive.reading import Archive
from lossbench.assembly.check import check
from lossbench.cli.main import LEFT_OUT
from lossbench.records import TrialResult
from lossbench.runner.trial import run_trial
from lossbench.suite.load import load_suite

Run = Callable[..., tuple[int, str, str]]
Write = Callable[..., Path]
NOWHERE = Path("/nonexistent/data")
SUITE = """\
suite: small
dataset: {name: digits, train_size: 200, test_size: 100}
model: {name: digits_cnn, feature_dim: 2}
recipe: {epochs: 2, batch_size: 16, optimizer: {name: sgd, lr: 0.03, momentum: 0.9}}
seeds: [0]
losses: [softmax, focal]
evaluate: [error]
"""
WITHOUT = f"""\
import contextlib, importlib.abc, importlib.metadata, importlib.util, io, json, sys

HIDDEN = {LEFT_OUT}


class Hide(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)


sys.meta_path.insert(0, Hide())
find_spec = importlib.util.find_spec


def find_visible(name, package=None):
    return None if name.partition(".")[0] in HIDDEN else find_spec(name, package)


importlib.util.find_spec = find_visible
from_name = importlib.metadata.Distribution.from_name.__func__


def visible(cls, name):
    if name.lower().startswith(HIDDEN):
        raise importlib.metadata.PackageNotFoundError(name)
    return from_name(cls, name)


importlib.metadata.Distribution.from_name = classmethod(visible)
for name in HIDDEN:
    try:
        __import__(name)
        importlib.metadata.version(name)
    except ImportError:
        continue
    sys.exit(f"{{name}} is not hidden")
from lossbench.cli.main import main

ended = []
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["lossbench", *arguments]
    messages = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(messages):
        try:
            main()
        except SystemExit as end:
            ended.append((end.code or 0, messages.getvalue()))
print(json.dumps(ended))
"""


@pytest.fixture
def suite(write_suite: Write) -> Path:
    return write_suite(text=SUITE)


def python(*commands: Sequence[str | Path], cwd: Path) -> list[tuple[int, str]]:
    """Run commands one after the other in one process: exit code and messages of each."""
    texts = json.dumps([[*map(str, command)] for command in commands])
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT, texts],
        cwd=cwd,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert ended.returncode == 0, ended.stderr
    return [(code, messages) for code, messages in json.loads(ended.stdout)]


def results(folder: Path) -> dict[str, TrialResult]:
    return {k: v for path in folder.glob("*.zip") for k, v in Archive(path).results.items()}


@pytest.mark.long
def test_everything_works_without_ray_mlflow_and_optuna(suite: Path, tmp_path: Path) -> None:
    trained, measured, reported, planned, started = python(
        ["work", suite, "--output", "out"],
        ["work", suite, "--set", "evaluate=[error, top5_error]", "--output", "out"],
        ["report", "--from", "out", "--output", "report"],
        ["plan", suite],
        ["run", suite],
        cwd=tmp_path,
    )
    assert trained[0] == 0
    assert "2 of 2 trials are finished, 2 of them now" in trained[1]
    plan = check(load_suite(suite), NOWHERE)
    found = results(tmp_path / "out")
    assert set(found) == {trial.identity for trial in plan.trials}
    for trial in plan.trials:
        (tmp_path / trial.identity).mkdir()
        expected = run_trial(trial, data_root=NOWHERE, artifacts=tmp_path / trial.identity)
        assert found[trial.identity].metrics.items() > expected.metrics.items()
        assert found[trial.identity].weights_digest == expected.weights_digest
    assert measured[0] == 0
    assert measured[1].count(": measured in ") == 2
    assert reported[0] == 0
    assert (tmp_path / "report" / "report.html").exists()
    assert "top5_error" in (tmp_path / "report" / "results.csv").read_text(encoding="utf-8")
    assert not (tmp_path / "mlflow.db").exists()
    assert planned[0] == 0  # there is no database yet
    # the database is created in the background
    assert started[0] == 2
    assert started[1].splitlines()[-1] in (NEEDED.format("ray"), NEEDED.format("mlflow"))


NEEDED = (
    "error: this command needs {0}, which is not installed: pip install {0}; 'lossbench work' and "
    "'lossbench report --from' do not need it"
)


@pytest.mark.long
@pytest.mark.parametrize("command", ["plan", "report"])
def test_a_database_needs_mlflow(command: str, suite: Path, tmp_path: Path) -> None:
    """Without it, the schema of the database cannot be compared."""
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as db, db:
        db.execute("CREATE TABLE experiments (experiment_id INTEGER)")
        db.execute("INSERT INTO experiments VALUES (0)")
        db.execute("CREATE TABLE alembic_version (version_num TEXT)")
    [ended] = python([command, suite], cwd=tmp_path)
    assert ended == (2, NEEDED.format("mlflow") + "\n")


@pytest.mark.long
def test_a_search_without_optuna_gets_one_message(write_suite: Write, tmp_path: Path) -> None:
    search = "lgm: {alpha: {search: {low: 0, high: 1}}}"
    text = SUITE.replace("focal", search) + "selection: {holdout: 0.2, samples: 2}\n"
    [ended] = python(["work", write_suite(text=text), "--output", "out"], cwd=tmp_path)
    assert ended == (
        2,
        "error: losses.lgm: a search needs Optuna, which is not installed: pip install optuna\n",
    )
    assert not (tmp_path / "out").exists()


def test_shares_and_the_report_of_all_of_them(suite: Path, run: Run) -> None:
    code, printed, messages = run("work", suite, "--output", "out", "--shard", "2/2")
    assert (code, printed) == (0, "")
    first, second, third = messages.splitlines()
    assert re.fullmatch(r"1/1 default/focal/seed0: trained in \d+ s: error [\d.]+", first)
    assert second == "1 of 1 trials of this share are finished, 1 of them now"
    assert third == "other shares have 1 trial left"
    code, _, messages = run("work", suite, "--output", "out")
    assert code == 0
    assert messages.splitlines()[1:] == ["2 of 2 trials are finished, 1 of them now"]
    code, printed, _ = run("report", "--from", "out", "--format", "csv")
    assert code == 0
    values = {r.metrics["error"] for r in results(Path("out")).values()}
    assert all(f"{value:g}" in printed for value in values)


def test_imported_archives_are_the_results_of_run(suite: Path, run: Run) -> None:
    assert run("work", suite, "--output", "out")[0] == 0
    assert run("import", *sorted(Path("out").glob("*.zip")))[0] == 0
    code, _, messages = run("run", suite)
    assert code == 0
    assert "small: every trial has its result; nothing to run" in messages
    tables = [
        run("report", *source, "--format", "json")[1] for source in ([suite], ["--from", "out"])
    ]
    assert json.loads(tables[0]) == json.loads(tables[1]) != []


@pytest.mark.parametrize("share", ["0/8", "9/8", "3", "a/b"])
def test_a_wrong_share_starts_nothing(suite: Path, run: Run, share: str) -> None:
    code, _, messages = run("work", suite, "--output", "out", "--shard", share)
    assert code == 2
    assert messages.startswith(f"error: --shard {share}: ")
    assert messages.count("\n") == 1
    assert not Path("out").exists()


def test_a_gpu_that_is_not_there_is_refused(
    suite: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    code, _, messages = run("work", suite, "--output", "out", "--device", "cuda")
    assert (code, messages) == (2, "error: --device cuda: PyTorch finds no GPU here\n")
    assert not Path("out").exists()


def test_an_output_that_is_no_folder_is_refused(suite: Path, run: Run) -> None:
    Path("out").write_text("", encoding="utf-8")
    code, _, messages = run("work", suite, "--output", "out")
    assert code == 2
    assert messages == "error: --output out: File exists\n"


def test_a_damaged_archive_gets_one_message(suite: Path, run: Run) -> None:
    Path("out").mkdir()
    Path("out/notes.zip").write_text("no archive", encoding="utf-8")
    code, _, messages = run("work", suite, "--output", "out")
    assert code == 2
    assert messages.startswith("error: out/notes.zip: is no archive of lossbench: ")
    assert messages.endswith("; move it to another folder, and what it lacks is trained again\n")


def test_without_weights_it_has_to_be_allowed_to_train_again(suite: Path, run: Run) -> None:
    keep = ("--set", "keep_weights=false", "--output", "out")
    assert run("work", suite, *keep)[0] == 0
    command = ("work", suite, *keep, "--set", "evaluate=[error, top5_error]")
    code, _, messages = run(*command)
    assert code == 2
    assert messages == (
        "error: 2 trained networks have no stored weights, so to measure top5_error, they would be "
        "trained again; repeat with --yes to do so, or remove top5_error from `evaluate`\n"
    )
    code, _, messages = run(*command, "--yes")
    assert code == 0
    assert "they are trained again" in messages
    assert messages.count(": trained in ") == 2


def test_a_failed_trial_gives_exit_code_1(
    suite: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no memory, password=hunter2")

    monkeypatch.setattr("lossbench.runner.sharded_work.run_trial", fail)
    code, _, messages = run("work", suite, "--output", "out")
    assert code == 1
    assert messages.count("failed: default/") == 2
    assert "run the same command to continue" in messages
    assert len(list(Path("out/.lossbench/logs").glob("*.log"))) == 2
    assert "hunter2" not in messages
    assert "Traceback" not in messages


def test_minutes_end_the_work_in_order(suite: Path, run: Run) -> None:
    code, _, messages = run("work", suite, "--output", "out", "--minutes", "0")
    assert code == 0
    assert messages.splitlines() == [
        "0 of 2 trials are finished, 0 of them now",
        "run the same command to continue",
    ]


LONG = ("--set", "recipe.epochs=80", "--set", "losses=[softmax]")


def start(suite: Path, folder: Path, *options: str) -> subprocess.Popen[str]:
    # the test runner may ignore SIGINT, as shells do for background processes
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "from lossbench.cli.main import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, "work", str(suite), "--output", "out", *options],
        cwd=folder,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        env={k: v for k, v in os.environ.items() if k != "PYTHONWARNINGS"},
    )


@pytest.mark.long
@pytest.mark.parametrize(
    ("ending", "code"),
    [
        (signal.SIGTERM, 143),
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, -9, marks=pytest.mark.slow),
    ],
)
def test_a_stopped_training_continues_bit_identically(
    suite: Path, run: Run, tmp_path: Path, ending: signal.Signals, code: int
) -> None:
    folder = Path.cwd()
    process = start(suite, folder, *LONG, "--checkpoint-every", "0")
    deadline = time.monotonic() + 240
    while not list(folder.glob("out/.lossbench/checkpoints/*/epoch-*.pt")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(ending)
    _, messages = process.communicate(timeout=60)
    assert process.returncode == code
    expected = "" if ending == signal.SIGKILL else "stopped; run the same command to continue\n"
    assert messages == expected
    assert not list(folder.glob("out/*.zip"))

    ended, _, messages = run("work", suite, "--output", "out", *LONG)
    assert ended == 0
    assert re.search(r"seed0: resumes after epoch \d+\n", messages)
    trial = check(load_suite(suite, LONG[1:4:2]), NOWHERE).trials[0]
    (tmp_path / "expected").mkdir()
    whole = run_trial(trial, data_root=NOWHERE, artifacts=tmp_path / "expected")
    [found] = results(Path("out")).values()
    assert found.weights_digest == whole.weights_digest
    assert found.metrics == whole.metrics
    assert [e.metrics for e in found.history] == [e.metrics for e in whole.history]


@pytest.mark.slow
def test_two_processes_with_the_same_share_train_each_trial_once(suite: Path, run: Run) -> None:
    seeds = ("--seeds", "0,1,2,3")
    processes = [start(suite, Path.cwd(), *seeds) for _ in range(2)]
    messages = [process.communicate(timeout=240)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    trained = [line for text in messages for line in text.splitlines() if ": trained in " in line]
    assert len(trained) == len({line.partition(":")[0].partition(" ")[2] for line in trained}) == 8
