"""Searches for a loss's parameters and tuned recipe keys: points proposed by Optuna, scored on the
held-out part.

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

import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lossbench.errors import RequestError
from lossbench.planning.tuning import Tuned, count_combinations
from lossbench.records import Strict
from lossbench.suite.grammar import SearchRange, Space
from lossbench.suite.schema import Component

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

ROUND = 8
"""Number of points per round. The first round has the defaults of the loss and points spread evenly
over the spaces, so that even a few points cover a range."""
MAX_ASKS = 4
"""Maximum number of proposals per wanted point: the sampler may repeat points, and lists of values
may have fewer combinations than wanted points."""
DIGITS = 3
"""Significant digits of a proposed number."""


@dataclass(frozen=True)
class Point:
    """A loss with its parameters, and values of tuned recipe keys.

    Attributes:
        loss: Loss with every parameter.
        tuned: Dotted key of the recipe -> value; other keys have the recipe's own values.
    """

    loss: Component
    tuned: Tuned = field(default_factory=dict)

    @cached_property
    def key(self) -> str:
        """Text that differs between points."""
        return self.loss.model_dump_json() + (json.dumps(self.tuned) if self.tuned else "")


@dataclass(frozen=True)
class Search:
    """A loss some of whose parameters are searched, together with tuned recipe keys.

    Attributes:
        loss: Loss with every parameter; the searched ones have their defaults.
        spaces: Searched parameter -> a range, or the values to choose from.
        integers: Searched parameters and recipe keys that are integers.
        label: Label of its entry in the suite; None without one.
        tuned: Searched key of the recipe -> a range, or the values to choose from.
    """

    loss: Component
    spaces: Mapping[str, Space]
    integers: frozenset[str] = frozenset()
    label: str | None = None
    tuned: Mapping[str, Space] = field(default_factory=dict)

    @property
    def entry(self) -> str:
        """Name of the group of its rows: its label, else the name of the loss."""
        return self.label or self.loss.name

    @property
    def all_spaces(self) -> dict[str, Space]:
        """Spaces of the searched parameters and of the searched recipe keys."""
        return {**self.spaces, **self.tuned}

    @property
    def combinations(self) -> float:
        """Number of different points; infinite with a range of real numbers."""
        return count_combinations(self.all_spaces, self.integers)


Score = Callable[[Point], float | None]
"""Returns the mean score of a point, lower is better; NaN if the point will never have one, None if
it is not known yet."""


class SearchPoints(Strict):
    """Stored points that a search has proposed so far.

    Attributes:
        loss: Name of the loss.
        variant: Column of the search.
        optuna: Versions of Optuna that proposed the points.
        points: Values of the searched parameters and recipe keys, in the order of the proposals; a
            point may be proposed again.
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

    points: tuple[Point, ...]
    values: tuple[dict[str, Any], ...]
    replaced: int


def propose(
    search: Search,
    samples: int,
    score: Score,
    stored: Sequence[Mapping[str, Any]] = (),
    own_values: Tuned | None = None,
) -> Proposals:
    """Replay a search up to the first round in which a score is missing.

    With tuned recipe keys, every search has exactly `samples` points, or all combinations of its
    values if there are fewer, so that the losses have equal budgets: combinations that the sampler
    has not proposed when it ends are added.

    Args:
        search: The search.
        samples: Maximum number of distinct points.
        score: Mean score of a point; see `Score`.
        stored: Values of the points that were proposed earlier, in their order; they replace the
            sampler's proposals.
        own_values: The recipe's own values of the searched recipe keys. The first point consists of
            them and of the loss's defaults.

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

    if search.tuned and search.combinations <= samples:
        return Proposals(tuple(_all_points(search)), (), 0)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(seed=0, n_startup_trials=ROUND, constant_liar=True)
    study = optuna.create_study(sampler=sampler)
    for point in _first_round(search, own_values or {}):
        study.enqueue_trial(point)
    spaces = {name: _distribution(search, name) for name in search.all_spaces}
    distinct: dict[str, Point] = {}
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
        distinct |= {point.key: point for point in points}
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
    else:
        if search.tuned:
            others = (point for point in _all_points(search) if point.key not in distinct)
            missing = list(itertools.islice(others, samples - len(distinct)))
            distinct |= {point.key: point for point in missing}
    return Proposals(tuple(distinct.values()), tuple(values), replaced)


def _all_points(search: Search) -> Iterator[Point]:
    """All combinations of a search without a range of real numbers; no point otherwise."""
    if math.isinf(search.combinations):
        return
    spaces = search.all_spaces
    listed = (list(_listed(space)) for space in spaces.values())
    for values in itertools.product(*listed):
        yield _with_values(search, dict(zip(spaces, values, strict=True)))


def _listed(space: Space) -> Iterable[Any]:
    return space if isinstance(space, tuple) else range(int(space.low), int(space.high) + 1)


def _first_round(search: Search, own_values: Tuned) -> Iterator[dict[str, Any]]:
    """The defaults, and evenly spread points of a Halton sequence, whose first point is the centre.

    A parameter whose default is not in its space begins with the centre.

    Reference: Halton, Numerische Mathematik 1960; scipy.stats.qmc.
    """
    from scipy.stats.qmc import Halton

    spaces = search.all_spaces
    shares = Halton(len(spaces), scramble=False).random(ROUND + 1)[1:]  # without the origin
    spread = [
        {
            name: _at_share(space, float(share), whole=name in search.integers)
            for (name, space), share in zip(spaces.items(), point, strict=True)
        }
        for point in shares
    ]
    first = {**spread[0], **dict(_defaults(search, own_values))}
    yield first
    yield from [point for point in spread if point != first][: ROUND - 1]


def _at_share(space: Space, share: float, *, whole: bool) -> Any:
    """Value at a share in [0, 1) of a space."""
    if isinstance(space, tuple):
        return space[int(share * len(space))]
    low, high = (int(space.low), int(space.high) + 1) if whole else (space.low, space.high)
    value = low * (high / low) ** share if space.log else low + share * (high - low)
    return int(value) if whole else value


def _defaults(search: Search, own_values: Tuned) -> Iterator[tuple[str, Any]]:
    known = {**search.loss.params, **own_values}
    for name, space in search.all_spaces.items():
        default = known.get(name)
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

    space = search.all_spaces[name]
    if isinstance(space, tuple):
        return CategoricalDistribution(space)
    if name in search.integers:
        return IntDistribution(int(space.low), int(space.high), log=space.log)
    return FloatDistribution(space.low, space.high, log=space.log)


def _point_values(search: Search, drawn: Mapping[str, Any]) -> dict[str, Any]:
    spaces = search.all_spaces
    return {
        name: value
        if isinstance(spaces[name], tuple) or name in search.integers
        else _rounded(value, spaces[name])
        for name, value in drawn.items()
    }


def _with_values(search: Search, values: Mapping[str, Any]) -> Point:
    own = {name: value for name, value in values.items() if name not in search.tuned}
    loss = Component(name=search.loss.name, params={**search.loss.params, **own})
    return Point(loss, {name: values[name] for name in search.tuned})


def _rounded(value: float, space: Any) -> float:
    return float(min(max(float(f"{value:.{DIGITS}g}"), space.low), space.high))
