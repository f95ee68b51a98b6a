"""Searches for a loss's parameters: points proposed by Optuna, scored on the held-out part.

A search is replayed from stored results: the sampler has a fixed seed and gets the same scores in
the same order, so it proposes the same points again, and points without a score are run next.
Points are proposed in rounds, so that their trials can run concurrently; the points of a round are
proposed without knowing each other's scores.

Different versions of Optuna may propose different points. Therefore the proposed points are stored,
and stored points replace those of a replay.

Reference: Bergstra et al., Algorithms for Hyper-Parameter Optimization, NeurIPS 2011 (TPE), as in
Optuna (Akiba et al., KDD 2019).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lossbench.errors import RequestError
from lossbench.records import Strict
from lossbench.suite.grammar import SearchRange, Space
from lossbench.suite.schema import Component

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

ROUND = 8
"""Number of points per round; the first round consists of the loss's default and random points."""
MAX_ASKS = 4
"""Maximum number of proposals per wanted point: the sampler may repeat points, and lists of values
may have fewer combinations than wanted points."""
DIGITS = 3
"""Significant digits of a proposed number."""


@dataclass(frozen=True)
class Search:
    """A loss some of whose parameters are searched.

    Attributes:
        loss: Loss with every parameter; the searched ones have their defaults.
        spaces: Searched parameter -> a range, or the values to choose from.
        integers: Searched parameters that are integers.
        label: Label of its entry in the suite; None without one.
    """

    loss: Component
    spaces: Mapping[str, Space]
    integers: frozenset[str] = frozenset()
    label: str | None = None

    @property
    def entry(self) -> str:
        """Name of the group of its rows: its label, else the name of the loss."""
        return self.label or self.loss.name


Score = Callable[[Component], float | None]
"""Returns the mean score of a point, lower is better; NaN if the point will never have one, None if
it is not known yet."""


class SearchPoints(Strict):
    """Stored points that a search has proposed so far.

    Attributes:
        loss: Name of the loss.
        variant: Column of the search.
        optuna: Versions of Optuna that proposed the points.
        points: Values of the searched parameters, in the order of the proposals; a point may be
            proposed again.
    """

    loss: str
    variant: str
    optuna: str
    points: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Proposals:
    """Points of a replayed search.

    Attributes:
        points: Distinct points in order; points without a score are to be run next.
        values: Values of the searched parameters, in the order of the proposals.
        replaced: Number of proposals that differ from the stored point used instead.
    """

    points: tuple[Component, ...]
    values: tuple[dict[str, Any], ...]
    replaced: int


def propose(
    search: Search, samples: int, score: Score, stored: Sequence[Mapping[str, Any]] = ()
) -> Proposals:
    """Replay a search up to the first round in which a score is missing.

    Args:
        search: The search.
        samples: Maximum number of distinct points.
        score: Mean score of a point; see `Score`.
        stored: Values of the points that were proposed earlier, in their order; they replace the
            sampler's proposals.

    Raises:
        RequestError: Optuna is not installed.
    """
    try:
        import optuna
        from optuna.trial import TrialState, create_trial
    except ImportError:
        raise RequestError(
            f"losses.{search.loss.name}: a search needs Optuna, which is not installed: "
            "pip install optuna"
        ) from None

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(seed=0, n_startup_trials=ROUND, constant_liar=True)
    study = optuna.create_study(sampler=sampler)
    # the sampler draws a parameter whose default is not in its space
    study.enqueue_trial(dict(_defaults(search)))
    spaces = {name: _distribution(search, name) for name in search.spaces}
    distinct: dict[str, Component] = {}
    values: list[dict[str, Any]] = []
    replaced = 0
    while len(distinct) < samples and len(values) < MAX_ASKS * samples:
        asked = [study.ask(spaces) for _ in range(min(ROUND, samples - len(distinct)))]
        own = [_point_values(search, trial.params) for trial in asked]
        known = [dict(point) for point in stored[len(values) : len(values) + len(own)]]
        used = known + own[len(known) :]
        values += used
        replaced += sum(a != b for a, b in zip(own, used, strict=True))
        points = [_with_values(search, point) for point in used]
        distinct |= {point.model_dump_json(): point for point in points}
        scores = [value for point in points if (value := score(point)) is not None]
        if len(scores) < len(points):
            break
        for trial, proposed, taken, value in zip(asked, own, used, scores, strict=True):
            objective = math.inf if math.isnan(value) else value
            if proposed == taken:
                study.tell(trial, objective)
            else:
                study.tell(trial, state=TrialState.FAIL)
                study.add_trial(create_trial(params=taken, distributions=spaces, value=objective))
    return Proposals(tuple(distinct.values()), tuple(values), replaced)


def _defaults(search: Search) -> Iterator[tuple[str, Any]]:
    for name, space in search.spaces.items():
        default = search.loss.params[name]
        inside = default in space if isinstance(space, tuple) else _inside(default, space)
        if inside:
            yield name, default


def _inside(value: Any, limits: SearchRange) -> bool:
    return isinstance(value, int | float) and limits.low <= value <= limits.high


def _distribution(search: Search, name: str) -> BaseDistribution:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    space = search.spaces[name]
    if isinstance(space, tuple):
        return CategoricalDistribution(space)
    if name in search.integers:
        return IntDistribution(int(space.low), int(space.high), log=space.log)
    return FloatDistribution(space.low, space.high, log=space.log)


def _point_values(search: Search, drawn: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        if isinstance(search.spaces[name], tuple) or name in search.integers
        else _rounded(value, search.spaces[name])
        for name, value in drawn.items()
    }


def _with_values(search: Search, values: Mapping[str, Any]) -> Component:
    return Component(name=search.loss.name, params={**search.loss.params, **values})


def _rounded(value: float, space: Any) -> float:
    return float(min(max(float(f"{value:.{DIGITS}g}"), space.low), space.high))
