"""Timing in turns, so that a busy machine affects all candidates equally."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Time of one candidate.

    Attributes:
        seconds: Seconds per call, one value per round.
        ratios: Each value divided by the first candidate's in the same round.
    """

    seconds: tuple[float, ...]
    ratios: tuple[float, ...]

    @property
    def median_sec(self) -> float:
        return statistics.median(self.seconds)

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @property
    def ratio_range(self) -> tuple[float, float]:
        """Quartiles of the ratios; minimum and maximum below four rounds."""
        if len(self.ratios) < 4:
            return min(self.ratios), max(self.ratios)
        low, _, high = statistics.quantiles(self.ratios, n=4)
        return low, high


def take_turns(
    candidates: Mapping[str, Callable[[], object]], rounds: int, turn_sec: float
) -> dict[str, Timing]:
    """Time every candidate in every round.

    Args:
        candidates: Functions to call; the others are divided by the first.
        rounds: Number of rounds, at least 1.
        turn_sec: Seconds that a candidate is called in one round; at least one call.
    """
    calls = {}
    for name, call in candidates.items():
        call()  # compiles, allocates, fills caches
        call()
        once = _seconds(call, 1)
        calls[name] = max(1, round(turn_sec / max(once, 1e-7)))
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, call in candidates.items():
            seconds[name].append(_seconds(call, calls[name]))
    first = seconds[next(iter(candidates))]
    return {
        name: Timing(tuple(took), tuple(t / f for t, f in zip(took, first, strict=True)))
        for name, took in seconds.items()
    }


def _seconds(call: Callable[[], object], times: int) -> float:
    gc.collect()
    gc.disable()
    try:
        started = time.perf_counter()
        for _ in range(times):
            call()
        return (time.perf_counter() - started) / times
    finally:
        gc.enable()
