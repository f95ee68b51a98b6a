"""Ray starts even if shared memory is small; if no folder has room, an error names them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from lossbench.errors import RequestError
from lossbench.runner import ray_files
from lossbench.runner.ray_files import MAX_PATH_BYTES, ray_options

Limit = Callable[[Mapping[str, int]], None]


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Limit:
    """Set the number of free MiB in some folders; 0 in all others."""

    def limit(mebibytes: Mapping[str, int]) -> None:
        def disk_usage(path: Path) -> SimpleNamespace:
            found = [size for place, size in mebibytes.items() if Path(path).is_relative_to(place)]
            return SimpleNamespace(free=max(found, default=0) << 20)

        monkeypatch.setattr(ray_files, "shutil", SimpleNamespace(disk_usage=disk_usage))

    for name in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.setenv(name, "")  # so that changes by the product are undone after the test
        monkeypatch.delenv(name)
    return limit


def test_the_store_is_in_shared_memory_if_there_is_room(free: Limit) -> None:
    free({"/dev/shm": 1000, "/tmp": 1000})
    assert "_plasma_directory" not in ray_options()
    assert os.environ["RAY_TMPDIR"] == "/tmp"


def test_the_store_is_a_file_if_shared_memory_is_small(free: Limit) -> None:
    free({"/dev/shm": 64, "/tmp": 1000})
    assert ray_options()["_plasma_directory"] == "/tmp/ray"


def test_the_store_is_a_file_without_shared_memory(
    free: Limit, monkeypatch: pytest.MonkeyPatch
) -> None:
    free({"/tmp": 1000})
    monkeypatch.setattr(ray_files, "SHARED_MEMORY", Path("/nonexistent"))
    assert ray_options()["_plasma_directory"] == "/tmp/ray"


@pytest.mark.parametrize("kind", ["long", "missing", "file", "full"])
def test_an_unusable_temporary_folder_is_skipped(
    free: Limit, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("long" * 30 if kind == "long" else kind)
    if kind == "file":
        folder.touch()
    elif kind != "missing":
        folder.mkdir()
    free({"/tmp": 1000, "/dev/shm": 1000} if kind != "full" else {"/dev/shm": 1000})
    monkeypatch.setenv("TMPDIR", str(folder))
    ray_options()
    assert os.environ["RAY_TMPDIR"] == ("/dev/shm" if kind == "full" else "/tmp")


def test_without_room_anywhere_each_folder_is_named(
    free: Limit, monkeypatch: pytest.MonkeyPatch
) -> None:
    free({"/tmp": 3})
    monkeypatch.setenv("TMPDIR", "/nonexistent")
    with pytest.raises(RequestError) as caught:
        ray_options()
    for part in ("/nonexistent: no such folder", "/tmp: only 3 MiB", "--shm-size", "RAY_TMPDIR"):
        assert part in str(caught.value)


def test_a_socket_fits_into_the_longest_folder() -> None:
    session = "/ray/session_2026-11-28_00-37-00_132477_4194304/sockets/plasma_store"
    assert len("x" * MAX_PATH_BYTES + session) == 107


TASK = """
import numpy
from lossbench.runner.cluster import ray_cluster
from lossbench.suite.schema import Resources

with ray_cluster(None, Resources(gpus=0)):
    import ray
    print(ray.get(ray.remote(lambda x: x.sum()).remote(numpy.ones(1_000_000))))
"""
"""Passes 8 MB through Ray's store."""


@pytest.mark.ray
@pytest.mark.parametrize("size", ["size=64m", "ro,size=1g"])
def test_ray_works_with_the_shared_memory_of_docker(tmp_path: Path, size: str) -> None:
    mount = f"mount -t tmpfs -o {size} tmpfs /dev/shm"
    isolated = ["unshare", "--mount", "sh", "-c"]
    if not shutil.which("unshare") or subprocess.run([*isolated, mount]).returncode:
        pytest.skip("mounting is not allowed here")
    done = subprocess.run(
        [*isolated, f'{mount} && exec "$@"', "sh", sys.executable, "-c", TASK],
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k != "RAY_TMPDIR"},
        capture_output=True,
        timeout=240,
    )
    assert (done.returncode, done.stdout) == (0, b"1000000.0\n"), done.stderr
