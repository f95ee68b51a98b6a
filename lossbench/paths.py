"""Paths that users write in options, suites and environment variables."""

from __future__ import annotations

from pathlib import Path

from lossbench.errors import RequestError


def user_path(written: str | Path) -> Path:
    """Return the path with a leading `~` or `~user` replaced by the home folder.

    A shell replaces it in `--data-root ~/data`, but not in `--data-root=~/data`, suites and
    environment variables.

    Raises:
        RequestError: There is no such home folder.
    """
    try:
        return Path(written).expanduser()
    except RuntimeError:
        home = Path(written).parts[0]
        raise RequestError(
            f"{written}: {home} is not a home folder on this machine; write the path in full"
        ) from None
