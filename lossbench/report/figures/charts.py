"""Learning curves as small vector charts inside the page, with what a pointer asks of them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any

from markupsafe import Markup
from matplotlib.colors import to_hex

from lossbench.planning.selection import PlanWithResults, Stage
from lossbench.records import TrialResult
from lossbench.report.figures.style import Colour, row_colours, titled

WIDTH, HEIGHT = 520, 320
LEFT, RIGHT, TOP, BOTTOM = 52, 508, 12, 276
LOG_FROM_RATIO = 10
"""As in the figures: values that span this factor are drawn on a logarithmic axis."""
MOST_POINTS = 400
"""Of a line. More than these are nearer than a pixel; every k-th epoch and the last are kept."""
TICKS = 6


@dataclass(frozen=True)
class Line:
    """One row in one chart: the mean of its finished seeds, or a diverged trial.

    Attributes:
        label: The row's.
        colour: `#0072b2`.
        epochs: Of the points.
        means: Over the seeds that have the epoch.
        lows, highs: Smallest and largest of these seeds.
        lost: Whether this is a trial that diverged.
    """

    label: str
    colour: str
    epochs: tuple[int, ...]
    means: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    lost: bool = False


@dataclass(frozen=True)
class Axis:
    """Values -> pixels."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        low, high = self._scaled(self.low), self._scaled(self.high)
        share = (self._scaled(value) - low) / (high - low)
        return round(self.start + share * (self.end - self.start), 1)

    def _scaled(self, value: float) -> float:
        return math.log10(max(value, self.low)) if self.logarithmic else value


@dataclass(frozen=True)
class Chart:
    """One measurement over the epochs.

    Attributes:
        title: What is drawn, with its unit.
        lines: In the suite's order, of each row its mean first.
    """

    title: str
    lines: tuple[Line, ...]

    @property
    def data(self) -> list[dict[str, Any]]:
        """What a pointer is told, in the order of the drawn groups."""
        return [
            {
                "label": line.label,
                "epochs": line.epochs,
                "values": [_short(value) for value in line.means],
                "ranges": [
                    [_short(low), _short(high)] if low < high else None
                    for low, high in zip(line.lows, line.highs, strict=True)
                ],
                "lost": line.lost,
            }
            for line in self.lines
        ]

    @cached_property
    def svg(self) -> Markup:
        """The chart, without hover or colours of its own: the page's style has them."""
        x, y = self._axes
        parts = [self._grid(x, y)]
        for line in self.lines:
            points = [f"{x(e):g},{y(m):g}" for e, m in zip(line.epochs, line.means, strict=True)]
            drawn = _band(line, x, y)
            end = line.epochs[-1], line.means[-1]
            if line.lost:
                drawn += Markup('<polyline class="lost" points="{}"/>').format(" ".join(points))
                drawn += Markup('<text x="{}" y="{}" text-anchor="middle">×</text>').format(
                    x(end[0]), y(end[1]) + 4
                )
            elif len(points) > 1:
                drawn += Markup('<polyline points="{}"/>').format(" ".join(points))
            else:
                drawn += Markup('<circle cx="{}" cy="{}" r="4"/>').format(x(end[0]), y(end[1]))
            group = Markup('<g class="row" style="--c:{}" data-at="{}">{}</g>')
            parts.append(group.format(line.colour, " ".join(points), drawn))
        return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}, of {}">{}</svg>').format(
            WIDTH,
            HEIGHT,
            f"{self.title}, over the epochs",
            ", ".join(dict.fromkeys(line.label for line in self.lines)),
            Markup("").join(parts),
        )

    @property
    def _axes(self) -> tuple[Axis, Axis]:
        epochs = [epoch for line in self.lines for epoch in line.epochs]
        first, last = min(epochs), max(epochs)
        margin = 0.5 if first == last else 0
        values = [v for line in self.lines for v in (*line.lows, *line.highs)]
        positive = [v for v in values if v > 0]
        wide = bool(positive) and max(positive) >= LOG_FROM_RATIO * min(positive)
        if wide and min(values) >= 0:
            y = Axis(min(positive), max(positive), BOTTOM, TOP, logarithmic=True)
        else:
            low, high = min(0.0, *values), max(values)
            y = Axis(low, high if high > low else low + 1, BOTTOM, TOP)
        return Axis(first - margin, last + margin, LEFT, RIGHT), y

    def _grid(self, x: Axis, y: Axis) -> Markup:
        drawn = Markup("")
        for value in ticks(y.low, y.high, y.logarithmic):
            drawn += Markup(
                '<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>'
                '<text x="{}" y="{}" text-anchor="end">{}</text>'
            ).format(LEFT, RIGHT, y(value), y(value), LEFT - 7, y(value) + 4, f"{value:g}")
        for value in ticks(x.low, x.high):
            if value == int(value):
                drawn += Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(
                    x(value), BOTTOM + 18, f"{value:g}"
                )
        return drawn + Markup('<text x="{}" y="{}" text-anchor="middle">epoch</text>').format(
            (LEFT + RIGHT) / 2, BOTTOM + 38
        )


@dataclass(frozen=True)
class Curves:
    """The charts of one variant.

    Attributes:
        name: Of the figure with the same curves.
        title: Heading.
        legend: Label and colour of each row that is drawn.
        charts: Error, and training loss.
    """

    name: str
    title: str
    legend: tuple[tuple[str, str], ...]
    charts: tuple[Chart, ...]

    @property
    def data(self) -> list[list[dict[str, Any]]]:
        return [chart.data for chart in self.charts]


def make_curves(found: PlanWithResults) -> list[Curves]:
    """The learning curves of every variant of which something was run."""
    plan, stage = found.plan, found.latest_stage
    colours = row_colours(plan.rows)
    made = []
    for variant in plan.suite.variants:
        charts = [
            Chart(title, lines)
            for metric, title in (
                (f"{stage.measured}_error", f"Error, % of {stage.images} images"),
                ("train_loss", "Training loss (each row its own quantity)"),
            )
            if (lines := tuple(_lines(stage, variant, metric, colours)))
        ]
        if charts:
            legend = {line.label: line.colour for chart in charts for line in chart.lines}
            title = titled("Learning curves", variant)
            made.append(Curves(f"curves-{variant}", title, tuple(legend.items()), tuple(charts)))
    return made


def _lines(
    stage: Stage, variant: str, metric: str, colours: Mapping[str, Colour]
) -> Iterable[Line]:
    for label, colour in colours.items():
        ran = [result for _, result in stage.ran(variant, label)]
        finished = [p for r in ran if r.status == "finished" and (p := _points(r, metric))]
        groups = [(finished, False)] if finished else []
        groups += [([p], True) for r in ran if r.status == "diverged" and (p := _points(r, metric))]
        for seeds, lost in groups:
            epochs = _thinned(sorted({epoch for points in seeds for epoch in points}))
            columns = [[points[epoch] for points in seeds if epoch in points] for epoch in epochs]
            yield Line(
                label,
                to_hex(colour),
                tuple(epochs),
                tuple(map(fmean, columns)),
                tuple(map(min, columns)),
                tuple(map(max, columns)),
                lost,
            )


def _points(result: TrialResult, metric: str) -> dict[int, float]:
    """Epoch -> value, as far as there is one: a loss may end at infinity."""
    return {
        record.epoch: record.metrics[metric]
        for record in result.history
        if math.isfinite(record.metrics.get(metric, math.nan))
    }


def _thinned(epochs: list[int]) -> list[int]:
    step = math.ceil(len(epochs) / MOST_POINTS)
    return sorted({*epochs[::step], *epochs[-1:]})


def _band(line: Line, x: Axis, y: Axis) -> Markup:
    """The range of the seeds."""
    if line.lows == line.highs:
        return Markup("")
    upper = [f"{x(e):g},{y(v):g}" for e, v in zip(line.epochs, line.highs, strict=True)]
    lower = [f"{x(e):g},{y(v):g}" for e, v in zip(line.epochs, line.lows, strict=True)]
    return Markup('<polygon points="{}"/>').format(" ".join([*upper, *reversed(lower)]))


def ticks(low: float, high: float, logarithmic: bool = False) -> Sequence[float]:
    """Round values inside [low, high], about five of them."""
    if logarithmic:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        few = len(decades) <= 4
        every = [m * 10.0**d for d in decades for m in ((1, 2, 5) if few else (1,))]
        inside = [tick for tick in every if low * 0.999 <= tick <= high * 1.001]
        return inside[:: math.ceil(len(inside) / (TICKS + 3)) or 1]
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
    first = math.ceil(low / step - 1e-9)
    count = math.floor(high / step + 1e-9) - first + 1
    return [float(f"{(first + i) * step:.12g}") for i in range(count)]


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def dumps(data: object) -> Markup:
    """JSON for inside <script>, where no text can end it: `<`, `>` and `&` are escaped."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)
