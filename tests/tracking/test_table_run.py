"""A table in MLflow: its own run, its trials, and their view."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest

from lossbench.errors import TrackingError
from lossbench.planning.plan import Plan
from lossbench.tracking import names
from lossbench.tracking.store import Tracker
from tests.tracking.reported import PARENT, MakePlan, MakeResult, Store, names_of, small
from tests.tracking.started import all_runs

pytestmark = pytest.mark.long


@pytest.fixture
def store(uri: str, make_result: MakeResult, tmp_path: Path) -> Store:
    return Store(uri, make_result, tmp_path)


def changed(plan: Plan, *changes: str) -> Plan:
    return dataclasses.replace(plan, changes=changes)


def test_the_tables_run_shows_the_report(store: Store, make_plan: MakePlan) -> None:
    plan = make_plan(seeds=[0])
    run = store.run(plan)
    assert run.info.run_name == "Table demo"
    assert run.data.metrics == {
        "error/2-D/mean/softmax": 10.0,
        "error/C100/mean/softmax": 10.0,
        "error/2-D/mean/lgm alpha 0.1": 20.0,
        "error/C100/mean/lgm alpha 0.1": 20.0,
        "error/2-D/mean/lgm alpha 0.3": 30.0,
        "error/C100/mean/lgm alpha 0.3": 30.0,
    }
    tags = run.data.tags
    assert tags["verdict/2-D/lgm alpha 0.1"] == "better, −2.63"
    assert tags["mlflow.note.content"].startswith("2-D: **lgm** wins\n\n| loss | 2-D |\n\n")
    assert names.table_filter("demo") in tags["mlflow.note.content"]
    assert store.files(run, "report") == {"report/report.html", "report/figures"}
    assert {"table.json", "suite.yaml"} <= store.files(run, "")
    path = store.client.download_artifacts(run.info.run_id, "table.json")
    kept = json.loads(Path(path).read_text(encoding="utf-8"))
    assert kept == {
        "columns": ["metric", "row", "mean"],
        "data": [["error", "softmax", 10.0], ["error", "lgm(alpha=0.1)", None]],
    }
    assert store.children(run) == store.members(plan) == names_of(plan)


def test_a_second_report_replaces_the_first_one(store: Store, make_plan: MakePlan) -> None:
    plan = small(make_plan)
    first = store.run(plan)
    (store.folder / "report" / "figures" / "curves.svg").unlink()
    (store.folder / "report" / "report.html").write_text("<html>new", encoding="utf-8")
    shorter = small(make_plan, losses=["softmax"])
    second = store.run(shorter, verdicts={}, description="another")
    assert second.info.run_id == first.info.run_id
    assert {k for k, v in second.data.metrics.items() if not math.isnan(v)} == {
        "error/2-D/mean/softmax"
    }
    assert second.data.tags["mlflow.note.content"].startswith("another\n")
    assert not [key for key in second.data.tags if key.startswith("verdict/")]
    assert store.files(second, "report/figures") == set()
    page = store.client.download_artifacts(second.info.run_id, "report/report.html")
    assert Path(page).read_text(encoding="utf-8") == "<html>new"
    assert store.children(second) == store.members(shorter) == names_of(shorter)
    # the results of the removed row are kept, and return with it
    assert len(Tracker.open(store.uri, create=False).results(plan.trials)) == len(plan.trials)
    third = store.run(plan)
    assert third.data.metrics == first.data.metrics
    assert store.children(third) == store.members(plan) == names_of(plan)


def test_nothing_is_written_again_without_a_change(store: Store, make_plan: MakePlan) -> None:
    plan = small(make_plan)
    run = store.run(plan)
    before = {r.info.run_id: r.data.to_dictionary() for r in all_runs(store.client)}
    store.run(plan)
    assert {r.info.run_id: r.data.to_dictionary() for r in all_runs(store.client)} == before
    history = store.client.get_metric_history(run.info.run_id, "error/2-D/mean/softmax")
    assert len(history) == 1


def test_other_recipes_and_narrower_tables_do_not_mix(store: Store, make_plan: MakePlan) -> None:
    recipe = make_plan().suite.recipe.model_dump()
    short = changed(
        small(make_plan, recipe={**recipe, "epochs": 2, "schedule": "constant"}),
        "recipe.epochs=2",
    )
    whole, one_seed = small(make_plan), small(make_plan, seeds=[0])
    narrow = changed(one_seed, "seeds 0")
    first, runs = store.run(narrow), {}
    assert store.children(first) == names_of(narrow)
    for plan in (short, whole, narrow):
        runs[plan.label] = store.run(plan)
        assert store.members(plan) == names_of(plan)
    assert sorted(run.info.run_name for run in runs.values()) == [
        "Table demo",
        "Table demo@recipe.epochs=2",
        "Table demo@seeds=0",
    ]
    assert store.children(runs["demo@recipe.epochs=2"]) == names_of(short)
    assert store.children(runs["demo"]) == names_of(whole)
    assert store.children(runs["demo@seeds=0"]) == set()  # they are in the whole table


def test_the_former_recipe_of_the_file_is_marked(store: Store, make_plan: MakePlan) -> None:
    recipe = make_plan().suite.recipe.model_dump()
    now, before = small(make_plan), small(make_plan, recipe={**recipe, "batch_size": 16})
    earlier = store.run(before)
    current = store.run(now)
    assert current.info.run_name == "Table demo"
    assert store.client.get_run(earlier.info.run_id).info.run_name == "Table demo, earlier settings"
    assert store.members(now) == names_of(now)
    assert {r.info.run_id for r in store.search(names.table_filter("demo"))} == {
        r.info.run_id for r in store.search(f"tags.`{PARENT}` = '{current.info.run_id}'")
    }
    assert store.run(before).info.run_id == earlier.info.run_id  # and back again
    assert store.client.get_run(current.info.run_id).info.run_name == "Table demo, earlier settings"


@pytest.mark.parametrize("imported", [True, False], ids=["imported", "of an earlier version"])
def test_runs_without_a_label_are_taken_over(
    store: Store, make_plan: MakePlan, make_result: MakeResult, imported: bool
) -> None:
    plan = small(make_plan)
    tracker = Tracker.open(store.uri)
    tracker.start_suite(changed(plan, "evaluate=error"), {}, imported=imported)
    if imported:
        tracker.import_trainings((trial, make_result(trial), []) for trial in plan.trials)
    else:
        for trial in plan.trials:
            tracker.finish(trial, make_result(trial), store.folder / "nothing")
    tracker.finish_suite("FINISHED")
    for run in [] if imported else all_runs(store.client):
        for key in {names.LABEL, names.TABLES, names.CELL} & run.data.tags.keys():
            store.client.delete_tag(run.info.run_id, key)
    run = store.run(plan)
    [table, *trials] = sorted(
        all_runs(store.client), key=lambda r: r.info.run_id != run.info.run_id
    )
    assert table.info.run_id == run.info.run_id
    assert {r.data.tags[names.KIND] for r in trials} == {"trial"}
    assert store.children(run) == store.members(plan) == names_of(plan)
    assert {r.data.tags[names.CELL] for r in trials} == {
        "softmax · 2-D", "center · 2-D",
    }  # fmt: skip


def test_the_view_groups_the_trials_of_the_table(store: Store, make_plan: MakePlan) -> None:
    plan = changed(small(make_plan), "seeds 0,1")
    store.run(plan)
    experiment = store.client.get_experiment_by_name("demo")
    view = json.loads(experiment.tags["mlflow.sharedViewState.demo_seeds_0_1"])
    assert {r.info.run_name for r in store.search(view["searchFilter"])} == names_of(plan)
    assert view["groupBy"]["groupByKeys"] == [{"mode": "tag", "groupByData": "lossbench.cell"}]
    assert (view["orderByKey"], view["orderByAsc"]) == ("metrics.`error`", True)


def test_long_descriptions_lose_their_table(store: Store, make_plan: MakePlan) -> None:
    run = store.run(small(make_plan), description="| row |\n" * 2000)
    assert run.data.tags["mlflow.note.content"].startswith("2-D: **lgm** wins\n\nAll metrics:")


def test_more_metrics_and_verdicts_than_mlflow_takes_at_once(
    store: Store, make_plan: MakePlan
) -> None:
    values = {("error", str(i), "mean", "softmax"): float(i) for i in range(1500)}
    verdicts = {("2-D", str(i)): "worse, +1.00" for i in range(150)}
    run = store.run(small(make_plan), values=values, verdicts=verdicts)
    assert run.data.metrics == {f"error/{i}/mean/softmax": float(i) for i in range(1500)}
    assert sum(key.startswith("verdict/") for key in run.data.tags) == 150


def test_a_failure_is_a_tracking_error(
    store: Store, make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = small(make_plan)
    store.run(plan)
    tracker = Tracker.open(store.uri)

    def fail(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("lossbench.tracking.table_run.write_folder", fail)
    with pytest.raises(TrackingError, match="log table failed: No space left"):
        store.log(plan, tracker)


def test_keys_are_distinct_and_allowed(store: Store, make_plan: MakePlan) -> None:
    paths = [
        ("m", "a(b=1)"),
        ("m", "a[b:1]"),
        ("m", "x" * 300),
        ("m", ".."),
        ("m", "a/b"),
        ("", ""),
    ]
    values = dict.fromkeys(paths, 1.0)
    run = store.run(small(make_plan), values=values)
    assert len(run.data.metrics) == len(paths)
    assert names.path_keys([("error", "2-D", "mean", "lgm(alpha=0.3, lambda=-0.1)")]) == {
        ("error", "2-D", "mean", "lgm(alpha=0.3, lambda=-0.1)"): (
            "error/2-D/mean/lgm alpha 0.3 lambda -0.1"
        )
    }
