"""Durations as text."""

from __future__ import annotations

import pytest

from lossbench.errors import RequestError
from lossbench.planning.durations import format_duration, read_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("45min", 2700), ("45m", 2700), ("2h", 7200), ("1h30m", 5400), (" 1.5 h", 5400)],
)
def test_durations_are_parsed(text: str, seconds: float) -> None:
    assert read_duration(text, "--time-budget") == seconds


@pytest.mark.parametrize("text", ["", "2", "2x", "0s", "-1h", "1h30", "h", "1e3s", "1h-2m", "nan"])
def test_text_that_is_not_a_duration_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match=r"--time-budget .*should be a time, as in 90s"):
        read_duration(text, "--time-budget")


def test_durations_are_formatted() -> None:
    shown = [format_duration(seconds) for seconds in (4.23, 200, 7500)]
    assert shown == ["4.2 s", "3 min 20 s", "2 h 5 min"]
