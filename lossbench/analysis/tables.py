"""Tables of a suite: rows x columns, one table per metric, with comparisons and ranks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from lossbench.analysis.comparison import Verdicts, compare_with_reference
from lossbench.analysis.number_format import PERCENT_SPEC, format_spec, is_percentage
from lossbench.analysis.published import Published, published_numbers
from lossbench.analysis.rank_bootstrap import Ranks, rank_rows
from lossbench.analysis.reproduction import Reproduction, compare_with_published
from lossbench.analysis.sequential import compare_other_metric
from lossbench.analysis.statistics import Summary
from lossbench.analysis.table_looks import TableLooks, at_first_look, look_at
from lossbench.planning.rows import Row
from lossbench.planning.selection import PlanWithResults, Stage
from lossbench.records import Metric


@dataclass(frozen=True)
class Cell:
    """One row in one column.

    Attributes:
        variant: Name of the column.
        row: Row.
        summary: Results of the trials.
        published: Number from the paper, if there is one.
        best: Whether no complete cell of the column is better at the shown precision.
        chosen: Whether selection chose this row among several of its loss.
        spec: Format specification of the values.
    """

    variant: str
    row: Row
    summary: Summary
    published: Published | None = None
    best: bool = False
    chosen: bool = False
    spec: str = PERCENT_SPEC


@dataclass(frozen=True)
class Table:
    """Rows x columns of one metric.

    Attributes:
        found: Plan and results that the table is made from.
        stage: Trials that the metric is measured on.
        suite: Name of the suite.
        metric: Name of the metric as in JSON: `error`, `holdout_error`.
        held_out: Whether the values are of the held-out part, not of the test set.
        has_variants: Whether the suite gives variants; otherwise its one column has no name.
        metric_label: Label of the metric: `error`.
        label: Label with what is measured on: `Test error`.
        unit: Unit of the values: `% of test images`; empty without a unit.
        group: Kind of the metric; see `Metric`.
        higher_is_better: Whether higher values are better; otherwise lower values are.
        judged: Whether one of the directions is better; see `Metric`.
        optimistic: Whether its values are too good on average; see `Metric`.
        spec: Format specification of the values and their differences.
        seeds: Number of planned seeds per cell; the largest, if seeds were added to some cells.
        variants: Names of the columns.
        rows: Rows. With `tune`, a row of the test set is an entry of `losses`, whose chosen values
            may differ between columns; `Cell.row` has those of its column.
        cells: (variant, row label) -> cell. With `selection`, a row that was not chosen in a
            column has no cell on the test set.
        not_finite: (variant, row label) -> seeds whose training finished, but whose value is not
            a finite number.
        verdicts: Comparison of every row with the reference row; None without a reference and on
            the held-out part.
        looks: Looks at this table, if its metric decided how many seeds were added.
        ranks: Ranks of the rows across the columns; None below two columns or two ranked rows.
            A metric that is not judged has neither verdicts nor ranks.
        reproductions: (variant, row label) -> comparison of the cell with its published number.
    """

    found: PlanWithResults
    stage: Stage
    suite: str
    metric: str
    held_out: bool
    has_variants: bool
    metric_label: str
    label: str
    unit: str
    spec: str
    seeds: int
    variants: tuple[str, ...]
    rows: tuple[Row, ...]
    cells: Mapping[tuple[str, str], Cell]
    not_finite: Mapping[tuple[str, str], Sequence[int]]
    verdicts: Verdicts | None = None
    looks: TableLooks | None = None
    ranks: Ranks | None = None
    reproductions: Mapping[tuple[str, str], Reproduction] = field(default_factory=dict)
    group: str = ""
    higher_is_better: bool = False
    judged: bool = True
    optimistic: bool = False

    @property
    def changes(self) -> tuple[str, ...]:
        """Differences from the suite file; see `Plan`."""
        return self.found.plan.changes

    @cached_property
    def planned_seeds(self) -> list[int]:
        """Numbers of seeds that cells have, in ascending order; more than one if they differ."""
        return sorted({cell.summary.planned for cell in self.cells.values()}) or [self.seeds]

    def has_published(self, variant: str) -> bool:
        """Whether a column has published numbers."""
        return variant in self._published_variants

    @cached_property
    def _published_variants(self) -> frozenset[str]:
        return frozenset(cell.variant for cell in self.cells.values() if cell.published)


def make_tables(found: PlanWithResults) -> tuple[Table, ...]:
    """All tables of a suite.

    Returns:
        One table per metric on the test set, those of optimistic metrics last. With `selection`,
        the table of the held-out part, with all rows, comes first, and the tables of the test set
        have the chosen rows only. If seeds were added until the table was decided, the verdicts
        are those of repeated looks.
    """
    tables = []
    for stage in found.stages:
        if stage.measured == "holdout":
            assert found.plan.selection_metric is not None
            tables.append(_table(found, stage, found.plan.selection_metric))
        elif stage.trials:
            measured = [m for m in found.plan.metrics if found.plan.variants_with(m)]
            metrics = sorted(measured, key=lambda metric: metric.optimistic)
            listed = [_table(found, stage, metric) for metric in metrics]
            looks = next(filter(None, map(_looks, listed)), None)
            tables += [_judged(table, looks) for table in listed]
    return tuple(tables)


def _table(found: PlanWithResults, stage: Stage, metric: Metric) -> Table:
    plan, tested = found.plan, stage.measured == "test"
    chosen = {} if tested else found.chosen
    variants = plan.variants_with(metric)
    tested_rows = {label for variant, label in stage.cells if variant in variants}
    rows = [row for row in stage.listed_rows if row.label in tested_rows]
    everything = {
        (variant, row.label): _summary(stage, variant, row.label, metric.name)
        for variant in variants
        for row in rows
        if (variant, row.label) in stage.cells
    }
    spec = format_spec(metric.unit, (v for s in everything.values() for v in s.values))
    cells = {}
    for variant in variants:
        here = [
            stage.rows[variant, row.label] for row in rows if (variant, row.label) in stage.cells
        ]
        summaries = {row.label: everything[variant, row.label] for row in here}
        numbers, best = {}, set()
        if tested:
            numbers = published_numbers(plan.suite.published, metric.name, variant, here)
            best = _best(summaries, metric, spec) if metric.judged else set()
        for row in here:
            cells[variant, row.label] = Cell(
                variant=variant,
                row=row,
                summary=summaries[row.label],
                published=numbers.get(row.label),
                best=row.label in best,
                # a loss with one row had nothing to choose from
                chosen=bool(row.varied) and chosen.get((variant, row.entry)) == row,
                spec=spec,
            )
    not_finite = {
        (variant, row): seeds
        for variant, row in cells
        if (seeds := _not_finite(stage, variant, row, metric.name))
    }
    measured = {"test": "Test", "validation": "Validation"}.get(stage.images, "Held-out")
    return Table(
        found=found,
        stage=stage,
        suite=plan.suite.suite,
        metric=metric.json_name(held_out=not tested),
        held_out=not tested,
        has_variants=plan.has_variants,
        metric_label=metric.label,
        label=f"{measured} {metric.label}",
        unit=metric.unit.replace("% of images", f"% of {stage.images} images"),
        spec=spec,
        seeds=max(map(len, stage.cells.values())),
        variants=variants,
        rows=tuple(rows),
        cells=cells,
        not_finite=not_finite,
        group=metric.group,
        higher_is_better=metric.higher_is_better,
        judged=metric.judged,
        optimistic=metric.optimistic,
    )


def table_looks(found: PlanWithResults) -> TableLooks | None:
    """The looks at the table of a plan with a record; None if its metric is not measured."""
    looks = found.plan.looks
    metrics = (metric for metric in found.plan.metrics if looks and metric.name == looks.metric)
    return next((_looks(_table(found, found.test_stage, metric)) for metric in metrics), None)


def _judged(table: Table, looks: TableLooks | None) -> Table:
    """The table with verdicts and ranks, if its metric is judged.

    Args:
        table: Table of the test set.
        looks: Looks at the table of the metric that decides how many seeds there are, if any.
    """
    if not table.judged:
        return table
    reference, higher = table.found.plan.suite.reference, table.higher_is_better
    judged = {key: cell.summary for key, cell in table.cells.items()}
    # rows are ranked by the seeds that all of them have
    ranked = at_first_look(judged, looks.record) if looks else judged
    ranks = rank_rows(ranked, table.variants, higher)
    table = replace(table, ranks=ranks, reproductions=_reproductions(table))
    if not reference:
        return table
    if looks is not None and table.metric == looks.record.metric:
        return replace(table, verdicts=looks.decided.verdicts, looks=looks)
    labels = _reference_labels(table)
    margins = equivalence_margins(table, labels)
    verdicts = (
        compare_other_metric(judged, looks.decided, reference, labels, higher, margins)
        if looks
        else compare_with_reference(judged, reference, labels, higher, margins)
    )
    return replace(table, verdicts=verdicts)


def _looks(table: Table) -> TableLooks | None:
    """The looks at a table, if its metric decides how many seeds there are.

    The margins are those of the first look, as they would otherwise change between looks.
    """
    plan = table.found.plan
    if plan.looks is None or not table.judged or table.metric != plan.looks.metric:
        return None
    cells = {key: cell.summary for key, cell in table.cells.items()}
    labels = _reference_labels(table)
    first = at_first_look(cells, plan.looks)
    margins = {
        variant: margin
        for variant, row in labels.items()
        if (
            margin := plan.looks.min_effect or _resolution(table, variant, first[variant, row].mean)
        )
    }
    return look_at(plan, cells, labels, table.higher_is_better, margins)


def _reference_labels(table: Table) -> dict[str, str]:
    """Column -> label of its reference row, for the columns in which the metric is measured."""
    labels = table.stage.reference_labels(table.found.plan.suite.reference)
    return {variant: labels[variant] for variant in table.variants if variant in labels}


def equivalence_margins(table: Table, labels: Mapping[str, str]) -> dict[str, float]:
    """Column -> largest difference that counts as none, in the metric's unit.

    `min_effect` of the suite, or, for shares of test images, what the test set can resolve: the
    standard error 100 sqrt(p (1 - p) / N) of the reference row's share p on N images, at least
    one image.

    Args:
        table: Table without verdicts.
        labels: Column -> label of its reference row.
    """
    means = {v: table.cells[v, row].summary.mean for v, row in labels.items()}
    margins = {v: _margin(table, v, mean) for v, mean in means.items()}
    return {variant: margin for variant, margin in margins.items() if margin is not None}


def _margin(table: Table, variant: str, mean: float | None) -> float | None:
    """Largest difference from a mean that counts as none; see `equivalence_margins`."""
    given = table.found.plan.suite.min_effect.get(table.metric)
    return _resolution(table, variant, mean) if given is None else given


def _resolution(table: Table, variant: str, mean: float | None) -> float | None:
    """Resolution of a column's test set at a mean; None for metrics that are no shares of it."""
    counts = table.found.plan.columns[variant].facts.class_counts
    images = sum(counts.get(table.stage.images, ()))
    if mean is None or not images or table.unit != f"% of {table.stage.images} images":
        return None
    share = mean / 100
    if not 0 <= share <= 1:  # of a user's evaluation, whose values are no shares
        return None
    return 100 * max(math.sqrt(share * (1 - share) / images), 1 / images)


def _reproductions(table: Table) -> dict[tuple[str, str], Reproduction]:
    """Comparisons with published numbers, which are percentages, with margins of theirs."""
    published = {key: cell.published for key, cell in table.cells.items() if cell.published}
    if not is_percentage(table.unit):
        return {}
    margins = {key: _margin(table, key[0], number.mean) for key, number in published.items()}
    return compare_with_published(
        {key: cell.summary for key, cell in table.cells.items()},
        published,
        {key: margin for key, margin in margins.items() if margin is not None},
        table.higher_is_better,
    )


def _summary(stage: Stage, variant: str, row: str, metric: str) -> Summary:
    trials = stage.cells[variant, row]
    by_seed = {
        trial.seed: result.metrics[metric]
        for trial, result in stage.finished(variant, row)
        if math.isfinite(result.metrics.get(metric, math.nan))
    }
    ended = Counter(result.status for _, result in trials if result)
    diverged = ended["diverged"] + len(_not_finite(stage, variant, row, metric))
    stopped = ended["stopped"]
    missing = len(trials) - len(by_seed) - diverged - stopped
    return Summary(tuple(by_seed.values()), diverged, missing, tuple(by_seed), stopped)


def _not_finite(stage: Stage, variant: str, row: str, metric: str) -> list[int]:
    """Seeds whose training finished, but whose metric is not a finite number."""
    return [
        trial.seed
        for trial, result in stage.finished(variant, row)
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
