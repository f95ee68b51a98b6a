from __future__ import annotations

import random
from dataclasses import replace

import pytest

from lossbench.errors import RequestError
from lossbench.runner.shards import Shard, read_shard
from tests.synthetic_trials import make_trial

TRIALS = [make_trial(f"{row}", seed) for seed in range(3) for row in range(7)]


@pytest.mark.parametrize("count", [1, 2, 3, 8, 40])
@pytest.mark.parametrize("listed", [0, 10, 21])
def test_every_trial_is_in_exactly_one_share(count: int, listed: int) -> None:
    shares = [Shard(n, count).of(TRIALS, TRIALS[:listed]) for n in range(1, count + 1)]
    assert sum(map(len, shares)) == len(TRIALS)
    assert set.union(*shares) == {trial.identity for trial in TRIALS}
    sizes = [len(share & {t.identity for t in TRIALS[:listed]}) for share in shares]
    assert max(sizes) - min(sizes) <= 1


def test_the_third_eighth_is_every_eighth_trial_from_the_third_on() -> None:
    assert Shard(3, 8).of(TRIALS, TRIALS) == {t.identity for t in TRIALS[2::8]}


def test_a_trial_stays_in_its_share_when_trials_are_added_anywhere() -> None:
    order = random.Random(0)
    known, listed = TRIALS[:5], TRIALS[:5]
    before = Shard(2, 3).of(known, listed)
    more = order.sample(TRIALS, len(TRIALS))
    assert Shard(2, 3).of(more, listed) & {t.identity for t in known} == before


def test_reading() -> None:
    assert read_shard("3/8") == Shard(3, 8)
    assert read_shard("1/1") == replace(Shard())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0/8", "NUMBER should be from 1 to 8"),
        ("9/8", "NUMBER should be from 1 to 8"),
        ("1/0", "COUNT should be at least 1"),
        *((text, "should be NUMBER/COUNT, as in 3/8") for text in ("3", "a/b", "", "/", "-1/8")),
        *((text, "should be NUMBER/COUNT, as in 3/8") for text in ("1/2/3", "1.5/8", "²/8", "1/")),
    ],
)
def test_wrong_shares_are_refused(text: str, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_shard(text)
    assert str(caught.value) == f"--shard {text}: {message}"
