"""Suites that are part of lossbench."""

from __future__ import annotations

from pathlib import Path


def shipped_suites() -> dict[str, Path]:
    """Suite name -> file; in `lossbench/suites` of a wheel, or in `suites` of a checkout."""
    package = Path(__file__).resolve().parent.parent
    folder = package / "suites"
    if not folder.is_dir():
        folder = package.parent / "suites"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
