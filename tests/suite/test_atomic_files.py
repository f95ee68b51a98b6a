"""Files and folders appear complete or not at all."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from lossbench.suite.atomic_files import atomic_path, remove_atomically, write_atomically


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_and_readable_by_all_users(tmp_path: Path) -> None:
    path = tmp_path / "new" / "page.html"
    before = os.umask(0o077)
    try:
        write_atomically(path, b"first")
        write_atomically(path, b"second")
    finally:
        os.umask(before)
    assert path.read_bytes() == b"second"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert entries(path.parent) == ["page.html"]


def test_a_file_has_the_permissions_of_the_process(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with atomic_path(tmp_path / "file") as temporary:
            temporary.write_bytes(b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_an_error_does_not_change_the_target(
    tmp_path: Path, kind: str, error: BaseException
) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"before")

    def fail() -> None:
        with atomic_path(target, durable=True) as temporary:
            if kind == "folder":
                temporary.mkdir()
                (temporary / "half").write_bytes(b"ha")
            else:
                temporary.write_bytes(b"ha")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert target.read_bytes() == b"before"
    assert entries(tmp_path) == ["target"]


def test_a_folder_appears_with_all_its_files(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "folder", durable=True) as temporary:
        (temporary / "deeper").mkdir(parents=True)
        (temporary / "deeper" / "file").write_bytes(b"content")
        assert not (tmp_path / "folder").exists()
    assert (tmp_path / "folder" / "deeper" / "file").read_bytes() == b"content"
    assert entries(tmp_path) == ["folder"]


def test_durable_content_is_synced_before_renaming_and_the_folder_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    def fsync(handle: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file"
        steps.append(f"sync {kind}")
        if kind == "folder":
            raise OSError(errno.EINVAL, "not on this file system")

    replace = os.replace
    monkeypatch.setattr("os.fsync", fsync)
    monkeypatch.setattr("os.replace", lambda *paths: (steps.append("rename"), replace(*paths)))
    with atomic_path(tmp_path / "file", durable=True) as temporary:
        temporary.write_bytes(b"content")
    assert steps == ["sync file", "rename", "sync folder"]
    with atomic_path(tmp_path / "other") as temporary:
        temporary.write_bytes(b"content")
    assert steps[3:] == ["rename"]


def test_a_leftover_at_the_given_temporary_path_is_replaced(tmp_path: Path) -> None:
    leftover = tmp_path / ".file.new"
    leftover.write_bytes(b"by a process that was killed")
    with atomic_path(tmp_path / "file", temporary=leftover) as temporary:
        assert not temporary.exists()
        temporary.write_bytes(b"content")
    assert entries(tmp_path) == ["file"]


def test_a_folder_is_replaced_only_on_request(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    for name, replace_folder in (("first", False), ("second", True)):
        with atomic_path(folder, replace_folder=replace_folder) as temporary:
            temporary.mkdir()
            (temporary / name).touch()
    with pytest.raises(OSError, match="not empty"), atomic_path(folder) as temporary:
        temporary.mkdir()
    assert entries(folder) == ["second"]
    assert entries(tmp_path) == ["folder"]


def test_removing_a_missing_folder_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    for _ in range(2):
        remove_atomically(tmp_path / "folder")
        assert entries(tmp_path) == []
