"""Seeds that were added until a table was decided, in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from lossbench.analysis.table_looks import TableLooks
from lossbench.analysis.tables import Table
from lossbench.planning.look_record import LookRecord
from lossbench.planning.looks import Cell
from lossbench.planning.plan import Plan
from lossbench.report.value_text import counted

_DECIDED = ("better", "worse", "equivalent")


def describe_round(looks: TableLooks, following: LookRecord | None) -> str:
    """Outcomes of a look, and the round that follows.

    `round 3: 5 seeds; 9 of 14 decided (4 better, 1 worse, 4 equivalent); next: seed 5 for 6 rows,
    9 trainings`
    """
    outcomes = looks.outcomes
    kinds = ", ".join(f"{outcomes[kind]} {kind}" for kind in _DECIDED if outcomes.get(kind))
    decided = f"{_decided(looks)} of {looks.comparisons} decided"
    text = f"round {looks.decided.looks}: {counted(looks.seeds, 'seed')}; {decided}"
    text += f" ({kinds})" if kinds else ""
    if following is None:
        return text
    further = len(replace(looks.plan, looks=following).trials) - looks.trainings
    trainings = counted(further, "training")
    if len(following.rounds) == len(looks.record.rounds):
        return f"{text}; next: {trainings} for rows that another version had decided earlier"
    added = following.rounds[-1].seeds
    rows = counted(len(looks.decided.undecided), "row")
    return f"{text}; next: seed {', '.join(map(str, added))} for {rows}, {trainings}"


def describe_looks(looks: TableLooks) -> str:
    """How many rounds there were, why they ended, and how many trainings they took.

    `stopped after 6 rounds: all 14 comparisons are decided; 73 trainings instead of 320`
    """
    number, undecided = looks.comparisons, looks.decided.undecided
    rounds = counted(looks.decided.looks, "round")
    saved = f"{looks.trainings} trainings"
    if looks.trainings < looks.most_trainings:
        saved += f" instead of {looks.most_trainings}"
    lost = _named(looks.lost, looks.plan)
    if looks.state == "decided" and not lost:
        all_ = f"all {number} comparisons are" if number > 1 else "the comparison is"
        return f"stopped after {rounds}: {all_} decided; {saved}"
    few = f"; too few seeds have a value to decide {lost}" if lost else ""
    if looks.state == "decided":
        return f"stopped after {rounds}: {_decided(looks)} of {number} are decided{few}; {saved}"
    are = "is" if len(undecided) == 1 else "are"
    left = f"{len(undecided)} of {counted(number, 'comparison')} {are} undecided"
    if looks.state == "limit":
        limit = f"limit of {counted(looks.record.max_seeds, 'seed')} reached after {rounds}"
        return f"{limit}: {left}{few}; {saved}"
    if not looks.decided.looks:
        return "the first round is not finished"
    return f"not finished: after {rounds}, {left}{few}"


def look_findings(table: Table) -> Iterator[str]:
    """How seeds were added to a table whose metric decided it."""
    if table.looks is None:
        return
    text = (
        "Seeds are added, one for all undecided rows at a time, until every comparison of the "
        f"{table.metric_label} is decided; {describe_looks(table.looks)}. The verdicts account for "
        "the repeated looks."
    )
    if table.ranks:
        first = counted(len(table.looks.record.rounds[0].seeds), "seed")
        text += f" Ranks are those of the first {first}, which all rows have."
    if table.looks.state in ("unfinished", "open"):
        text += " lossbench run --until-decided continues."
    yield text


def look_warnings(plan: Plan) -> Iterator[str]:
    """Ways in which a report differs from the record of the seeds that were added."""
    looks = plan.looks
    if looks is None:
        seeds = set(plan.suite.seeds)
        for other in plan.other_looks:
            if other.seeds & seeds:
                first = ", ".join(map(str, other.rounds[0].seeds))
                yield (
                    f"seeds were added to this table by its verdicts, beginning with {first}; the "
                    "verdicts of this report, whose seeds are given, do not account for it"
                )
        return
    if all(metric.name != looks.metric for metric in plan.metrics):
        yield (
            f"the seeds of each cell depend on {looks.metric}, which this report does not have; "
            "these verdicts do not account for it"
        )
    now = plan.suite.min_effect.get(looks.metric)
    if now != looks.min_effect:
        before = "no min_effect" if looks.min_effect is None else f"{looks.min_effect:g}"
        yield (
            f"min_effect of {looks.metric} was changed after seeds had been added; the verdicts "
            f"keep that of the first round ({before})"
        )


def _decided(looks: TableLooks) -> int:
    return sum(looks.outcomes.get(kind, 0) for kind in _DECIDED)


def _named(cells: Iterable[Cell], plan: Plan) -> str:
    return ", ".join(f"{v}/{row}" if plan.has_variants else row for v, row in cells)
