"""Stages of made-up results, and figures as they are handed over to be saved."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from lossbench.planning.plan import Plan
from lossbench.planning.selection import Stage
from tests.report.synthetic_report import result_of

TWO = "seeds: [0, 1]\nlosses: [softmax, {lgm: {alpha: {grid: [0.0, 1.0]}}}]\n"


Drawn = dict[str, tuple[Figure, str]]


def stage_of(plan: Plan, **metrics: float) -> Stage:
    results = {
        trial.identity: result_of(
            trial, 3.0, metrics={"error": 3.0, **metrics}, wall_time_sec=10.0 + 30 * trial.seed
        )
        for trial in plan.trials
    }
    return Stage("test", plan.trials, results)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def contrast(colour: tuple[float, ...], other: tuple[float, ...]) -> float:
    """WCAG 2.1, https://www.w3.org/TR/WCAG21/#dfn-contrast-ratio"""
    weights = np.array([0.2126, 0.7152, 0.0722])
    light = []
    for c in (np.array(colour), np.array(other)):
        light.append(
            float(weights @ np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4))
        )
    return (max(light) + 0.05) / (min(light) + 0.05)
