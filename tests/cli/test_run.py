"""`lossbench run`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from mlflow import MlflowClient

from lossbench.assembly.check import check
from lossbench.cli import local_status
from lossbench.cli.local_status import LocalPlanStatus
from lossbench.cli.run import confirm_long_run
from lossbench.cli.until_decided import plan_with_looks
from lossbench.errors import RequestError
from lossbench.planning.costs import Cost, Costs
from lossbench.planning.plan import Plan
from lossbench.records import TrialResult
from lossbench.suite.load import load_suite
from tests.planning.test_costs import NOWHERE, result_of

Write = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def plan(write_suite: Write) -> Plan:
    """Two seeds of softmax and two rows of L-GM."""
    return check(load_suite(write_suite()), NOWHERE)


def test_long_runs_ask_for_confirmation(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    hours = 1.0
    results: dict[str, TrialResult] = {}

    def costs(self: LocalPlanStatus, data_root: Path, probe_sec: float) -> Costs:
        return Costs(plan.trials, {}, "cpu", lambda t: Cost(3600 * hours, 1.0))

    def require(ask: Callable[[str], bool] | None) -> None:
        confirm_long_run(plan, None, NOWHERE, ask)

    monkeypatch.setattr(LocalPlanStatus, "costs", costs)
    monkeypatch.setattr(LocalPlanStatus, "machine", ("cpu", 2))
    require(None)  # too small for an estimate
    monkeypatch.setattr(local_status, "ESTIMATE_FROM", 1.0)
    monkeypatch.setattr(
        local_status,
        "load_status",
        lambda plan, uri: LocalPlanStatus(plan, plan.trials, results),
    )
    with pytest.raises(RequestError, match=r"6 trials will take about 3 h 0 min here; .* --yes"):
        require(None)
    asked: list[str] = []
    require(lambda text: bool(asked.append(text) or True))
    assert asked == ["6 trials will take about 3 h 0 min here. Continue?"]
    with pytest.raises(RequestError, match="nothing was started"):
        require(lambda text: False)
    results |= {t.identity: result_of(t, 1) for t in plan.trials[1:]}
    require(None)  # one trial of an hour is left
    results.clear()
    hours = 0.3
    require(None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-seeds", "9"], "--max-seeds: only together with --until-decided"),
        (["--until-decided"], "names no 'reference' row"),
        (
            ["--until-decided", "--set", "reference=softmax", "--only", "lgm*"],
            "needs the reference",
        ),
        (["--until-decided", "--set", "reference=softmax", "--max-seeds", "1"], "has 2 seeds"),
        (
            ["--until-decided", "--set", "reference=softmax", "--set", "selection={}"],
            "not together with 'selection'",
        ),
    ],
)
def test_rounds_that_are_not_possible_are_refused(
    run: Run, write_suite: Write, arguments: list[str], message: str
) -> None:
    for command in ("run", "plan"):
        code, _, err = run(command, write_suite(), *arguments)
        assert code == 2
        assert message in " ".join(err.split())
    assert list(Path().iterdir()) == []


def test_a_long_run_until_all_is_decided_asks_with_the_largest_number(
    write_suite: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{tmp_path}/nothing.db"
    plan = check(load_suite(write_suite(), ["reference=softmax"]), NOWHERE)
    looked = plan_with_looks(plan, uri, None)
    costs = Costs(plan.trials, {}, "cpu", lambda t: Cost(3600.0, 1.0))
    monkeypatch.setattr(LocalPlanStatus, "costs", lambda *_: costs)
    monkeypatch.setattr(LocalPlanStatus, "machine", ("cpu", 2))
    monkeypatch.setattr(local_status, "ESTIMATE_FROM", 1.0)
    with pytest.raises(RequestError, match="up to 60 trials will take about 30 h 0 min here"):
        confirm_long_run(looked, uri, NOWHERE, None, until_decided=True)
    with pytest.raises(RequestError, match=r"^6 trials will take about 3 h"):
        confirm_long_run(looked, uri, NOWHERE, None)


def test_training_again_for_an_evaluation_without_weights_is_refused_without_a_terminal(
    run: Run, write_suite: Write, store: Callable[..., None]
) -> None:
    suite = write_suite()
    store(suite)  # without weights
    before = Path("mlflow.db").read_bytes()
    code, _, err = run("run", suite, "--set", "evaluate=[error, top5_error, knn]")
    assert code == 2
    assert " ".join(err.split()) == (
        "error: 6 trained networks have no stored weights, so to measure top5_error, knn, they "
        "would be trained again; repeat with --yes to do so, or remove top5_error, knn from "
        "`evaluate`"
    )
    assert Path("mlflow.db").read_bytes() == before
    code, out, _ = run("plan", suite, "--set", "evaluate=[error, top5_error]", "--probe", "0")
    assert code == 0
    assert "6 trials, 0 to train, 6 to measure" in out
    code, _, err = run("check", suite, "--set", "evaluate=[error, top5_error]", "--update")
    assert code == 2
    assert "6 trials are trained, but top5_error is not measured: default/softmax (seed" in err


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
        "figures", ".report.json",
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
def test_run_continues_after_ctrl_c(run: Run, write_suite: Write, tmp_path: Path) -> None:
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


@pytest.mark.long
def test_a_run_shows_its_report_in_mlflow(
    run: Run, write_suite: Write, store: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = write_suite()
    store(suite)
    monkeypatch.setattr(
        "lossbench.report.build.draw_figures", lambda *_: nullcontext(list)
    )  # takes seconds

    def tables() -> list[tuple[str, int]]:
        client = MlflowClient("sqlite:///mlflow.db", registry_uri="sqlite:///mlflow.db")
        experiment = client.get_experiment_by_name("small").experiment_id
        found = client.search_runs([experiment], "tags.`lossbench.kind` = 'table'")
        return [(table.info.run_name, len(table.data.metrics)) for table in found]

    assert run("report", suite)[0] == 0  # a command that reads
    assert tables() == [("Table small", 0)]

    def fail(*_: object) -> None:
        raise OSError("the server has gone")

    with monkeypatch.context() as broken:
        broken.setattr("lossbench.tracking.table_run.write_folder", fail)
        code, out, err = run("run", suite)
    assert code == 0
    assert "lgm(alpha=0.3)" in out
    assert "reports/small/report.html" in err
    assert len([line for line in err.splitlines() if "the server has gone" in line]) == 1

    code, _, err = run("run", suite)
    assert (code, "warning" in err) == (0, False)
    assert tables() == [("Table small", 9)]


@pytest.mark.long
def test_commands_without_anything_to_do_import_no_slow_library(
    write_suite: Write, run: Run, store: Callable[..., None], tmp_path: Path
) -> None:
    """The calls after the first one find plan, results and table as they were."""
    suite = write_suite()
    store(suite)
    code = (
        "import atexit, sys\n"
        "from lossbench.assembly import plan_cache\n"
        "plan_cache.SETTLED_NS = -10**18\n"
        "slow = ('torch', 'ray', 'mlflow', 'sqlalchemy')\n"
        "atexit.register(lambda: print([m for m in slow if m in sys.modules]))\n"
        "from lossbench.cli.main import main\n"
        "main()\n"
    )
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "LOSSBENCH_PLAN_CACHE": "on"}
    calls = {"run": ["torch", "mlflow", "sqlalchemy"], "run -y": [], "plan": []}
    for command, imported in calls.items():
        done = subprocess.run(
            [sys.executable, "-c", code, *command.split(), str(suite)],
            capture_output=True,
            text=True,
            encoding="utf-8",
            env=os.environ | cache,
        )
        assert ("nothing to run" in done.stderr) == (command != "plan")
        assert done.stdout.splitlines()[-1] == str(imported)
