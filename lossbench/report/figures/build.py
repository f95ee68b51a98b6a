"""All figures of a report."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lossbench.analysis.edges import searched_on_log
from lossbench.analysis.predictions import ReadArrays
from lossbench.analysis.tables import Table
from lossbench.planning.rows import Row
from lossbench.planning.selection import PlanWithResults, Stage
from lossbench.report.answer import headline_table
from lossbench.report.figure_columns import MANY_COLUMNS
from lossbench.report.figures.cost import cost_figure
from lossbench.report.figures.curve_figure import curve_figure
from lossbench.report.figures.curves import LearningCurves
from lossbench.report.figures.detection import detection_figures
from lossbench.report.figures.embeddings import embedding_figure, find_embeddings, likelihood_figure
from lossbench.report.figures.fonts import searched
from lossbench.report.figures.forest import forest_figures
from lossbench.report.figures.geometry import geometry_figure
from lossbench.report.figures.levels import level_figures
from lossbench.report.figures.metric_ranks import rank_figure
from lossbench.report.figures.overview import overview_figure
from lossbench.report.figures.per_class import per_class_figure
from lossbench.report.figures.processes import Task, start_tasks
from lossbench.report.figures.reliability import reliability_figure
from lossbench.report.figures.robustness import ATTACKS, robustness_figure
from lossbench.report.figures.selection import selection_figure
from lossbench.report.figures.sensitivity import sensitivity_figure
from lossbench.report.figures.style import Drawing, entry_colours, figure_style, row_colours


@dataclass(frozen=True)
class _Drawn:
    """Figures of a task.

    Attributes:
        drawings: The figures.
        searched: Characters for which its process has searched another font.
    """

    drawings: list[Drawing]
    searched: frozenset[int]


@contextmanager
def draw_figures(
    found: PlanWithResults,
    tables: Sequence[Table],
    curves: Sequence[LearningCurves],
    read: ReadArrays,
    columns: Collection[str],
    processes: int,
) -> Iterator[Callable[[], list[Drawing]]]:
    """Start to draw every figure for which there are results.

    Args:
        found: Plan of the suite with its results.
        tables: Tables of all metrics.
        curves: Learning curves that are drawn.
        read: Reads an array artifact of a trial; called in this process only.
        columns: Columns with figures of their own.
        processes: Number of processes that draw. With more than one, this process is forked, which
            is safe only if no other thread works in it.

    Yields:
        Function that draws the remaining figures, and returns all of them in the report's order.
    """

    def finish() -> list[Drawing]:
        drawn = results()
        searched.update(*(one.searched for one in drawn))
        return [drawing for one in drawn for drawing in one.drawings]

    found.latest_stage.cells  # noqa: B018 (computed once, before the fork)
    tasks = list(_tasks(found, tables, curves, read, columns))
    with start_tasks(tasks, processes) as results:
        yield finish


def _tasks(
    found: PlanWithResults,
    tables: Sequence[Table],
    curves: Sequence[LearningCurves],
    read: ReadArrays,
    columns: Collection[str],
) -> Iterator[Task[_Drawn]]:
    """The figures in their order; those that read arrays are drawn in this process."""
    plan, stage = found.plan, found.latest_stage
    rows, colours = stage.listed_rows, row_colours(plan.rows)
    if plan.suite.tune:
        colours |= row_colours(rows)
    compared = [row.label for row in plan.compared]
    entries = list(dict.fromkeys(row.entry for row in plan.rows))
    if headline := headline_table(tables):
        yield _task(forest_figures, headline, columns)
        if len(headline.variants) > MANY_COLUMNS:
            yield _task(overview_figure, headline)
    yield _task(level_figures, tables, colours)
    for table in tables:
        if table.held_out:
            for variant in filter(columns.__contains__, table.variants):
                yield _task(sensitivity_figure, table, variant, entry_colours(plan.rows))
                for entry in entries:
                    on_log = searched_on_log(plan, entry)
                    yield _task(selection_figure, table, variant, entry, colours, compared, on_log)
    for variant in filter(columns.__contains__, plan.suite.variants):
        for one in curves:
            if one.variant == variant:
                yield _task(curve_figure, one)
        yield _task(_embedding_figures, stage, variant, rows, read, here=True)
        for attack in ATTACKS:
            yield _task(robustness_figure, stage, variant, rows, plan.metrics, colours, attack)
        for artifact in plan.artifacts:
            of = stage, variant, rows, artifact
            if artifact.kind == "detection":
                yield _task(detection_figures, *of, colours, read, here=True)
            elif artifact.kind == "reliability":
                yield _task(reliability_figure, *of, colours, read, here=True)
            else:
                yield _task(per_class_figure, *of, plan.metrics, colours, read, here=True)
        yield _task(rank_figure, tables, variant)
        yield _task(cost_figure, stage, variant, rows, colours, plan.suite.reference)


def _embedding_figures(
    stage: Stage, variant: str, rows: Sequence[Row], read: ReadArrays
) -> Iterator[Drawing | None]:
    panels = find_embeddings(stage, variant, rows, read)
    yield embedding_figure(variant, panels, stage.images)
    yield likelihood_figure(variant, panels, stage.images)
    yield geometry_figure(variant, panels)


def _task(
    draw: Callable[..., Iterable[Drawing | None] | Drawing | None],
    *arguments: Any,
    here: bool = False,
) -> Task[_Drawn]:
    """Task that draws one figure, or several."""

    def do() -> _Drawn:
        with figure_style():
            drawn = draw(*arguments)
            several = [drawn] if drawn is None or isinstance(drawn, Drawing) else drawn
            drawings = [drawing for drawing in several if drawing]
        return _Drawn(drawings, frozenset(searched))

    return Task(do, here)
