"""Paths as a user writes them."""

from __future__ import annotations

from pathlib import Path

from lossbench.errors import RequestError


def user_path(written: str | Path) -> Path:
    """Return a path with `~` and `~user` replaced by that home; other paths as they are.

    A shell does so in `--data-root ~/data`, but not in `--data-root=~/data`, in a suite or in an
    environment variable.

    Raises:
        RequestError: There is no such home.
    """
    try:
        return Path(written).expanduser()
    except RuntimeError:
        home = Path(written).parts[0]
        raise RequestError(
            f"{written}: {home} is no home folder of this machine; write the path in full"
        ) from None
