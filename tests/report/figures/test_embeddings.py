"""Marks of the classes in figures of features."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lossbench.planning.plan import Plan
from lossbench.report.figures import embeddings, geometry
from tests.report.figures.drawing import TWO, Drawn, texts
from tests.report.figures.two_classes import panels_of


@pytest.mark.parametrize(
    ("names", "marks", "said"),
    [
        (["3", "8"], ["3", "8"], "class means with the class's name"),
        (["cat", "dog"], ["0", "1"], "class means (0 cat, 1 dog)"),
        (None, ["0", "1"], "class means with the class's number"),
    ],
)
def test_classes_are_marked_by_name_or_number(
    make_plan: Callable[..., Plan],
    drawn: Drawn,
    names: list[str] | None,
    marks: list[str],
    said: str,
) -> None:
    panels = panels_of(make_plan(TWO), names)
    embeddings.embedding_figure("default", panels)
    embeddings.likelihood_figure("default", panels)
    geometry.geometry_figure("default", panels)
    for figure in ("embedding-default", "likelihood-default"):
        assert texts(drawn[figure][0]) == marks * 3
        assert said in drawn[figure][1]
    assert texts(drawn["geometry-default"][0]) == (names or marks) * 3
