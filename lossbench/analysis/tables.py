"""Plan and results -> tables: rows x variants, one table a metric."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from lossbench.analysis.comparison import Verdicts, compare_with_reference
from lossbench.analysis.edges import selection_notes
from lossbench.analysis.number_format import (
    NOTHING,
    PERCENT_SPEC,
    format_mean_std,
    format_number,
    format_spec,
)
from lossbench.analysis.provenance import describe_changes, describe_more_seeds
from lossbench.analysis.published import Published, published_numbers, published_problems
from lossbench.analysis.rank_bootstrap import Ranks, rank_rows
from lossbench.analysis.statistics import Summary
from lossbench.planning.divergence import NO_BETTER, RULE
from lossbench.planning.plan import Plan
from lossbench.planning.rows import Row
from lossbench.planning.selection import Chosen, PlanWithResults, Stage
from lossbench.records import OF_ALL, Metric


@dataclass(frozen=True)
class Cell:
    """One row in one column.

    Attributes:
        variant: The column.
        row: The row.
        summary: Of its trials.
        published: The paper's number, where it has one.
        best: Whether no complete cell of the column is better at the shown precision.
        chosen: Whether the held-out part chose this row among several of its loss.
        spec: Format specification of its values.
    """

    variant: str
    row: Row
    summary: Summary
    published: Published | None = None
    best: bool = False
    chosen: bool = False
    spec: str = PERCENT_SPEC

    @property
    def value(self) -> str:
        """`1.17 ± 0.02`."""
        return format_mean_std(self.summary.mean, self.summary.std, self.spec)

    @property
    def interval(self) -> str:
        """`95 % 1.12 to 1.22`; empty where the values have no spread."""
        found = self.summary.interval
        if found is None:
            return ""
        return (
            f"95 % {format_number(found.low, self.spec)} to {format_number(found.high, self.spec)}"
        )

    @property
    def single_seeds(self) -> str:
        """`1.15, 1.20, 1.16`, in seed order; empty without values."""
        return ", ".join(format_number(value, self.spec) for value in self.summary.values)

    @property
    def count(self) -> str:
        """How many trials the value rests on, and what became of the others."""
        s = self.summary
        parts = []
        if s.diverged or s.stopped or not s.missing:
            parts.append(f"n={s.n}")
        if s.diverged:
            parts.append(f"{s.diverged} of {s.planned} diverged")
        if s.stopped:
            parts.append(f"{s.stopped} of {s.planned} stopped early")
        if s.missing:
            parts.append(f"{s.planned - s.missing}/{s.planned} seeds")
        return ", ".join(parts)


@dataclass(frozen=True)
class Table:
    """Rows x variants of one metric.

    Attributes:
        suite: Its name.
        metric: As in JSON: `error`, `holdout_error`.
        held_out: Whether the values are of the held-out part, not of the test set.
        has_columns: Whether the suite gives variants; otherwise its one column has no name.
        label: As in a heading: `Test error`.
        unit: `% of test images`; empty where the metric has none.
        spec: Format specification of its values and their differences.
        seeds: Number of seeds planned for a cell.
        variants: The columns.
        rows: The rows.
        cells: By (variant, row label). With `selection` a row may lack a cell on the test set:
            it was not chosen there.
        notes: Warnings, each one line.
        findings: What was chosen and on which images, each one line.
        verdicts: Every row against the reference row; None where the suite has none, and of the
            held-out part.
        ranks: Of the rows across the columns; None below two columns or rows to rank.
        changes: Differences from the suite file as it is written; see `Plan`.
        origin: The suite file and those changes; empty without changes.
        more_seeds: Sentence on stored seeds that the table lacks; empty if it has all.
    """

    suite: str
    metric: str
    held_out: bool
    has_columns: bool
    label: str
    unit: str
    spec: str
    seeds: int
    variants: tuple[str, ...]
    rows: tuple[Row, ...]
    cells: Mapping[tuple[str, str], Cell]
    notes: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    verdicts: Verdicts | None = None
    ranks: Ranks | None = None
    changes: tuple[str, ...] = ()
    origin: str = ""
    more_seeds: str = ""

    @property
    def title(self) -> str:
        unit = f", {self.unit}" if self.unit else ""
        if self.seeds == 1:
            return f"{self.label}{unit}; 1 seed"
        return f"{self.label}{unit}; mean ± std over {self.seeds} seeds"

    @property
    def legend(self) -> str:
        """What the marks mean."""
        diverged = any(cell.summary.diverged for cell in self.cells.values())
        return " ".join([*self._marks(), RULE] if diverged else self._marks())

    def _marks(self) -> list[str]:
        if any(cell.chosen for cell in self.cells.values()):
            return ["Chosen: the best mean of its loss in this column."]
        parts = []
        if any(cell.best for cell in self.cells.values()):
            parts.append(
                "Bold: best mean of the column at the shown precision, which is no verdict; a row "
                "with diverged or missing trials is never marked."
            )
        if any(cell.interval for cell in self.cells.values()):
            parts.append("95 %: Student's t interval of the mean over seeds.")
        if len(self.cells) < len(self.rows) * len(self.variants):
            parts.append(f"{NOTHING}: not chosen on the held-out part.")
        return parts

    def has_published(self, variant: str) -> bool:
        return any(cell.published for cell in self.cells.values() if cell.variant == variant)

    def heading(self, variant: str) -> str:
        """A column's heading; a suite without variants shows the metric instead."""
        return variant if self.has_columns else self.label


def make_tables(found: PlanWithResults) -> tuple[Table, ...]:
    """All tables of a suite.

    Returns:
        One table a metric, of the test set. With `selection` the held-out table stands first,
        with all rows, and the test tables have the chosen rows only.
    """
    plan, chosen, metric = found.plan, found.chosen, found.plan.selection_metric
    tables = []
    for stage in found.stages:
        if stage.measured == "holdout":
            assert metric is not None
            notes = [*selection_notes(plan, stage, chosen), *_endings(stage), *_versions(stage)]
            tables.append(_table(plan, stage, metric, chosen, notes))
            continue
        problems = published_problems(plan.suite, plan.metrics)
        notes = [
            *_endings(stage),
            *_versions(stage),
            *(f"{p.key}: {p.message}" for p in problems),
        ]
        for metric in plan.metrics if stage.trials else []:
            table = _table(plan, stage, metric, {}, notes)
            tables.append(replace(table, findings=(*_roles(plan, chosen), *table.findings)))
            notes = []
    if tables:
        tables[0] = replace(
            tables[0],
            findings=(*(f"Data: {line}." for line in plan.facts.notes), *tables[0].findings),
            notes=(*plan.facts.warnings, *tables[0].notes),
        )
    return tuple(tables)


def _table(plan: Plan, stage: Stage, metric: Metric, chosen: Chosen, notes: list[str]) -> Table:
    rows = [row for row in plan.rows if any(label == row.label for _, label in stage.cells)]
    everything = {
        (variant, row.label): _summary(stage, variant, row, metric.name)
        for variant in plan.suite.variants
        for row in rows
        if (variant, row.label) in stage.cells
    }
    spec = format_spec(metric.unit, (v for s in everything.values() for v in s.values))
    cells = {}
    for variant in plan.suite.variants:
        here = [row for row in rows if (variant, row.label) in stage.cells]
        summaries = {row.label: everything[variant, row.label] for row in here}
        numbers, best = {}, set()
        if stage.measured == "test":
            numbers = published_numbers(plan.suite.published, metric.name, variant, here)
            best = _best(summaries, metric, spec)
        for row in here:
            cells[variant, row.label] = Cell(
                variant=variant,
                row=row,
                summary=summaries[row.label],
                published=numbers.get(row.label),
                best=row.label in best,
                # a loss with one row had nothing to choose from
                chosen=bool(row.varied) and chosen.get((variant, row.loss.name)) == row,
                spec=spec,
            )
    notes = notes + [
        f"{variant}: {row.label} has no finite {metric.label} with seed {', '.join(map(str, lost))}"
        for variant in plan.suite.variants
        for row in rows
        if (lost := _not_finite(stage, variant, row, metric.name))
    ]
    tested = stage.measured == "test"
    measured = {"test": "Test", "validation": "Validation"}.get(stage.images, "Held-out")
    table = Table(
        suite=plan.suite.suite,
        metric=metric.json_name(held_out=not tested),
        held_out=not tested,
        has_columns=plan.has_columns,
        label=f"{measured} {metric.label}",
        unit=metric.unit.replace("% of images", f"% of {stage.images} images"),
        spec=spec,
        seeds=len(plan.suite.seeds),
        variants=tuple(plan.suite.variants),
        rows=tuple(rows),
        cells=cells,
        notes=tuple(notes),
        changes=plan.changes,
        origin=describe_changes(plan),
        more_seeds=describe_more_seeds(plan),
    )
    if stage.measured == "holdout":
        return table
    judged = {key: cell.summary for key, cell in cells.items()}
    labels = stage.reference_labels(plan.suite.reference)
    return replace(
        table,
        verdicts=compare_with_reference(
            judged, plan.suite.reference, labels, metric.higher_is_better
        )
        if plan.suite.reference
        else None,
        ranks=rank_rows(judged, table.variants, metric.higher_is_better),
    )


def _roles(plan: Plan, chosen: Chosen) -> list[str]:
    """Which rows were chosen, and which the suite names to compare with them."""
    if not plan.compared:
        return []
    compared = ", ".join(row.label for row in plan.compared)
    lines = []
    for variant in plan.suite.variants:
        found = [row.label for (own, _), row in chosen.items() if own == variant and row.varied]
        where = f"{variant}: " if plan.has_columns else ""
        lines.append(
            f"{where}chosen on the held-out part: {', '.join(found)}; named by the suite for "
            f"comparison: {compared}."
        )
    return lines


def _summary(stage: Stage, variant: str, row: Row, metric: str) -> Summary:
    trials = stage.cells[variant, row.label]
    by_seed = {
        trial.seed: result.metrics[metric]
        for trial, result in stage.finished(variant, row.label)
        if math.isfinite(result.metrics.get(metric, math.nan))
    }
    ended = Counter(result.status for _, result in trials if result)
    diverged = ended["diverged"] + len(_not_finite(stage, variant, row, metric))
    stopped = ended["stopped"]
    missing = len(trials) - len(by_seed) - diverged - stopped
    return Summary(tuple(by_seed.values()), diverged, missing, tuple(by_seed), stopped)


def _not_finite(stage: Stage, variant: str, row: Row, metric: str) -> list[int]:
    """Seeds whose training finished, but whose metric is not a finite number."""
    return [
        trial.seed
        for trial, result in stage.finished(variant, row.label)
        if not math.isfinite(result.metrics.get(metric, 0.0))
    ]


def _best(summaries: Mapping[str, Summary], metric: Metric, spec: str) -> set[str]:
    """Labels of the best complete rows; equal at the shown precision is equally good."""
    shown = {
        label: float(f"{s.mean:{spec}}")
        for label, s in summaries.items()
        if s.complete and s.mean is not None
    }
    if len(summaries) < 2 or not shown:
        return set()
    pick = max if metric.higher_is_better else min
    target = pick(shown.values())
    return {label for label, value in shown.items() if value == target}


def _endings(stage: Stage) -> list[str]:
    """One line for each cell and reason: what diverged, and what is no better than guessing."""
    seeds: dict[tuple[str, str, str], list[int]] = {}
    for trials in stage.cells.values():
        for trial, result in trials:
            if result and result.status == "diverged":
                why = f"diverged with seed {{}}: {result.reason}"
            elif result and result.no_better_than_guessing:
                why = f"is {NO_BETTER} with seed {{}}, and in the mean"
            else:
                continue
            seeds.setdefault((trial.variant, trial.row, why), []).append(trial.seed)
    return [
        f"{variant}: {row} {why.format(', '.join(map(str, listed)))}"
        for (variant, row, why), listed in seeds.items()
    ]


def _versions(stage: Stage) -> list[str]:
    """One line for each part of the environment that is not the same for all results."""
    there = [result.environment for result in stage.results.values()]
    lines = []
    for part in dict.fromkeys(part for environment in there for part in environment):
        known = [e for e in there if part in e or part in OF_ALL]
        count = Counter(environment.get(part, "unknown") for environment in known)
        if len(count) > 1:
            of = len(known)
            listed = ", ".join(f"{version} ({n} of {of} trials)" for version, n in count.items())
            lines.append(f"results of different versions meet here: {part} {listed}")
    return lines
