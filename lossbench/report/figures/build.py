"""All figures of a report."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from lossbench.analysis.edges import searched_on_log
from lossbench.analysis.predictions import ReadArrays
from lossbench.analysis.tables import Table
from lossbench.planning.selection import PlanWithResults
from lossbench.report.answer import headline_table
from lossbench.report.figure_columns import MANY_COLUMNS
from lossbench.report.figures.cost import cost_figure
from lossbench.report.figures.curve_figure import curve_figure
from lossbench.report.figures.curves import LearningCurves
from lossbench.report.figures.detection import detection_figures
from lossbench.report.figures.embeddings import embedding_figure, find_embeddings, likelihood_figure
from lossbench.report.figures.forest import forest_figures
from lossbench.report.figures.geometry import geometry_figure
from lossbench.report.figures.levels import level_figures
from lossbench.report.figures.metric_ranks import rank_figure
from lossbench.report.figures.overview import overview_figure
from lossbench.report.figures.per_class import per_class_figure
from lossbench.report.figures.reliability import reliability_figure
from lossbench.report.figures.robustness import ATTACKS, robustness_figure
from lossbench.report.figures.selection import selection_figure
from lossbench.report.figures.sensitivity import sensitivity_figure
from lossbench.report.figures.style import Drawing, entry_colours, figure_style, row_colours


def draw_figures(
    found: PlanWithResults,
    tables: Sequence[Table],
    curves: Sequence[LearningCurves],
    read: ReadArrays,
    columns: Collection[str],
) -> list[Drawing]:
    """Every figure for which there are results.

    Args:
        found: Plan of the suite with its results.
        tables: Tables of all metrics.
        curves: Learning curves that are drawn.
        read: Reads an array artifact of a trial.
        columns: Columns with figures of their own.
    """
    with figure_style():
        return [drawing for drawing in _draw(found, tables, curves, read, columns) if drawing]


def _draw(
    found: PlanWithResults,
    tables: Sequence[Table],
    curves: Sequence[LearningCurves],
    read: ReadArrays,
    columns: Collection[str],
) -> Iterator[Drawing | None]:
    plan, stage = found.plan, found.latest_stage
    rows, colours = stage.listed_rows, row_colours(plan.rows)
    if plan.suite.tune:
        colours |= row_colours(rows)
    compared = [row.label for row in plan.compared]
    entries = list(dict.fromkeys(row.entry for row in plan.rows))
    if headline := headline_table(tables):
        yield from forest_figures(headline, columns)
        if len(headline.variants) > MANY_COLUMNS:
            yield overview_figure(headline)
    yield from level_figures(tables, colours)
    for table in tables:
        if table.held_out:
            for variant in filter(columns.__contains__, table.variants):
                yield sensitivity_figure(table, variant, entry_colours(plan.rows))
                for entry in entries:
                    on_log = searched_on_log(plan, entry)
                    yield selection_figure(table, variant, entry, colours, compared, on_log)
    for variant in filter(columns.__contains__, plan.suite.variants):
        panels = find_embeddings(stage, variant, rows, read)
        yield from (curve_figure(one) for one in curves if one.variant == variant)
        yield embedding_figure(variant, panels, stage.images)
        yield likelihood_figure(variant, panels, stage.images)
        yield geometry_figure(variant, panels)
        for attack in ATTACKS:
            yield robustness_figure(stage, variant, rows, plan.metrics, colours, attack)
        for artifact in plan.artifacts:
            if artifact.kind == "detection":
                yield from detection_figures(stage, variant, rows, artifact, colours, read)
            elif artifact.kind == "reliability":
                yield reliability_figure(stage, variant, rows, artifact, colours, read)
            else:
                yield per_class_figure(stage, variant, rows, artifact, plan.metrics, colours, read)
        yield rank_figure(tables, variant)
        yield cost_figure(stage, variant, rows, colours, plan.suite.reference)
