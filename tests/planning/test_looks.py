"""Records of looks: which cells get which seeds, and what belongs to the same table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
from pydantic import ValidationError

from lossbench.analysis.tables import make_tables, table_looks
from lossbench.errors import RequestError
from lossbench.planning.fairness import audit
from lossbench.planning.look_record import LookRecord, LookRound
from lossbench.planning.looks import (
    deciding_metric,
    fresh_seeds,
    require_same_looks,
    start_looks,
    table_identity,
    with_cells,
    with_next_round,
    with_stored_looks,
)
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults, load_plan_with_results
from lossbench.records import Metric
from lossbench.report.metric_groups import group_tables
from tests.synthetic_plans import SyntheticStore

BODY = """
seeds: [0, 1]
reference: softmax
variants: {A: {model: {feature_dim: 2}}, B: {model: {feature_dim: 8}}}
losses: [softmax, center, lgm]
"""
Make = Callable[..., Plan]


def store_of(*records: LookRecord) -> SyntheticStore:
    store = SyntheticStore(lambda trial: 5.0)
    store.records = {record.identity: record for record in records}
    return store


def seeds_of(plan: Plan) -> dict[str, list[int]]:
    seeds: dict[str, list[int]] = {}
    for trial in plan.trials:
        seeds.setdefault(f"{trial.variant}/{trial.row}", []).append(trial.seed)
    return seeds


def grown(plan: Plan, cells: Iterable[tuple[str, str]]) -> LookRecord:
    return with_next_round(plan, start_looks(plan, 5), cells)


def test_cells_have_the_seeds_of_their_rounds(make_plan: Make) -> None:
    plan = make_plan(BODY)
    record = grown(plan, [("A", "lgm"), ("A", "softmax")])
    found = load_plan_with_results(plan, store_of(record))
    seeds = seeds_of(found.plan)
    assert seeds.pop("A/lgm") == seeds.pop("A/softmax") == [0, 1, 2]
    assert set(map(tuple, seeds.values())) == {(0, 1)}
    assert len(found.results) == len(found.trials) == 14
    levels = {d.level for d in audit(found.plan, found.trials, found.results) if "seeds" in d.text}
    assert levels == {"listed"}
    corrected = with_cells(plan, record, 1, [("B", "lgm")])
    assert corrected.starts_with(record)
    assert not record.starts_with(corrected)


@pytest.mark.parametrize(
    ("old", "new", "is_same"),
    [
        ("[0, 1]", "[7, 8]", True),  # seeds are no part of the table
        ("A:", "C:", True),  # neither is the name of a column
        ("losses:", "evaluate: [error, top5_error]\nlosses:", True),
        (", lgm]", "]", False),
        ("lgm]", "{lgm: {alpha: 0.5}}]", False),
        ("feature_dim: 8", "feature_dim: 9", False),
        ("reference: softmax", "reference: lgm", False),
    ],
)
def test_a_table_is_its_rows_columns_and_reference(
    make_plan: Make, old: str, new: str, *, is_same: bool
) -> None:
    assert old in BODY
    changed = BODY.replace(old, new).replace(
        "[softmax, center, lgm: {", "[softmax, center, {lgm: {"
    )
    changed = changed.replace("0.5}]", "0.5}}]")
    same = table_identity(make_plan(changed)) == table_identity(make_plan(BODY))
    assert same is is_same
    assert table_identity(make_plan(BODY).narrowed("A/*")) != table_identity(make_plan(BODY))


def test_a_record_is_of_its_first_seeds(make_plan: Make) -> None:
    plan = make_plan(BODY)
    record = grown(plan, [("A", "lgm"), ("A", "softmax")])
    other = with_stored_looks(make_plan(BODY.replace("[0, 1]", "[1, 0]")), store_of(record))
    assert other.looks == record  # in another order
    more = with_stored_looks(make_plan(BODY.replace("[0, 1]", "[0, 1, 2]")), store_of(record))
    assert (more.looks, more.other_looks) == (None, (record,))
    assert seeds_of(more)["B/lgm"] == [0, 1, 2]
    with pytest.raises(RequestError, match=r"seeds 0, 1, 2: this table was already looked at"):
        start_looks(more, 9)
    fresh = with_stored_looks(make_plan(BODY.replace("[0, 1]", "[5, 6]")), store_of(record))
    started = start_looks(fresh, 9)
    following = with_next_round(fresh, started, [("A", "lgm")])
    assert following.rounds[-1].seeds == (3,)  # 0, 1 and 2 are of the other record


def test_fresh_seeds_are_out_of_reach_of_all_records(make_plan: Make) -> None:
    plans = [make_plan(BODY.replace("[0, 1]", seeds)) for seeds in ("[0, 1]", "[2, 3]")]
    records = [start_looks(plan, 5) for plan in plans]
    plan = with_stored_looks(plans[0], store_of(*records))
    assert fresh_seeds(plan, 2) == "--seeds 10,11"
    added = set()
    for _ in range(3):  # each looks at the other's seeds
        for k, own in enumerate(plans):
            found = with_stored_looks(own, store_of(*records))
            assert found.looks == records[k]
            records[k] = with_next_round(found, records[k], [("A", "lgm"), ("A", "softmax")])
            added |= records[k].seeds
    assert added == set(range(10))


def test_a_record_without_some_cells_of_its_table_is_not_used(make_plan: Make) -> None:
    plan = make_plan(BODY)
    record = start_looks(plan, 5)
    assert with_stored_looks(plan, store_of(record)).looks == record
    for cells in (record.rounds[0].cells[1:], ("b" * 16,)):
        first = record.rounds[0].model_copy(update={"cells": cells})
        broken = record.model_copy(update={"rounds": (first,)})
        found = load_plan_with_results(plan, store_of(broken))
        assert (found.plan.looks, len(found.trials)) == (None, 12)


def test_no_round_follows_if_results_lack_the_metric(make_plan: Make) -> None:
    plan = make_plan(BODY)
    plan = replace(plan, looks=start_looks(plan, 5))
    looks = table_looks(PlanWithResults(plan, {}))
    assert looks is not None
    assert (looks.state, looks.next_record()) == ("unfinished", None)


def test_the_plan_of_looks_is_not_changed_after_a_look(make_plan: Make) -> None:
    plan = make_plan(BODY)
    record = start_looks(plan, 5)
    looked = replace(plan, looks=record)
    require_same_looks(looked, None)
    require_same_looks(looked, 5)
    with pytest.raises(RequestError, match=r"limit is 5 seeds.* start anew .* --seeds 5,6$"):
        require_same_looks(looked, 6)
    smaller = make_plan(BODY + "min_effect: {error: 0.5}\n")
    with pytest.raises(RequestError, match=r"min_effect.error: was not set"):
        require_same_looks(replace(smaller, looks=record), None)
    reordered = make_plan(BODY + "evaluate: [top5_error, error]\n")
    with pytest.raises(RequestError, match=r"decided by error, not by top5_error"):
        require_same_looks(replace(reordered, looks=record), None)
    with pytest.raises(RequestError, match=r"--max-seeds 1: the suite has 2 seeds"):
        start_looks(plan, 1)


@pytest.mark.parametrize(
    ("groups", "name"),
    [
        (("accuracy", "retrieval"), "m0"),
        (("retrieval", "accuracy"), "m1"),
        (("retrieval", ""), "m0"),
    ],
)
def test_the_metric_that_decides_is_that_with_which_the_report_begins(
    make_plan: Make, groups: tuple[str, ...], name: str
) -> None:
    metrics = tuple(
        Metric(name=f"m{i}", label=f"m{i}", unit="", group=group) for i, group in enumerate(groups)
    )
    plan = replace(make_plan(BODY), metrics=metrics)
    found = deciding_metric(plan)
    assert found is not None
    assert found.name == name
    tables = group_tables(make_tables(PlanWithResults(plan, {})))
    assert tables.headline[0].metric == name


def test_records_that_contradict_themselves_are_refused() -> None:
    first = LookRound(seeds=(0, 1), cells=("a" * 16,))
    fields = {"table": "b" * 16, "metric": "error", "max_seeds": 3}
    LookRecord(**fields, rounds=(first,))
    for later in ((1,), (2, 3)):
        with pytest.raises(ValidationError, match=r"twice|more seeds"):
            LookRecord(**fields, rounds=(first, LookRound(seeds=later, cells=first.cells)))


def test_labels_of_losses_are_no_part_of_a_table(make_plan: Make) -> None:
    labelled = BODY.replace("[softmax,", "[{softmax: {label: baseline}},").replace(
        "reference: softmax", "reference: baseline"
    )
    assert table_identity(make_plan(labelled)) == table_identity(make_plan(BODY))
    two = BODY.replace("center, lgm", "lgm, {lgm: {alpha: 0.5, label: ours}}")
    references = [two.replace("reference: softmax", f"reference: {n}") for n in ("lgm", "ours")]
    assert len({table_identity(make_plan(body)) for body in (two, *references)}) == 3


def test_an_optimistic_metric_decides_nothing(make_plan: Make) -> None:
    plan = make_plan(BODY)
    best = Metric(name="best_error", label="best", group="accuracy", optimistic=True)
    both = replace(plan, metrics=(best, *plan.metrics))
    assert deciding_metric(both) == plan.metrics[0]
    assert deciding_metric(replace(plan, metrics=(best,))) is None


def test_without_records_a_plan_stays_the_same_object(make_plan: Make) -> None:
    """Its trials and their identities are made only once."""
    plan = make_plan(BODY)
    assert with_stored_looks(plan, store_of()) is plan
    assert "cell_identities" not in vars(plan)
