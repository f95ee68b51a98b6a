"""Repeated looks at a table: its record, and the plan with the recorded seeds."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from lossbench.errors import RequestError
from lossbench.planning.look_record import LookRecord, LookRound
from lossbench.planning.plan import Plan
from lossbench.planning.rows import find_reference_rows
from lossbench.planning.trial import digest_of
from lossbench.records import METRIC_GROUPS, Metric

if TYPE_CHECKING:
    from lossbench.planning.selection import ResultStore

Cell = tuple[str, str]
"""(variant, row label)."""


def table_identity(plan: Plan) -> str:
    """Hash of the trainings of all cells without their seeds, and of the reference row.

    Other rows, columns, data or recipes are another table, and so is a part of a table: its
    number of comparisons is another. Names of columns, evaluations and labels of losses are no
    part of it.
    """
    cells = sorted(plan.cell_identities.values())
    return digest_of({"cells": cells, "reference": _reference_without_label(plan)})


def _reference_without_label(plan: Plan) -> str | None:
    """Name of the reference row in the suite without its label, if no other row has it then."""
    reference, rows = plan.suite.reference, plan.rows
    names = [f"{row.loss.name}{row.label.removeprefix(row.entry)}" for row in rows]
    found = find_reference_rows(reference, {row.label: row.entry for row in rows})
    own = [name for row, name in zip(rows, names, strict=True) if [row.label] == found]
    return own[0] if own and names.count(own[0]) == 1 else reference


def deciding_metric(plan: Plan) -> Metric | None:
    """The metric by which a table is decided, with which a report begins.

    The first judged metric of the group `accuracy`; without one the first judged metric. None of
    them is optimistic.
    """
    judged = [metric for metric in plan.metrics if metric.judged and not metric.optimistic]
    accuracy = [metric for metric in judged if metric.group == METRIC_GROUPS[0]]
    return next(iter(accuracy or judged), None)


def with_stored_looks(plan: Plan, store: ResultStore) -> Plan:
    """The plan with the seeds of its stored record, if its table has one with the same first seeds.

    Without a record, or with `selection`, it is the same plan; one with a record already, too. A
    record whose first round is not that of all cells of the table is not used.
    """
    if plan.looks is not None or plan.suite.selection is not None or plan.suite.reference is None:
        return plan
    records = store.look_records(plan.suite.suite)
    if not records and not plan.other_looks:
        return plan  # without the identities of all cells
    table = table_identity(plan)
    cells = set(plan.cell_identities.values())
    own = [
        record
        for record in records.values()
        if record.table == table and set(record.rounds[0].cells) == cells
    ]
    first = set(plan.suite.seeds)
    found = [record for record in own if set(record.rounds[0].seeds) == first]
    others = tuple(record for record in own if record not in found)
    return replace(plan, looks=found[0] if found else None, other_looks=others)


def start_looks(plan: Plan, max_seeds: int) -> LookRecord:
    """Record of the first round: the suite's own seeds in all cells.

    Args:
        plan: Plan with its stored records; see `with_stored_looks`.
        max_seeds: Number of seeds per cell at which the rounds end.

    Raises:
        RequestError: The suite has more seeds, or another record of the table has some of them.
    """
    suite, metric = plan.suite, deciding_metric(plan)
    assert metric is not None
    if max_seeds < len(suite.seeds):
        raise RequestError(
            f"--max-seeds {max_seeds}: the suite has {len(suite.seeds)} seeds to begin with"
        )
    for other in plan.other_looks:
        if shared := sorted(other.seeds & set(suite.seeds)):
            first = ",".join(map(str, sorted(other.rounds[0].seeds)))
            raise RequestError(
                f"seeds {', '.join(map(str, shared))}: this table was already looked at with them, "
                f"beginning with --seeds {first} and up to {other.max_seeds} seeds; continue with "
                f"those, or start anew with {fresh_seeds(plan, len(suite.seeds))}"
            )
    return LookRecord(
        table=table_identity(plan),
        metric=metric.name,
        max_seeds=max_seeds,
        min_effect=suite.min_effect.get(metric.name),
        rounds=(
            LookRound(
                seeds=tuple(suite.seeds),
                cells=tuple(dict.fromkeys(plan.cell_identities.values())),
            ),
        ),
    )


def require_same_looks(plan: Plan, max_seeds: int | None) -> None:
    """Refuse to change the plan of looks after a look.

    Args:
        plan: Plan with its record.
        max_seeds: Number of `--max-seeds`, if it was given.

    Raises:
        RequestError: Limit, metric or `min_effect` differ from those of the record.
    """
    record, metric = plan.looks, deciding_metric(plan)
    assert record is not None
    assert metric is not None
    now = plan.suite.min_effect.get(record.metric)
    if max_seeds not in (None, record.max_seeds):
        change = f"--max-seeds {max_seeds}: this table's limit is {record.max_seeds} seeds"
    elif metric.name != record.metric:
        change = f"evaluate: this table is decided by {record.metric}, not by {metric.name}"
    elif now != record.min_effect:
        before = "not set" if record.min_effect is None else f"{record.min_effect:g}"
        change = f"min_effect.{record.metric}: was {before} when this table's first round began"
    else:
        return
    raise RequestError(
        f"{change}, and it has been looked at since; a change after a look would make its error "
        "rate unknown. Undo the change, or start anew with seeds that were not looked at, as "
        f"with {fresh_seeds(plan, len(plan.suite.seeds))}"
    )


def fresh_seeds(plan: Plan, count: int) -> str:
    """`--seeds 20,21,22`: seeds that no record of the table can reach."""
    records = [*plan.other_looks, *([plan.looks] if plan.looks else [])]
    # rounds add the smallest seeds that no record has, so they stay below the sum of the limits
    limits = sum(record.max_seeds for record in records)
    highest = max([limits - 1, *(max(record.seeds) for record in records)])
    return f"--seeds {','.join(map(str, range(highest + 1, highest + 1 + count)))}"


def with_next_round(plan: Plan, record: LookRecord, cells: Iterable[Cell]) -> LookRecord:
    """The record with another round: one further seed for some cells.

    Args:
        plan: Plan of the table.
        record: Record so far.
        cells: Cells that get the seed.
    """
    chosen = tuple(dict.fromkeys(plan.cell_identities[cell] for cell in cells))
    added = LookRound(seeds=(next_seed(plan, record),), cells=chosen)
    return record.model_copy(update={"rounds": (*record.rounds, added)})


def with_cells(plan: Plan, record: LookRecord, index: int, cells: Iterable[Cell]) -> LookRecord:
    """The record with further cells in one of its rounds."""
    changed = record.rounds[index]
    added = (plan.cell_identities[cell] for cell in cells)
    changed = changed.model_copy(update={"cells": tuple(dict.fromkeys([*changed.cells, *added]))})
    rounds = (*record.rounds[:index], changed, *record.rounds[index + 1 :])
    return record.model_copy(update={"rounds": rounds})


def next_seed(plan: Plan, record: LookRecord) -> int:
    """The smallest seed that no record of the table has."""
    used = record.seeds.union(*(other.seeds for other in plan.other_looks))
    return next(seed for seed in itertools.count() if seed not in used)
