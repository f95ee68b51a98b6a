"""Sentences around a table: what was chosen, and what a reader should be careful about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from lossbench.analysis.edges import EdgeChoice, edge_choices
from lossbench.analysis.published import published_problems
from lossbench.analysis.tables import Table
from lossbench.planning.column_text import column_texts
from lossbench.planning.divergence import BETTER_LEVEL
from lossbench.planning.selection import PlanWithResults, Stage
from lossbench.planning.trial import Trial
from lossbench.records import REQUIRED_ENVIRONMENT_KEYS, TrialResult
from lossbench.report.look_text import look_findings, look_warnings

MAX_POINTS = 8
"""Maximum number of points with failed trials that are named."""


@dataclass(frozen=True)
class Remarks:
    """Sentences around one table.

    Attributes:
        findings: What was chosen, and on which images.
        warnings: What a reader should be careful about.
    """

    findings: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def make_remarks(tables: Sequence[Table]) -> list[Remarks]:
    """Remarks of each table; those of all tables of a stage are with the first one."""
    remarks = []
    for index, table in enumerate(tables):
        plan = table.found.plan
        findings = [f"Data: {line}." for line in plan.notes] if index == 0 else []
        if index == 0:
            findings += [f"Weights: {line}." for line in plan.weight_notes]
            findings += [f"Column {name}: {text}." for name, text in column_texts(plan).items()]
        warnings = [*plan.warnings] if index == 0 else []
        if index == 0 or tables[index - 1].held_out != table.held_out:
            warnings += _stage_warnings(table)
        if not table.held_out:
            findings += [*_chosen_rows(table.found), *look_findings(table)]
            warnings += look_warnings(table.found.plan) if index == 0 else []
        warnings += [*_optimistic(table), *_not_finite(table)]
        remarks.append(Remarks(tuple(findings), tuple(warnings)))
    return remarks


def _stage_warnings(table: Table) -> list[str]:
    plan, stage = table.found.plan, table.stage
    if table.held_out:
        of_trials = _of_trials(stage)
        if plan.suite.tune:  # points with poor values are expected to diverge
            of_trials = [*_unmeasured(stage), *_failed_points(stage), *_versions(stage)]
        return [*_selection_warnings(table.found, stage), *of_trials]
    problems = published_problems(plan.suite, plan.metrics)
    return [*_of_trials(stage), *(f"{p.key}: {p.message}" for p in problems)]


def _of_trials(stage: Stage) -> list[str]:
    return [*_unmeasured(stage), *_failures(stage), *_versions(stage)]


def _unmeasured(stage: Stage) -> list[str]:
    """Evaluations that trained trials lack, and how to get them."""
    trained = [result for trial, result in _results(stage) if result.status == "finished"]
    lacking = Counter(name for result in trained for name in result.unmeasured)
    if not lacking:
        return []
    of = f"of {len(trained)} trained trials"
    listed = ", ".join(f"{name} ({count} {of})" for name, count in lacking.items())
    how = "lossbench run measures them, on the stored weights if there are any"
    return [f"not measured yet: {listed}; {how}"]


def _results(stage: Stage) -> Iterator[tuple[Trial, TrialResult]]:
    for variant, row in stage.cells:
        yield from stage.ran(variant, row)


def _selection_warnings(found: PlanWithResults, holdout: Stage) -> Iterator[str]:
    yield from found.plan.search_notes
    yield from map(describe_edge, edge_choices(found.plan, found.chosen))
    if holdout.missing:
        yield (
            f"{holdout.missing} of {len(holdout.trials)} held-out trials are missing: "
            "the choice may still change"
        )
    lacking = sum(trial.identity not in found.scores for trial, _ in _results(holdout))
    if lacking:
        assert found.plan.selection_metric is not None
        yield (
            f"{lacking} of {len(holdout.trials)} held-out trials lack "
            f"{found.plan.selection_metric.name}, by which is chosen: the choice may still change"
        )
    entries = dict.fromkeys(row.entry for row in found.plan.rows)
    for variant in found.plan.suite.variants:
        for entry in entries:
            if (variant, entry) not in found.chosen:
                yield f"{variant}: nothing chosen for {entry}: none of its rows finished all seeds"


def describe_edge(choice: EdgeChoice) -> str:
    """Where the chosen number is among those given, and what to do."""
    head = f"{choice.variant}: {choice.entry} chose {choice.parameter}={choice.value:g}"
    ends = f"{choice.low:g} to {choice.high:g}"
    size = "smaller" if choice.at_low else "larger"
    if choice.listed is None:
        end, key = ("lower", "low") if choice.at_low else ("upper", "high")
        return (
            f"{head}, at the {end} end of the range searched, {ends}; the optimum may lie "
            f"beyond: search again with a {size} {key}"
        )
    which = "smallest" if choice.at_low else "largest"
    return (
        f"{head}, the {which} of the {choice.listed} values given, {ends}; the optimum may lie "
        f"beyond: add {size} values"
    )


def _failures(stage: Stage) -> list[str]:
    """One line per cell and reason, on trials that diverged or are no better than guessing."""
    seeds: dict[tuple[str, str, str], list[int]] = {}
    for trials in stage.cells.values():
        for trial, result in trials:
            if result and result.status == "diverged":
                text = f"diverged: {result.reason}"
            elif result and result.no_better_than_guessing:
                text = (
                    "is not shown to be better than always predicting the most frequent class "
                    f"(p > {BETTER_LEVEL:g}); it is included in the mean"
                )
            else:
                continue
            seeds.setdefault((trial.variant, trial.row, text), []).append(trial.seed)
    return [
        f"{variant}: {row} with {_listed(own)} {text}"
        for (variant, row, text), own in seeds.items()
    ]


def _failed_points(stage: Stage) -> Iterator[str]:
    """One line per loss, column and kind of failure, on points with a failed trial."""
    points: dict[tuple[str, str, str], list[str]] = {}
    total: Counter[tuple[str, str]] = Counter()
    for (variant, label), row in stage.rows.items():
        total[variant, row.entry] += 1
        results = [result for _, result in stage.ran(variant, label)]
        for text, count in (
            ("diverged", sum(result.status == "diverged" for result in results)),
            (
                "is not shown to be better than guessing",
                sum(result.no_better_than_guessing for result in results),
            ),
        ):
            if count:
                of = "" if count == len(results) else f" ({count} of {len(results)} seeds)"
                values = label.removeprefix(f"{row.entry}(").removesuffix(")")
                points.setdefault((variant, row.entry, text), []).append(f"{values}{of}")
    for (variant, entry, text), own in points.items():
        listed = "; ".join(own[:MAX_POINTS]) + ("; ..." if len(own) > MAX_POINTS else "")
        of = f"{len(own)} of {total[variant, entry]} held-out points"
        yield f"{variant}: {entry} {text} at {of}: {listed}"


def _versions(stage: Stage) -> list[str]:
    """One line per part of the environment that differs between results."""
    environments = [result.environment for result in stage.results.values()]
    lines = []
    for part in dict.fromkeys(part for environment in environments for part in environment):
        known = [e for e in environments if part in e or part in REQUIRED_ENVIRONMENT_KEYS]
        count = Counter(environment.get(part, "unknown") for environment in known)
        if len(count) > 1:
            of = len(known)
            listed = ", ".join(f"{version} ({n} of {of} trials)" for version, n in count.items())
            lines.append(f"the results are of different versions: {part} {listed}")
    return lines


def _optimistic(table: Table) -> Iterator[str]:
    if table.optimistic:
        yield (
            f"{table.metric_label}: too good on average, because the epoch was chosen by this "
            "error itself; compare it only with numbers that were chosen in the same way"
        )


def _not_finite(table: Table) -> list[str]:
    return [
        f"{variant}: {row} has no finite {table.metric_label} with {_listed(seeds)}"
        for (variant, row), seeds in table.not_finite.items()
    ]


def _listed(seeds: Iterable[int]) -> str:
    """`seed 1`, `seeds 1, 2`."""
    listed = list(map(str, seeds))
    return f"{'seed' if len(listed) == 1 else 'seeds'} {', '.join(listed)}"


def _chosen_rows(found: PlanWithResults) -> Iterator[str]:
    """Rows that were chosen, and rows that the suite names to compare with them."""
    plan = found.plan
    if not plan.compared or plan.suite.tune:  # with `tune`, they are in a table
        return
    compared = ", ".join(row.label for row in plan.compared)
    for variant in plan.suite.variants:
        chosen = [row.label for (v, _), row in found.chosen.items() if v == variant and row.varied]
        column = f"{variant}: " if plan.has_variants else ""
        yield (
            f"{column}chosen on the held-out part: {', '.join(chosen)}; named by the suite for "
            f"comparison: {compared}."
        )
