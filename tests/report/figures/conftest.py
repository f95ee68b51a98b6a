"""Fixture: figures as they are handed over to be saved."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from matplotlib.figure import Figure

from lossbench.report.figures import (
    cost,
    curve_figure,
    detection,
    embeddings,
    forest,
    geometry,
    levels,
    metric_ranks,
    overview,
    per_class,
    reliability,
    robustness,
    selection,
)
from lossbench.report.figures.style import Drawing, figure_style
from tests.report.figures.drawing import Drawn


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[Drawn]:
    """Figures and captions by name, as they are when a module hands them over to be saved."""
    kept: Drawn = {}

    def keep(figure: Figure, kind: str, name: str, title: str, caption: str) -> Drawing:
        kept[name] = figure, caption
        return Drawing(kind, name, title, caption, b"", b"")

    for module in (
        *(cost, curve_figure, detection, embeddings, forest, geometry, levels),
        *(metric_ranks, overview, per_class, reliability, robustness, selection),
    ):
        monkeypatch.setattr(module, "save_figure", keep)
    with figure_style():
        yield kept
