"""Average ranks of losses, as a vector chart inside the page of a ranking."""

from __future__ import annotations

from markupsafe import Markup
from matplotlib.colors import to_hex

from lossbench.analysis.ranking import Ranking
from lossbench.report.figures.style import loss_hues

WIDTH, LINE_HEIGHT, LEFT, RIGHT = 640, 28, 190, 520
MAX_LABEL_LENGTH = 24


def rank_chart(ranking: Ranking) -> Markup:
    """Average ranks; a bar joins losses of which no two differ significantly."""
    rows = len(ranking.listed)
    height = LINE_HEIGHT * rows + 40

    def x(rank: float) -> float:
        return round(LEFT + (rank - 1) / max(rows - 1, 1) * (RIGHT - LEFT), 1)

    def y(place: float) -> float:
        return LINE_HEIGHT * (place + 0.5)

    drawn = Markup("")
    for rank in range(1, rows + 1):
        drawn += Markup(
            '<line class="axis" x1="{0}" x2="{0}" y1="0" y2="{1}"/>'
            '<text x="{0}" y="{2}" text-anchor="middle">{3}</text>'
        ).format(x(rank), LINE_HEIGHT * rows, LINE_HEIGHT * rows + 16, rank)
    hues = loss_hues(row.loss for row in ranking.listed)
    for place, row in enumerate(ranking.listed):
        drawn += Markup(
            '<g style="--c:{}"><text x="{}" y="{}" text-anchor="end">{}</text>'
            '<circle class="dot" cx="{}" cy="{}" r="6"/>'
            '<text x="{}" y="{}">{:.2f}</text></g>'
        ).format(
            to_hex(hues[row.loss]),
            LEFT - 14,
            y(place) + 4,
            _shorten(row.label),
            x(row.mean),
            y(place),
            x(row.mean) + 11,
            y(place) + 4,
            row.mean,
        )
    for bar, (first, last) in enumerate(ranking.groups):
        drawn += Markup('<line class="together" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>').format(
            RIGHT + 60 + 14 * (bar % 4), y(first) - 6, y(last) + 6
        )
    label = "average rank, 1 is best"
    return Markup(
        '<svg class="ranks" viewBox="0 0 {} {}" role="img" aria-label="{}: {}">{}'
        '<text x="{}" y="{}" text-anchor="middle">{}</text></svg>'
    ).format(
        WIDTH,
        height,
        label,
        ", ".join(f"{row.label} {row.mean:.2f}" for row in ranking.listed),
        drawn,
        (LEFT + RIGHT) / 2,
        height - 6,
        label,
    )


def _shorten(label: str) -> str:
    return label if len(label) <= MAX_LABEL_LENGTH else label[: MAX_LABEL_LENGTH - 1] + "…"
