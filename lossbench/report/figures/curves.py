"""Learning curves: error and training loss over the epochs, computed once for figure and page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from lossbench.planning.selection import PlanWithResults, Stage
from lossbench.records import TrialResult
from lossbench.report.figures.style import Colour, figure_title, row_colours

LOG_FROM_RATIO = 10
"""Values that span at least this factor are drawn on a logarithmic axis."""


@dataclass(frozen=True)
class Curve:
    """One curve: the mean over the finished seeds of a row, or one diverged trial.

    Attributes:
        label: Label of the row.
        colour: Colour of the row.
        epochs: Epochs of the points.
        means: Mean over the seeds that have the epoch.
        lows, highs: Smallest and largest value of these seeds.
        diverged: Whether this is a diverged trial.
    """

    label: str
    colour: Colour
    epochs: tuple[int, ...]
    means: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    diverged: bool = False


@dataclass(frozen=True)
class Panel:
    """One measurement over the epochs.

    Attributes:
        title: What is measured, with its unit.
        curves: Curves in the suite's order; the mean of a row comes before its diverged trials.
    """

    title: str
    curves: tuple[Curve, ...]

    @cached_property
    def values(self) -> list[float]:
        """Smallest and largest values at all points."""
        return [v for curve in self.curves for v in (*curve.lows, *curve.highs)]

    @cached_property
    def smallest_positive(self) -> float:
        """Smallest value above zero; 0 without any."""
        return min((value for value in self.values if value > 0), default=0.0)

    @property
    def logarithmic(self) -> bool:
        """Whether the values span a wide range and none is negative."""
        smallest = self.smallest_positive
        wide = smallest > 0 and max(self.values) >= LOG_FROM_RATIO * smallest
        return wide and min(self.values) >= 0

    @property
    def only_epoch(self) -> int | None:
        """The epoch, where there is exactly one."""
        epochs = {epoch for curve in self.curves for epoch in curve.epochs}
        return next(iter(epochs)) if len(epochs) == 1 else None


@dataclass(frozen=True)
class LearningCurves:
    """Learning curves of one variant.

    Attributes:
        variant: Name of the variant.
        panels: Error, and training loss; measurements without any value are left out.
        trials: Number of trials with a result, of the rows that have a history.
        diverged: Number of these that diverged.
    """

    variant: str
    panels: tuple[Panel, ...]
    trials: int
    diverged: int

    @property
    def name(self) -> str:
        """Name of the figure."""
        return f"curves-{self.variant}"

    @property
    def title(self) -> str:
        """Heading of the figure."""
        return figure_title("Learning curves", self.variant)


def learning_curves(found: PlanWithResults, variants: Iterable[str]) -> list[LearningCurves]:
    """Learning curves of the given variants in which a trial has a history."""
    stage, plan = found.latest_stage, found.plan
    colours = row_colours(stage.listed_rows if plan.suite.tune else plan.rows)
    curves = (_learning_curves(stage, variant, colours) for variant in variants)
    return [one for one in curves if one.panels]


def _learning_curves(stage: Stage, variant: str, colours: Mapping[str, Colour]) -> LearningCurves:
    rows = {label: [result for _, result in stage.ran(variant, label)] for label in colours}
    rows = {label: ran for label, ran in rows.items() if any(result.history for result in ran)}
    panels = []
    for metric, title in (
        (f"{stage.measured}_error", f"Error, % of {stage.images} images"),
        ("train_loss", "Training loss (not comparable between losses)"),
    ):
        curves = [
            c for label, ran in rows.items() for c in _curves(label, colours[label], ran, metric)
        ]
        if curves:
            panels.append(Panel(title, tuple(curves)))
    results = [result for ran in rows.values() for result in ran]
    diverged = sum(result.status == "diverged" for result in results)
    return LearningCurves(variant, tuple(panels), len(results), diverged)


def _curves(
    label: str, colour: Colour, results: Iterable[TrialResult], metric: str
) -> Iterable[Curve]:
    points: dict[str, list[dict[int, float]]] = {"finished": [], "diverged": []}
    for result in results:
        own = {r.epoch: r.metrics[metric] for r in result.history if metric in r.metrics}
        if own and result.status in points:
            points[result.status].append(own)
    if points["finished"]:
        yield _curve(label, colour, points["finished"])
    for own in points["diverged"]:
        yield _curve(label, colour, [own], diverged=True)


def _curve(
    label: str, colour: Colour, seeds: list[dict[int, float]], *, diverged: bool = False
) -> Curve:
    epochs = sorted({epoch for points in seeds for epoch in points})
    columns = [[points[epoch] for points in seeds if epoch in points] for epoch in epochs]
    return Curve(
        label,
        colour,
        tuple(epochs),
        means=tuple(map(fmean, columns)),
        lows=tuple(map(min, columns)),
        highs=tuple(map(max, columns)),
        diverged=diverged,
    )
