"""The margin between two classes: distances from log-densities, and a whole legend."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lossbench.planning.plan import Plan
from lossbench.report.figures import geometry
from lossbench.report.figures.geometry import scores_to_distances
from tests.report.figures.drawing import TWO, Drawn
from tests.report.figures.two_classes import panels_of


def test_the_legend_of_a_single_panel_is_whole(
    make_plan: Callable[..., Plan], drawn: Drawn
) -> None:
    geometry.geometry_figure("default", panels_of(make_plan(TWO), None)[2:])
    figure, _ = drawn["geometry-default"]
    figure.canvas.draw()
    extent = figure.legends[0].get_window_extent()
    assert figure.bbox.x0 <= extent.x0
    assert extent.x1 <= figure.bbox.x1


def test_distances_are_read_from_log_densities() -> None:
    """Gaussians with different covariances are recovered from a grid that misses their means."""
    x, y = np.linspace(-3, 5, 40), np.linspace(-4, 4, 30)
    means = np.array([[0.13, 0.4], [2.2, -0.7]])
    precisions = np.array([[1.0, 0.25], [4.0, 0.5]])
    columns, rows = np.meshgrid(x, y)
    scores, distances = [], []
    for mean, precision in zip(means, precisions, strict=True):
        squared = precision[0] * (columns - mean[0]) ** 2 + precision[1] * (rows - mean[1]) ** 2
        distances.append(0.5 * squared)
        scores.append(-0.5 * squared + 0.5 * np.log(precision).sum() - np.log(2 * np.pi))
    found = scores_to_distances(np.stack(scores), x, y, means)
    np.testing.assert_allclose(found, np.stack(distances), atol=1e-9)
