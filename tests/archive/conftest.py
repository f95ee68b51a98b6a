"""Trained networks of a small suite in a store, made once, and their archive."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.archive.trained import Stored, store_of, train_and_store


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Stored:
    """Store of all seeds with their weights, and its archives; read only."""
    return train_and_store(tmp_path_factory.mktemp("stored"), empty_database)


@pytest.fixture
def make_store(tmp_path: Path, empty_database: Path) -> Callable[[str], str]:
    """Make an empty store in a folder of its own; returns its URI."""

    def make(name: str) -> str:
        return store_of(tmp_path / name, empty_database)

    return make


@pytest.fixture
def archive(stored: Stored, tmp_path: Path) -> Path:
    """Copy of the archive of all seeds, without weights."""
    return Path(shutil.copy(stored.archive, tmp_path / "small.zip"))


@pytest.fixture
def archive_with_weights(stored: Stored, tmp_path: Path) -> Path:
    """Copy of the archive with weights."""
    return Path(shutil.copy(stored.archive_with_weights, tmp_path / "weights.zip"))
