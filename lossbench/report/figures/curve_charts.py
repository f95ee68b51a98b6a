"""Learning curves as small vector charts inside the page, with the data of their tooltips."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup
from matplotlib.colors import to_hex
from matplotlib.ticker import LogLocator, MaxNLocator

from lossbench.report.figures.curves import Curve, LearningCurves, Panel

WIDTH, HEIGHT = 520, 320
LEFT, RIGHT, TOP, BOTTOM = 52, 508, 12, 276
MAX_POINTS = 400
"""Points per curve. With more, neighbours would be less than a pixel apart; every k-th epoch and
the last are kept."""
MAX_TICKS = 6


@dataclass(frozen=True)
class Axis:
    """Maps values to pixels."""

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


def legend(curves: LearningCurves) -> dict[str, str]:
    """Label -> colour of each row that is drawn."""
    return {c.label: to_hex(c.colour) for panel in curves.panels for c in panel.curves}


def tooltips(curves: LearningCurves) -> list[list[dict[str, Any]]]:
    """Texts of the tooltips: for each panel its curves, in the order of the drawn groups."""
    return [[_tooltip(_thinned(curve)) for curve in panel.curves] for panel in curves.panels]


def _tooltip(curve: Curve) -> dict[str, Any]:
    return {
        "label": curve.label,
        "epochs": curve.epochs,
        "values": [_short(value) for value in curve.means],
        "ranges": [
            [_short(low), _short(high)] if low < high else None
            for low, high in zip(curve.lows, curve.highs, strict=True)
        ],
        "diverged": curve.diverged,
    }


def chart(panel: Panel) -> Markup:
    """One panel as SVG; the page's stylesheet sets its colours, the page's script its tooltips."""
    x, y = _axes(panel)
    parts = [_grid(x, y), *(_group(_thinned(curve), x, y) for curve in panel.curves)]
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}, of {}">{}</svg>').format(
        WIDTH,
        HEIGHT,
        f"{panel.title}, over the epochs",
        ", ".join(dict.fromkeys(curve.label for curve in panel.curves)),
        Markup("").join(parts),
    )


def _axes(panel: Panel) -> tuple[Axis, Axis]:
    epochs = [epoch for curve in panel.curves for epoch in curve.epochs]
    margin = 0 if panel.only_epoch is None else 0.5
    x = Axis(min(epochs) - margin, max(epochs) + margin, LEFT, RIGHT)
    low, high = min(0.0, *panel.values), max(panel.values)
    if panel.logarithmic:
        return x, Axis(panel.smallest_positive, high, BOTTOM, TOP, logarithmic=True)
    return x, Axis(low, high if high > low else low + 1, BOTTOM, TOP)


def _grid(x: Axis, y: Axis) -> Markup:
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


def _group(curve: Curve, x: Axis, y: Axis) -> Markup:
    """Range of the seeds, and their mean; a diverged trial ends in a cross."""
    points = _points(curve.epochs, curve.means, x, y)
    drawn = Markup("")
    if curve.lows != curve.highs:
        upper = _points(curve.epochs, curve.highs, x, y)
        lower = _points(curve.epochs, curve.lows, x, y)
        drawn += Markup('<polygon points="{}"/>').format(" ".join([*upper, *reversed(lower)]))
    end_x, end_y = x(curve.epochs[-1]), y(curve.means[-1])
    if curve.diverged:
        drawn += Markup('<polyline class="diverged" points="{}"/>').format(" ".join(points))
        drawn += Markup('<text x="{}" y="{}" text-anchor="middle">×</text>').format(
            end_x, end_y + 4
        )
    elif len(points) > 1:
        drawn += Markup('<polyline points="{}"/>').format(" ".join(points))
    else:
        drawn += Markup('<circle cx="{}" cy="{}" r="4"/>').format(end_x, end_y)
    group = Markup('<g class="row" style="--c:{}" data-at="{}">{}</g>')
    return group.format(to_hex(curve.colour), " ".join(points), drawn)


def _points(epochs: Sequence[int], values: Sequence[float], x: Axis, y: Axis) -> list[str]:
    return [f"{x(e):g},{y(v):g}" for e, v in zip(epochs, values, strict=True)]


def _thinned(curve: Curve) -> Curve:
    count = len(curve.epochs)
    kept = sorted({*range(0, count, math.ceil(count / MAX_POINTS)), count - 1})

    def pick(values: Sequence[float]) -> tuple[float, ...]:
        return tuple(values[i] for i in kept)

    return replace(
        curve,
        epochs=tuple(curve.epochs[i] for i in kept),
        means=pick(curve.means),
        lows=pick(curve.lows),
        highs=pick(curve.highs),
    )


def ticks(low: float, high: float, logarithmic: bool = False) -> Sequence[float]:
    """Round values inside [low, high], about five of them."""
    if logarithmic:
        decades = math.ceil(math.log10(high)) - math.floor(math.log10(low)) + 1
        locator = LogLocator(subs=(1, 2, 5) if decades <= 4 else (1,), numticks=sys.maxsize)
        inside = [t for t in locator.tick_values(low, high) if 0.999 * low <= t <= 1.001 * high]
        return inside[:: math.ceil(len(inside) / (MAX_TICKS + 3)) or 1]
    margin = 1e-9 * (high - low)
    found = MaxNLocator(MAX_TICKS, steps=[1, 2, 5, 10]).tick_values(low, high)
    return [float(f"{t:.12g}") for t in found if low - margin <= t <= high + margin]


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def script_json(data: object) -> Markup:
    """JSON for a <script> element; `<`, `>` and `&` are escaped, so that no text can close it."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)
