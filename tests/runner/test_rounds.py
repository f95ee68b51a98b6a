"""Rounds of seeds that are added until the table is decided, without Ray."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from lossbench.analysis.tables import make_tables, table_looks
from lossbench.assembly.check import check
from lossbench.cli.local_status import LocalPlanStatus
from lossbench.cli.until_decided import Rounds, expect_rounds, plan_with_looks
from lossbench.errors import RequestError
from lossbench.planning.look_record import LookRecord
from lossbench.planning.looks import with_next_round
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults, load_plan_with_results
from lossbench.planning.trial import Trial
from lossbench.report.look_text import describe_looks, look_warnings
from lossbench.report.value_text import describe_values
from lossbench.runner.outcome import RunOutcome
from lossbench.suite.load import load_suite
from lossbench.tracking.store import Tracker
from tests.runner.fake_runs import NOWHERE, WorkFolder

MEANS = {"softmax": 9.0, "lgm(alpha=0)": 9.05, "lgm(alpha=0.3)": 1.0}
"""One row is equal to the reference within the margin of the test set, one is much better."""
LIMIT = 9


def value_of(trial: Trial) -> float:
    noise = np.random.default_rng(trial.seed + 1000 * len(trial.row)).normal()
    return MEANS[trial.row] + 0.3 * trial.seed % 1 + 0.45 * float(noise)


@pytest.fixture(autouse=True)
def _values(folder: WorkFolder) -> None:
    folder.value_of = value_of


@pytest.fixture
def plan(write_suite: Callable[..., Path]) -> Plan:
    return check(load_suite(write_suite(), ["reference=softmax", "seeds=[0, 1, 2]"]), NOWHERE)


def run(folder: WorkFolder, plan: Plan, limit: int | None = LIMIT) -> tuple[RunOutcome, Rounds]:
    rounds = Rounds(Console(file=folder.seen, width=200))
    looked = plan_with_looks(plan, folder.uri, limit)
    return folder.run(looked, next_looks=rounds.next_record), rounds


def found_in(folder: WorkFolder, plan: Plan) -> PlanWithResults:
    return load_plan_with_results(plan, Tracker.open(folder.uri, create=False))


def test_rounds_end_when_every_row_is_decided_and_the_table_has_what_was_run(
    folder: WorkFolder, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_trials(trials: list[Trial], *args: object, **kwargs: object) -> object:
        [record] = Tracker.open(folder.uri).look_records(plan.suite.suite).values()
        assert {t.seed for t in trials} == set(record.rounds[-1].seeds)
        recorded.append(record)  # before its trials start
        return folder.run_trials(trials, *args, **kwargs)  # type: ignore[arg-type]

    recorded: list[LookRecord] = []
    monkeypatch.setattr("lossbench.runner.tune_jobs.run_trials", run_trials)
    _, rounds = run(folder, plan)
    assert [len(record.rounds) for record in recorded] == list(range(1, len(recorded) + 1))
    assert all(b.starts_with(a) for a, b in pairwise(recorded))
    seen = folder.seen.getvalue()
    assert "round 1: 3 seeds; 1 of 2 decided (1 better); next: seed 3 for 1 row, 2 train" in seen
    assert rounds.last is not None
    assert rounds.last.state == "decided"
    found = found_in(folder, plan)
    [table] = make_tables(found)
    counts = {row: cell.summary for (_, row), cell in table.cells.items()}
    most = counts["softmax"].n
    assert 3 < most < LIMIT
    assert [counts[row].n for row in MEANS] == [most, most, 3]
    assert all(summary.complete for summary in counts.values())
    assert describe_values(table) == f"mean ± std over 3 to {most} seeds"
    assert len(folder.trained) == sum(s.n for s in counts.values()) == len(found.trials)
    assert table.verdicts is not None
    assert [v.outcome for v in table.verdicts.listed] == ["equivalent", "better"]
    assert [v.difference.n for v in table.verdicts.listed] == [most, 3]
    assert all(v.reference_summary.planned == v.difference.n for v in table.verdicts.listed)


def test_a_killed_run_continues_with_the_same_rounds(
    folder: WorkFolder, plan: Plan, tmp_path: Path, empty_database: Path
) -> None:
    run(folder, plan)
    whole = found_in(folder, plan)
    again = WorkFolder(tmp_path / "again", f"sqlite:///{tmp_path}/again/mlflow.db")
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "mlflow.db").write_bytes(empty_database.read_bytes())
    trained: list[str] = []
    again.value_of = value_of
    for ends_after in (3, 0, 1, None):  # with one of them, no trial of a round has ended
        again.ends_after = ends_after
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("lossbench.runner.tune_jobs.run_trials", again.run_trials)
            run(again, plan, None if trained else LIMIT)
        trained = again.trained
    continued = found_in(again, plan)
    assert continued.plan.looks == whole.plan.looks
    assert sorted(trained) == sorted(folder.trained)  # each once
    values = [{i: r.metrics for i, r in found.results.items()} for found in (whole, continued)]
    assert values[0] == values[1]


def test_other_limits_and_seeds_are_refused_after_a_look(folder: WorkFolder, plan: Plan) -> None:
    run(folder, plan)
    with pytest.raises(
        RequestError, match=r"--max-seeds 12: this table's limit is 9 .* Undo .* --seeds 9"
    ):
        plan_with_looks(plan, folder.uri, 12)
    assert plan_with_looks(plan, folder.uri, LIMIT).looks is not None
    overlapping = plan.suite.model_copy(update={"seeds": [1, 30]})
    with pytest.raises(RequestError, match=r"seeds 1: .* beginning with --seeds 0,1,2 and up to 9"):
        plan_with_looks(replace(plan, suite=overlapping), folder.uri, None)
    [warning] = look_warnings(found_in(folder, replace(plan, suite=overlapping)).plan)
    assert "seeds were added to this table by its verdicts, beginning with 0, 1, 2;" in warning
    fresh = replace(plan, suite=plan.suite.model_copy(update={"seeds": [9, 10, 11]}))
    used = found_in(folder, plan).plan.looks
    assert used is not None
    looked = plan_with_looks(fresh, folder.uri, 12)
    assert looked.looks is not None
    assert looked.looks.max_seeds == 12
    assert not looked.looks.seeds & used.seeds


def test_without_the_option_a_run_completes_the_recorded_rounds_only(
    folder: WorkFolder, plan: Plan
) -> None:
    folder.ends_after = 1
    run(folder, plan)  # one trial of the first round
    folder.ends_after = None
    folder.run(found_in(folder, plan).plan)
    found = found_in(folder, plan)
    assert found.plan.looks is not None
    assert len(found.plan.looks.rounds) == 1
    assert len(folder.trained) == len(found.trials) == 9
    looks = table_looks(found)
    assert looks is not None
    assert looks.state == "open"
    text = "not finished: after 1 round, 1 of 2 comparisons is undecided"
    assert describe_looks(looks) == text
    assert looks.record.rounds == found.plan.looks.rounds
    following = looks.next_record()
    assert following is not None
    [table] = make_tables(replace(found, plan=replace(found.plan, looks=following)))
    assert table.looks is not None
    assert table.looks.state == "unfinished"
    assert table.verdicts is not None  # those of the last complete look
    assert [v.summary.missing for v in table.verdicts.listed] == [0, 0]
    assert {cell.summary.missing for cell in table.cells.values()} == {0, 1}
    assert looks.expected_trainings is not None
    assert 9 < looks.expected_trainings < looks.most_trainings == 27
    expected = expect_rounds(LocalPlanStatus(found.plan, found.trials, found.results))
    assert expected.trainings == 9 + len(expected.status.further) == looks.expected_trainings
    assert {trial.row for trial in expected.status.further} == {"softmax", "lgm(alpha=0)"}


def test_rows_that_another_version_had_decided_get_the_seeds_they_lack(
    folder: WorkFolder, plan: Plan
) -> None:
    folder.run(plan)
    start = plan_with_looks(plan, folder.uri, LIMIT)
    assert start.looks is not None
    without = with_next_round(start, start.looks, [("default", "softmax")])
    rounds = Rounds(Console(file=folder.seen, width=200))
    folder.run(replace(start, looks=without), next_looks=rounds.next_record)
    seen = folder.seen.getvalue()
    assert "(1 better); next: 1 training for rows that another version had decided earlier" in seen
    _, rounds = run(folder, plan)
    assert rounds.last is not None
    assert rounds.last.state == "decided"
    assert folder.trained.count("softmax") == folder.trained.count("lgm(alpha=0)")


def test_the_limit_ends_the_rounds_and_a_row_that_diverges_gets_no_more_seeds(
    folder: WorkFolder, plan: Plan
) -> None:
    folder.diverging = {"lgm(alpha=0.3)"}
    folder.value_of = lambda trial: value_of(trial) + 0.8 * (trial.row == "lgm(alpha=0)")
    _, rounds = run(folder, plan, 4)
    assert folder.trained.count("lgm(alpha=0.3)") == 3
    looks = table_looks(found_in(folder, plan))
    assert rounds.last is not None
    assert looks is not None
    for each in (rounds.last, looks):
        assert each.state == "limit"
        assert each.lost == (("default", "lgm(alpha=0.3)"),)
        assert each.outcomes == {"undecided": 2}
        assert (each.trainings, each.most_trainings) == (11, 12)
