"""The digest of an installation, and JSON that is stored for one."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import lossbench
from lossbench.suite.cache import (
    MAX_FILES,
    cache_folder,
    installation_digest,
    read_cached,
    write_cached,
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "lossbench"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of some of the package."""
    source = Path(lossbench.__file__).parent
    shutil.copytree(source / "losses", tmp_path / "package" / "losses")
    return tmp_path / "package"


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages, with one that has entry points."""
    folder = tmp_path / "site-packages"
    (folder / "other-1.0.dist-info").mkdir(parents=True)
    (folder / "other-1.0.dist-info" / "entry_points.txt").write_text("[a]\n", encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    return folder


def _change(package: Path) -> None:
    path = package / "losses" / "lgm.py"
    before = path.stat()
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("alpha", "aleph", 1), encoding="utf-8")
    # as after two edits within the resolution of the clock of a file system

    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def _add(package: Path) -> None:
    (package / "losses" / "mine.py").write_text("", encoding="utf-8")


def _remove(package: Path) -> None:
    (package / "losses" / "sigmoid.py").unlink()


def _rename(package: Path) -> None:
    (package / "losses" / "sigmoid.py").rename(package / "losses" / "sigmoid2.py")


@pytest.mark.parametrize("change", [_change, _add, _remove, _rename])
def test_a_change_of_the_source_changes_the_digest(
    package: Path, change: Callable[[Path], None]
) -> None:
    before = installation_digest(package)
    assert installation_digest(package) == before
    change(package)
    assert installation_digest(package) != before


def test_other_versions_of_libraries_change_the_digest(package: Path, packages: Path) -> None:
    found = [installation_digest(package)]
    (packages / "other-1.0.dist-info").rename(packages / "other-1.1.dist-info")
    found.append(installation_digest(package))
    (packages / "other-1.1.dist-info" / "entry_points.txt").write_text("[ab]\n", encoding="utf-8")
    found.append(installation_digest(package))
    (packages / "further-1.0.dist-info").mkdir()
    found.append(installation_digest(package))
    assert len(set(found)) == len(found)


def test_another_python_changes_the_digest(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = installation_digest(package)
    monkeypatch.setattr(sys, "version", "3.99.0")
    assert installation_digest(package) != before


def test_a_value_is_read_only_with_its_key() -> None:
    assert read_cached("numbers", "a") is None
    write_cached("numbers", "a", {"x": [1, 2.5, None]})
    assert read_cached("numbers", "a") == {"x": [1, 2.5, None]}
    assert read_cached("numbers", "b") is None
    assert read_cached("others", "a") is None


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b"0\n{}"])
def test_a_broken_file_is_as_none(folder: Path, content: bytes) -> None:
    write_cached("numbers", "a", [1])
    [path] = folder.iterdir()
    path.write_bytes(content)
    assert read_cached("numbers", "a") is None
    write_cached("numbers", "a", [2])
    assert read_cached("numbers", "a") == [2]


def test_a_changed_value_is_as_none(folder: Path) -> None:
    write_cached("numbers", "a", [1])
    [path] = folder.iterdir()
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(json.dumps([1]), json.dumps([7])), encoding="utf-8")
    assert read_cached("numbers", "a") is None


def test_a_folder_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/cache")
    write_cached("numbers", "a", [1])
    assert read_cached("numbers", "a") is None

    def no_home() -> Path:
        raise RuntimeError("no home folder")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    write_cached("numbers", "a", [1])
    assert read_cached("numbers", "a") is None


def test_old_files_of_the_same_name_are_deleted(folder: Path) -> None:
    write_cached("others", "a", 0)
    for number in range(MAX_FILES + 3):
        write_cached("numbers", f"key{number}", number)
    assert len(list(folder.glob("numbers-*"))) == MAX_FILES
    assert read_cached("numbers", f"key{MAX_FILES + 2}") == MAX_FILES + 2
    assert read_cached("others", "a") == 0
    assert cache_folder() == folder
