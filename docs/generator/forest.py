"""The forest plot of the guide to verdicts, of made-up numbers, drawn as in a report."""

from __future__ import annotations

import io

import matplotlib

matplotlib.use("agg")

from lossbench.analysis.comparison import compare_with_reference
from lossbench.analysis.statistics import Summary
from lossbench.report.figures.forest import draw_panel
from lossbench.report.figures.style import figure_style
from lossbench.report.forest import ForestPanel, make_panel

ERRORS = {
    "softmax": (6.1, 6.5, 5.8, 6.3, 6.0),
    "lgm": (3.0, 4.0, 3.1, 3.3, 3.4),
    "l_softmax": (5.1, 4.9, 4.3, 5.5, 4.6),
    "center": (5.8, 6.5, 5.8, 6.1, 5.9),
    "contrastive": (6.0, 5.8, 5.0, 6.4, 5.7),
    "triplet": (7.7, 8.3, 7.5, 8.1, 8.2),
}
"""Row -> error in percent for each seed."""
MARGIN = 0.6


def example() -> ForestPanel:
    """All rows compared with softmax."""
    cells = {("", row): Summary(errors, seeds=tuple(range(5))) for row, errors in ERRORS.items()}
    verdicts = compare_with_reference(cells, "softmax", {"": "softmax"}, False, {"": MARGIN})
    panel = make_panel(verdicts.listed)
    assert panel is not None
    return panel


def draw() -> bytes:
    """PNG of the example."""
    file = io.BytesIO()
    with figure_style():
        figure = draw_panel(example(), "percentage points", higher_is_better=False)
        figure.savefig(file, format="png", dpi=110)
    return file.getvalue()
