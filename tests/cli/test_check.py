"""`lossbench check`, on made-up results."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from lossbench.planning.look_record import LookRecord
from lossbench.planning.search import SearchPoints
from lossbench.planning.trial import Trial
from lossbench.records import EpochRecord, TrialResult
from lossbench.tracking.store import Tracker
from tests.synthetic_measurements import measurements_of

Write = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]


class FakeTracker:
    """Tracker that has a result for every trial, made of its row's error and its seed."""

    def __init__(self) -> None:
        self.errors = {"softmax": 5.0, "lgm(alpha=0)": 4.0, "lgm(alpha=0.3)": 3.0}

    def results(self, trials: Iterable[Trial]) -> dict[str, TrialResult]:
        return {trial.identity: self.result(trial) for trial in trials}

    def search_points(self, suite: str) -> dict[str, SearchPoints]:
        return {}

    def look_records(self, suite: str) -> dict[str, LookRecord]:
        return {}

    def result(self, trial: Trial) -> TrialResult:
        metrics = {"error": self.errors[trial.row] + 0.1 * trial.seed}
        return TrialResult(
            identity=trial.identity,
            status="finished",
            metrics=metrics,
            measurements=measurements_of(trial, metrics),
            history=(EpochRecord(epoch=1, timestamp_ms=1_700_000_000_000, metrics={}),),
            wall_time_sec=1.0,
            peak_memory_mib=200.0,
            device="cpu",
            environment={"torch": "2.13.0"},
        )


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch) -> FakeTracker:
    tracker = FakeTracker()
    monkeypatch.setattr(Tracker, "open", lambda uri, *, create: tracker)
    return tracker


def test_update_commit_check(run: Run, write_suite: Write, tracker: FakeTracker) -> None:
    suite = write_suite()
    code, out, err = run("check", suite, "--update", "--min-effect", "error=0.4")
    assert (code, out) == (0, "")
    assert "baselines/small.json: 3 cells, measured 2023-11-14 on cpu" in err
    written = json.loads(Path("baselines/small.json").read_text(encoding="utf-8"))
    assert written["command"] == "lossbench run small.yaml"
    assert written["metrics"][0]["min_effect"] == 0.4

    code, out, _ = run("check", suite)
    assert code == 0
    assert "no regression (3 identical)" in out

    tracker.errors["lgm(alpha=0)"] = 9.0
    code, out, err = run("check", suite)
    assert code == 1
    assert [line for line in out.splitlines() if line.endswith("  regression")] == [
        line for line in out.splitlines() if line.startswith("default/lgm(alpha=0) ")
    ]
    assert max(map(len, out.splitlines())) > 80  # one line per cell, even if the terminal is narrow
    assert run("check", suite, "--only", "softmax")[0] == 0
    assert run("check", suite, "--format", "github")[1].startswith("::error title=small")
    assert json.loads(run("check", suite, "--format", "json")[1])["exit_code"] == 1
    code, out, _ = run("check", suite, "--format", "markdown")
    assert code == 1
    heading, _, finding, *_, table_heading, alignments, line = out.splitlines()
    assert heading == "### lossbench check small: regression (1 regression, 2 identical)"
    assert finding.startswith("- **regression**: default/lgm(alpha=0) error: worse by ")
    assert table_heading.startswith("| cell | metric | baseline | now | difference | ")
    assert alignments == "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |"
    assert line.startswith(
        "| default/lgm(alpha=0) | error | 4.05 ± 0.07 (n=2) | 9.05 ± 0.07 (n=2) |"
    )
    assert line.endswith("| **regression** |")

    before = Path("baselines/small.json").read_text(encoding="utf-8")
    code, out, err = run("check", suite, "--update")
    assert code == 2
    assert "default/lgm(alpha=0) error: 4.05 in the baseline, 9.05 now" in err
    assert Path("baselines/small.json").read_text(encoding="utf-8") == before
    assert run("check", suite, "--update", "--accept")[0] == 0
    assert run("check", suite)[0] == 0


def test_one_other_seed_is_too_little_evidence(
    run: Run, write_suite: Write, tracker: FakeTracker
) -> None:
    suite = write_suite()
    run("check", suite, "--update")
    tracker.errors["softmax"] = 9.0
    code, out, _ = run("check", suite, "--seeds", "7")
    assert code == 3
    assert "too little evidence" in out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--set", "recipe.epochs=3"], "recipe.epochs: 2 in the baseline, 3 now"),
        (["--set", "losses.lgm.lambda=1"], "lgm.lambda: 0.1 in the baseline, 1.0 now"),
        (["--set", "resources.cpus=2"], "threads: 1 in the baseline, 2 now"),
        (["--set", "dataset.train_size=500"], "train_size: null in the baseline, 500 now"),
        (["--baseline", "baselines/smal.json"], "no such file; did you mean 'small.json'?"),
        (["--update", "--min-effect", "eror=1"], "unknown metric; did you mean 'error'?"),
        (["--update", "--min-effect", "error"], "--min-effect error: should be METRIC=NUMBER"),
        (["--only", "lmg*"], "--only lmg*: matches no cell"),
    ],
)
def test_a_wrong_request_is_one_message_and_exit_code_2(
    run: Run, write_suite: Write, tracker: FakeTracker, arguments: list[str], expected: str
) -> None:
    suite = write_suite()
    run("check", suite, "--update")
    before = Path("baselines/small.json").read_text(encoding="utf-8")
    code, out, err = run("check", suite, *arguments)
    assert (code, out) == (2, "")
    assert expected in err
    assert "Traceback" not in err
    assert Path("baselines/small.json").read_text(encoding="utf-8") == before
    assert [path.name for path in Path().rglob("*") if path.is_file()] == ["small.json"]
