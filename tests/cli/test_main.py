"""The command line as its users type it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["run"], "Missing argument 'SUITE'"),
        (["rnu"], "No such command 'rnu'. Did you mean 'run'?"),
        (["run", "SUITE", "--sed", "1"], "No such option"),
        (["run", "SUITE", "--seeds", "0,x"], "--seeds 0,x: should be whole numbers"),
        (["run", "SUITE", "--set", "recipe.epoch=1"], "did you mean 'epochs'"),
        (["run", "SUITE", "--set", "published=table9"], "published: unknown table 'table9'"),
        (["run", "SUITE", "--only", "x*"], "--only x*: matches no cell"),
        (["run", "SUITE", "--set", "dataset=mnist"], "lossbench data prepare mnist"),
        (["run", "SUITE", "--tracking-uri", "http://127.0.0.1:9"], "no MLflow server can be"),
        (["run", "SUITE", "--tracking-uri", "nonsense"], "--tracking-uri sqlite:///"),
        (["run", "SUITE", "--address", "127.0.0.1:9"], "no Ray cluster there"),
        (["plan", "SUITE", "--set", "losses=[]"], "losses: should not be empty"),
        (["report", "SUITE"], "nothing has been run here yet"),
        (["report", "SUITE", "--format", "xml"], "'xml' is not one of"),
        (["check", "SUITE"], "baselines/small.json: no such baseline; `--update` writes one"),
        (["check", "SUITE", "--update"], "nothing has been run here yet"),
        (["check", "SUITE", "--accept"], "--accept: only together with --update"),
        (["check", "SUITE", "--min-effect", "error=1"], "--min-effect: only together with"),
        (["check", "SUITE", "--format", "xml"], "'xml' is not one of"),
        (["list", "loses"], "'loses' is not one of"),
        (["new-suite", "minst"], "no such suite; did you mean 'mnist'"),
        (["plan", "suites/mnist.yaml"], "no such file; `lossbench new-suite mnist` writes"),
        (["data", "prepare", "minst"], "unknown data set 'minst'; did you mean 'mnist'"),
        (["ui"], "nothing has been run here yet"),
    ],
)
def test_a_wrong_request_is_one_message_and_exit_2(
    run: Run, write_suite: Write, arguments: list[str], expected: str
) -> None:
    suite = str(write_suite())
    code, out, err = run(*(suite if a == "SUITE" else a for a in arguments))
    assert code == 2
    assert expected in " ".join(err.split()).replace("│", "")
    assert "Traceback" not in err + out
    assert not Path(".lossbench").exists()
    assert not Path("reports").exists()


def test_plan_shows_cells_and_trials_and_writes_nothing(run: Run, write_suite: Write) -> None:
    arguments = ("plan", write_suite(), "--only", "lgm*", "--seeds", "0,5")
    code, out, _ = run(*arguments, "--probe", "0.1")
    assert code == 0
    assert [line.split() for line in out.splitlines()[1:3]] == [
        ["lgm(alpha=0)", "0/2"],
        ["lgm(alpha=0.3)", "0/2"],
    ]
    assert re.search(r"about \d.* here \(cpu, .* CPU-hours", out)
    code, out, _ = run(*arguments, "--trials")
    lines = [line.split() for line in out.splitlines()]
    assert [(line[1], line[2]) for line in lines[1:5]] == [
        ("lgm(alpha=0)", "0"),
        ("lgm(alpha=0.3)", "0"),
        ("lgm(alpha=0)", "5"),
        ("lgm(alpha=0.3)", "5"),
    ]
    assert lines[-1][:2] == ["4", "trials,"]
    assert list(Path().iterdir()) == []


def test_lists(run: Run, make_folder: Callable[..., Path]) -> None:
    _, losses, _ = run("list", "losses")
    for name in ("softmax", "center", "l_softmax", "contrastive", "triplet", "lgm"):
        assert f"\n{name}  " in f"\n{losses}"
    assert re.search(r"covariance +=  ?identity +identity \| diagonal", losses)
    assert re.search(r"lambda += 0\.1 +float, >= 0", losses)
    assert "Deviations:" in run("list", "losses", "lgm")[1]
    assert "did you mean 'lgm'" in run("list", "losses", "lgmm")[2]
    folder = make_folder("mine")
    _, datasets, _ = run("list", "datasets", "--data-root", folder.parent)
    assert "mnist" in datasets
    assert "mine" in datasets
    assert "mnist_cnn" in run("list", "models")[1]


def test_help_has_examples(run: Run) -> None:
    for verb in ("run", "plan", "report", "check", "list", "ui"):
        code, out, _ = run(verb, "--help")
        assert code == 0
        assert f"  lossbench {verb}" in out


def lossbench(folder: Path, *arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "lossbench.cli", *map(str, arguments)]
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


@pytest.mark.ray
@pytest.mark.usefixtures("one_ray")
def test_run_report_and_run_again(run: Run, write_suite: Write, tmp_path: Path) -> None:
    suite = write_suite(("[0, 1]", "[0]"), ("epochs: 2", "epochs: 12"))
    code, out, err = run("run", suite)
    assert code == 0, err
    assert "lgm(alpha=0.3)" in out
    assert "3 trials to run" in err
    written = {p.name for p in (tmp_path / "folder" / "reports" / "small").iterdir()}
    assert written == {
        "report.html", "report.md", "results.csv", "results.json", "verdicts.json", "table.tex",
        "figures",
    }  # fmt: skip

    cells = json.loads(run("report", suite, "--format", "json")[1])
    assert [(c["loss"], c["n"], c["diverged"]) for c in cells] == [
        ("softmax", 1, 0),
        ("lgm", 1, 0),
        ("lgm", 1, 0),
    ]
    assert set(cells[0]) == {
        "suite", "variant", "loss", "params", "metric", "values", "mean", "std", "n", "diverged",
    }  # fmt: skip
    assert cells[2]["params"]["alpha"] == 0.3
    assert cells[0]["mean"] == cells[0]["values"][0]

    code, _, err = run("run", suite)
    assert code == 0
    assert "nothing to run" in err
    assert "trials to run" not in err


@pytest.mark.ray
@pytest.mark.usefixtures("one_ray")
def test_ctrl_c_leaves_a_state_from_which_run_goes_on(
    run: Run, write_suite: Write, tmp_path: Path
) -> None:
    suite = write_suite(
        ("[0, 1]", "[0]"), ("[0.0, 0.3]", "[0.0, 0.3, 1.0]"), ("epochs: 2", "epochs: 15")
    )
    folder = tmp_path / "folder"  # that `run` works in
    first = lossbench(folder, "run", suite)
    finished = folder / "mlartifacts" / "small"
    deadline = time.monotonic() + 120
    while not list(finished.glob("*/*/result.json")):
        assert first.poll() is None, first.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    first.send_signal(signal.SIGINT)
    _, err = first.communicate(timeout=120)
    assert first.returncode == 130, err
    assert "run the same command to continue" in err
    assert "Traceback" not in err
    kept = len(list(finished.glob("*/*/result.json")))
    assert 0 < kept < 4

    code, _, err = run("run", suite)
    assert code == 0, err
    assert f"{4 - kept} trials to run" in err
    assert len(list(finished.glob("*/*/result.json"))) == 4
