"""Marks of the classes in figures of features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_rgba

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
    embeddings.embedding_figure("default", panels, "test")
    embeddings.likelihood_figure("default", panels, "test")
    geometry.geometry_figure("default", panels)
    for figure in ("embedding-default", "likelihood-default"):
        assert texts(drawn[figure][0]) == marks * 3
        assert said in drawn[figure][1]
    assert texts(drawn["geometry-default"][0]) == (names or marks) * 3


def test_area_outside_the_density_grid_is_grey_and_named(
    make_plan: Callable[..., Plan], drawn: Drawn
) -> None:
    panels = panels_of(make_plan(TWO), ["3", "8"])
    embeddings.likelihood_figure("default", panels, "test")
    assert "grey" not in drawn["likelihood-default"][1]

    far = np.array([[-40.0, 0.0], [np.nan, 3.0]])  # the grid ends at -17
    moved = [replace(panel, arrays={**panel.arrays, "class_means": far}) for panel in panels]
    embeddings.likelihood_figure("default", moved, "test")
    figure, caption = drawn["likelihood-default"]
    assert "black: at most 0.001 of it; grey: outside the evaluated area." in caption
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())  # (H, W, 4)
    maps = [axes for axes in figure.axes if axes.images]
    assert maps
    for axes in maps:
        column, row = axes.transData.transform((-30, 0)).astype(int)
        assert tuple(pixels[-row, column]) == to_rgba_bytes(embeddings.NOT_EVALUATED)
        column, row = axes.transData.transform((-40, 0)).astype(int)
        assert axes.bbox.contains(column, row)


def to_rgba_bytes(colour: str) -> tuple[int, ...]:
    return tuple(round(255 * part) for part in to_rgba(colour))


def test_likelihood_caption_counts_the_attacked_images_inside_the_map(
    make_plan: Callable[..., Plan], drawn: Drawn
) -> None:
    panels = panels_of(make_plan(TWO), ["3", "8"])
    attack = {"adversarial": np.array([[0.0, 0.0], [1.0, 1.0], [90.0, 0.0]]), "epsilon": 0.3}
    attacked = [replace(panel, arrays=panel.arrays | attack) for panel in panels]
    embeddings.likelihood_figure("default", attacked, "validation")
    caption = drawn["likelihood-default"][1]
    assert (
        "FGSM examples with epsilon 0.3, made for this figure from 3 validation images" in caption
    )
    assert "those inside the map are drawn: softmax 2, lgm(alpha=0) 2" in caption
