"""Levels of repeated looks at one test, which together err no more often than one look.

A test that is repeated while seeds are added errs more often than its level says. An error spending
function says which part of the level may be used up at each look. The level of a look follows from
the joint distribution of the looks, by recursive numerical integration.

References:
    Lan & DeMets, Biometrika 1983 (spending functions). Kim & DeMets, Biometrika 1987 (the power
    family). Armitage, McPherson & Rowe, J. R. Statist. Soc. A 1969 (the integration). Jennison &
    Turnbull, Group Sequential Methods, 2000, Sect. 3.3 (p values of t tests at these levels) and
    Sect. 7 (spending functions).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri_exp

Floats = NDArray[np.float64]
Spending = Callable[[Floats, float], Floats]

EXPONENT = 2.0
"""Exponent of the spending function: level x (share of the seeds) ^ exponent."""
_LEVELS = np.concatenate([np.geomspace(1e-7, 0.1, 16), np.linspace(0.1, 1, 10)[1:]])  # (L,)
_LOG_LEVELS = np.log(np.concatenate([np.geomspace(1e-7, 0.1, 1000), np.linspace(0.1, 1, 400)[1:]]))
_NODES = 12  # of the integration, at least
_NODES_PER_STEP = 1.0  # per standard deviation of what the seeds of one look add
_STEPS = 40  # of Newton's method, at most


def power_spending(level: Floats, share: float) -> Floats:
    """Error probability used up when this share of the seeds is there: level x share^EXPONENT."""
    return np.asarray(level * share**EXPONENT)


@dataclass(frozen=True)
class Looks:
    """Looks at one comparison so far.

    Attributes:
        seeds: Number of seeds per row at each look, ascending; the last is the present one.
        max_seeds: Number of seeds per row at which no more are added.
    """

    seeds: tuple[int, ...]
    max_seeds: int

    def nominal_level(self, level: float) -> float:
        """Level of the test at the present look; see `nominal_level`."""
        return nominal_level(level, self.seeds, self.max_seeds)

    def overall_p(self, p: float) -> float:
        """p of all looks together; see `overall_p`."""
        return overall_p(p, self.seeds, self.max_seeds)


def nominal_level(level: float, looks: Sequence[int], max_seeds: int) -> float:
    """Level at which the last look is tested so that all looks together err with `level`.

    Args:
        level: Probability of any error over all looks, in (0, 1].
        looks: Numbers of seeds at the looks, ascending, the last at most `max_seeds`.
        max_seeds: Number of seeds at which the whole level is used up.

    Returns:
        Two-sided level of the last look.
    """
    levels, nominal = _table(tuple(looks), max_seeds)
    return _interpolate(level, levels, nominal)


def overall_p(p: float, looks: Sequence[int], max_seeds: int) -> float:
    """Smallest `level` at which p is significant at the last look; the inverse of `nominal_level`.

    Args:
        p: Two-sided p of the last look.
        looks, max_seeds: As in `nominal_level`.
    """
    levels, nominal = _table(tuple(looks), max_seeds)
    return _interpolate(p, nominal, levels)


def _interpolate(value: float, logs: Floats, other_logs: Floats) -> float:
    """Value of a curve given by its logarithms; proportional below its first point.

    So small are only levels at which the looks are all but independent.
    """
    if value <= 0:
        return 0.0
    log = math.log(value)
    if log < logs[0]:
        return math.exp(log + float(other_logs[0] - logs[0]))
    return math.exp(float(np.interp(log, logs, other_logs)))


@lru_cache(maxsize=256)
def _table(looks: tuple[int, ...], max_seeds: int) -> tuple[Floats, Floats]:
    """Logarithms of levels and of their nominal levels at the last look, both ascending."""
    if not looks or list(looks) != sorted(set(looks)) or not 0 < looks[0] <= looks[-1] <= max_seeds:
        message = f"looks {list(looks)} do not ascend from 1 to at most {max_seeds} seeds"
        raise ValueError(message)
    from scipy.interpolate import PchipInterpolator  # slow to import, for tables with looks only

    exact = nominal_levels(_LEVELS, tuple(n / max_seeds for n in looks))
    curve = PchipInterpolator(np.log(_LEVELS), np.log(exact))
    return _LOG_LEVELS, np.asarray(curve(_LOG_LEVELS))


def nominal_levels(
    levels: Floats, shares: tuple[float, ...], spending: Spending = power_spending
) -> Floats:
    """Nominal levels of the last look, by integration.

    Args:
        levels: (L,) levels of all looks together.
        shares: Share of the seeds at each look, ascending.
        spending: (levels, share) -> error probability used up at this share.

    Returns:
        (L,) two-sided levels.
    """
    key = tuple(levels.tolist())
    for k in range(1, len(shares)):  # one by one, because each look takes its predecessor's result
        _process(key, shares[:k], spending)
    boundary = _process(key, shares, spending).boundary
    return np.asarray(2 * ndtr(-boundary / math.sqrt(shares[-1])))


@dataclass(frozen=True)
class _Process:
    """Sum of the differences at one look, if no look before has crossed its boundary.

    Under the null hypothesis it is a Brownian motion at the time `share`.

    Attributes:
        boundary: (L,) boundary of its absolute value.
        nodes: (L, Q) absolute values within the boundary.
        masses: (L, Q) density of the absolute value at the nodes x weight of the node.
    """

    boundary: Floats
    nodes: Floats
    masses: Floats


@lru_cache(maxsize=256)
def _process(levels: tuple[float, ...], shares: tuple[float, ...], spending: Spending) -> _Process:
    spent = spending(np.array(levels), shares[-1])  # (L,)
    if len(shares) == 1:
        step = math.sqrt(shares[0])
        before, masses = np.zeros((len(levels), 1)), np.ones((len(levels), 1))
        inner = np.zeros(len(levels))
    else:
        earlier = _process(levels, shares[:-1], spending)
        spent = spent - spending(np.array(levels), shares[-2])
        step = math.sqrt(shares[-1] - shares[-2])
        before, masses, inner = earlier.nodes, earlier.masses, earlier.boundary
    # further out than the boundary: the looks as if independent, or one step from the last boundary
    quantile = -ndtri_exp(np.log(spent / 2))
    boundary = np.minimum(math.sqrt(shares[-1]) * quantile, inner + step * quantile)
    for _ in range(_STEPS):  # Newton's method on the concave log probability comes from above
        outside, density = _crossing(boundary, before, masses, step)
        moved = np.maximum(boundary - np.log(spent / outside) * outside / density, 0.0)
        if np.all(np.abs(moved - boundary) <= 1e-10 * (1 + boundary)):
            break
        boundary = moved
    count = _NODES + int(_NODES_PER_STEP * boundary.max() / step)
    x, weights = _gauss_legendre(count)
    nodes = boundary[:, None] * (x + 1) / 2  # (L, Q)
    distance = (nodes[:, :, None] - before[:, None, :]) / step  # (L, Q, P)
    mirrored = (nodes[:, :, None] + before[:, None, :]) / step
    kernel = np.exp(-(distance**2) / 2) + np.exp(-(mirrored**2) / 2)
    density = (kernel @ masses[:, :, None])[..., 0] / (step * math.sqrt(2 * math.pi))
    return _Process(boundary, nodes, density * weights * boundary[:, None] / 2)


@cache
def _gauss_legendre(count: int) -> tuple[Floats, Floats]:
    x, weights = np.polynomial.legendre.leggauss(count)
    return x, weights


def _crossing(
    boundary: Floats, before: Floats, masses: Floats, step: float
) -> tuple[Floats, Floats]:
    """Probability of lying beyond the boundary after one more step, and its density there."""
    near, far = (boundary[:, None] - before) / step, (boundary[:, None] + before) / step
    outside = (masses * (ndtr(-near) + ndtr(-far))).sum(1)
    kernel = np.exp(-(near**2) / 2) + np.exp(-(far**2) / 2)
    return outside, (masses * kernel).sum(1) / (step * math.sqrt(2 * math.pi))
