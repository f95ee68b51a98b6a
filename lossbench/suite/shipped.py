"""The suites that come with lossbench."""

from __future__ import annotations

from pathlib import Path


def shipped_suites() -> dict[str, Path]:
    """Name -> file of each: beside this module in a wheel, beside the package in a checkout."""
    package = Path(__file__).resolve().parent.parent
    folder = package / "suites"
    if not folder.is_dir():
        folder = package.parent / "suites"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
