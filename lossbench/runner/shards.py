"""Shares of the trials of a suite, for processes that know nothing of each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lossbench.errors import RequestError
from lossbench.planning.trial import Trial


@dataclass(frozen=True)
class Shard:
    """Share of the trials; every trial is in exactly one of the shares.

    Attributes:
        number: Number of the share, from 1.
        count: Number of shares.
    """

    number: int = 1
    count: int = 1

    def of(self, trials: Iterable[Trial], listed: Sequence[Trial]) -> set[str]:
        """Identities of the trials of this share.

        A trial stays in its share when searches add trials: those that are known from the start
        are dealt out in turn, and the share of a later one follows from its identity.

        Args:
            trials: Trials that are known now.
            listed: Trials that every process knows from the start, in order.
        """
        positions = {trial.identity: position for position, trial in enumerate(listed)}
        return {
            trial.identity
            for trial in trials
            if positions.get(trial.identity, int(trial.identity, 16)) % self.count
            == self.number - 1
        }


def read_shard(text: str) -> Shard:
    """Read the share of `--shard`, as in `3/8`.

    Raises:
        RequestError: It is not of this form, or out of range.
    """
    number, _, count = text.partition("/")
    if not (_is_number(number) and _is_number(count)):
        raise RequestError(f"--shard {text}: should be NUMBER/COUNT, as in 3/8")
    shard = Shard(int(number), int(count))
    if shard.count < 1:
        raise RequestError(f"--shard {text}: COUNT should be at least 1")
    if not 1 <= shard.number <= shard.count:
        raise RequestError(f"--shard {text}: NUMBER should be from 1 to {shard.count}")
    return shard


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10
