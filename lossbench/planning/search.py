"""Searches for a loss's parameters: points proposed by Optuna, measured on the held-out part.

    lgm: {alpha: {search: {low: 0.01, high: 3, log: true}}, lambda: {search: [0.01, 0.1, 1]}}

A search keeps nothing. It is replayed from the results that are recorded: the sampler has a fixed
seed and is told the same scores in the same order, so it proposes the same points again, and what
is missing is what is to be run next. Points come in rounds, so that a cluster has something to do
while the sampler learns; those of a round are proposed without knowing each other's scores.

Reference: Bergstra et al., Algorithms for Hyper-Parameter Optimization, NeurIPS 2011 (TPE), as in
Optuna (Akiba et al., KDD 2019).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lossbench.suite.grammar import Space, Span
from lossbench.suite.schema import Component

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

ROUND = 8
"""Points of a round; the first one holds the loss's default and random points."""
MAX_ASKS = 4
"""Times the number of points: the sampler may name one again, and few values are soon tried."""
DIGITS = 3
"""Significant digits of a number that is proposed."""


@dataclass(frozen=True)
class Search:
    """A loss some of whose parameters are searched.

    Attributes:
        loss: With every parameter; the searched ones have their defaults.
        spaces: Searched parameter -> a span, or the values to choose from.
        whole: Searched parameters that take whole numbers only.
    """

    loss: Component
    spaces: Mapping[str, Space]
    whole: frozenset[str] = frozenset()


Score = Callable[[Component], float | None]
"""A point's held-out mean, lower being better; nan if it has none for good, None if it is not
known yet."""


def points(search: Search, samples: int, score: Score) -> list[Component]:
    """All points proposed so far, in order; those without a score are the next to measure.

    Args:
        search: What is searched.
        samples: How many points there are in the end, unless fewer can be told apart.
        score: Of a point.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(seed=0, n_startup_trials=ROUND, constant_liar=True)
    study = optuna.create_study(sampler=sampler)
    study.enqueue_trial(dict(_defaults(search)))  # what is out of range is drawn
    spaces = {name: _distribution(search, name) for name in search.spaces}
    proposed: dict[str, Component] = {}
    asked = 0
    while len(proposed) < samples and asked < MAX_ASKS * samples:
        trials = [study.ask(spaces) for _ in range(min(ROUND, samples - len(proposed)))]
        asked += len(trials)
        found = [_point(search, trial.params) for trial in trials]
        proposed |= {point.model_dump_json(): point for point in found}
        scores = [score(point) for point in found]
        known = [value for value in scores if value is not None]
        if len(known) < len(found):
            break
        for trial, value in zip(trials, known, strict=True):
            study.tell(trial, math.inf if math.isnan(value) else value)
    return list(proposed.values())


def _defaults(search: Search) -> Iterator[tuple[str, Any]]:
    for name, space in search.spaces.items():
        default = search.loss.params[name]
        inside = default in space if isinstance(space, tuple) else _inside(default, space)
        if inside:
            yield name, default


def _inside(value: Any, span: Span) -> bool:
    return isinstance(value, int | float) and span.low <= value <= span.high


def _distribution(search: Search, name: str) -> BaseDistribution:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    space = search.spaces[name]
    if isinstance(space, tuple):
        return CategoricalDistribution(space)
    if name in search.whole:
        return IntDistribution(int(space.low), int(space.high), log=space.log)
    return FloatDistribution(space.low, space.high, log=space.log)


def _point(search: Search, drawn: Mapping[str, Any]) -> Component:
    values = {
        name: value
        if isinstance(search.spaces[name], tuple) or name in search.whole
        else _rounded(value, search.spaces[name])
        for name, value in drawn.items()
    }
    return Component(name=search.loss.name, params={**search.loss.params, **values})


def _rounded(value: float, space: Any) -> float:
    return float(min(max(float(f"{value:.{DIGITS}g}"), space.low), space.high))
