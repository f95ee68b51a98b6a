"""Durations as text: parsing of options, formatting for messages."""

from __future__ import annotations

import re
import time

from lossbench.errors import RequestError

_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def read_duration(text: str, option: str) -> float:
    """Parse `2h`, `1h30m`, `45min` or `90s` and return seconds.

    Args:
        text: Value of an option.
        option: Name of the option, for the message.

    Raises:
        RequestError: The text is not a duration.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?) *(d|h|min|m|s)", text.strip())
    whole = re.fullmatch(r"(?:\d+(?:\.\d+)? *(?:d|h|min|m|s) *)+", text.strip())
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts) if whole else 0.0
    if not 0 < seconds < 1e8:
        raise RequestError(f"{option} {text}: should be a time, as in 90s, 45min, 2h or 1h30m")
    return seconds


def format_duration(seconds: float) -> str:
    """Format a duration as `4.2 s`, `3 min 20 s` or `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return time.strftime("%-M min %-S s", time.gmtime(seconds))
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"
