"""Digests of content: what they notice, and what is kept of them."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from pathlib import Path

import pytest
from PIL import Image

from lossbench.data import content_digest as digests
from lossbench.data.content_digest import HashedFile, sample_bytes
from lossbench.data.image_folder import load_image_folder
from lossbench.data.tables import load_tables
from tests.data.written_tables import of_split, save, save_split, table

YEAR_AGO = 1_700_000_000


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "SETTLED_NS", -(10**12))  # files of a test have just changed
    return tmp_path / "cache" / "lossbench" / "digests"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for part in ("train", "val"):
        for k in "ab":
            (tmp_path / "mine" / part / k).mkdir(parents=True)
            for i in range(3):
                pixels = Image.new("RGB", (8, 8), (i, ord(k), len(part)))
                pixels.save(tmp_path / "mine" / part / k / f"{i}.bmp")
    return tmp_path / "mine"


def replace_pixel(path: Path) -> None:
    """Other content of the same size, with the times of the file as they were."""
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    data = bytearray(path.read_bytes())
    data[-3] ^= 255
    path.write_bytes(data)
    os.utime(path, ns=times)


def test_digest_depends_on_names_and_content(images: Path, tmp_path: Path) -> None:
    before = load_image_folder(images).digest
    lines = "".join(
        f"{path.relative_to(images)} {path.stat().st_size} "
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}\n"
        for part in ("train", "val")
        for path in sorted((images / part).glob("*/*"))
    )
    assert before == hashlib.sha256(lines.encode()).hexdigest()[:16]
    copied = Path(shutil.copytree(images, tmp_path / "copy" / "mine"))
    assert load_image_folder(copied).digest == before
    (copied / "train/a/0.bmp").rename(copied / "train/a/x.bmp")
    assert load_image_folder(copied).digest != before


@pytest.mark.parametrize("file", ["train/a/1.bmp", "val/b/2.bmp"])
@pytest.mark.parametrize("large", [False, True])
def test_digest_changes_with_content_of_the_same_size(
    images: Path, file: str, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:
        monkeypatch.setattr(digests, "HASHED_BYTES", 100)
    before = load_image_folder(images)
    assert any("a sample of the bytes" in note for note in before.notes) == large
    replace_pixel(images / file)
    after = load_image_folder(images)
    assert after.digest != before.digest
    replace_pixel(images / file)
    assert load_image_folder(images).digest == before.digest


def test_digest_changes_if_classes_exchange_images(images: Path) -> None:
    before = load_image_folder(images).digest
    (images / "train/a").rename(images / "train/c")
    (images / "train/b").rename(images / "train/a")
    (images / "train/c").rename(images / "train/b")
    assert load_image_folder(images).digest != before


def test_files_are_hashed_again_only_after_a_change(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    digest = digests.hash_file

    def counted(file: HashedFile, whole: bool) -> str:
        read.append(file.name)
        return digest(file, whole)

    monkeypatch.setattr(digests, "hash_file", counted)
    first = load_image_folder(images, verify=False).digest
    assert len(read) == 12
    assert load_image_folder(images, verify=False).digest == first
    assert len(read) == 12
    replace_pixel(images / "val/a/0.bmp")
    assert load_image_folder(images, verify=False).digest != first
    assert len(read) == 24


def test_digest_of_a_recently_changed_file_is_not_cached(
    images: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a tick of the clock its times would not show another change."""
    monkeypatch.setattr(digests, "SETTLED_NS", 10**12)
    load_image_folder(images)
    assert not cache.exists()


def test_cache_may_be_broken_or_missing(
    images: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = sorted(images.rglob("*"))
    first = load_image_folder(images).digest
    assert sorted(images.rglob("*")) == listed
    [kept] = cache.iterdir()
    kept.write_text("half", encoding="utf-8")
    assert load_image_folder(images).digest == first
    assert len(kept.read_text(encoding="utf-8")) == 64
    shutil.rmtree(cache)
    cache.write_text("no folder", encoding="utf-8")
    assert load_image_folder(images).digest == first
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert load_image_folder(images).digest == first


def test_several_threads_may_fill_the_cache(images: Path, cache: Path) -> None:
    found: list[str] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(load_image_folder(images, verify=False).digest)
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert [len(path.read_text(encoding="utf-8")) for path in cache.iterdir()] == [64]


def test_sample_covers_first_last_and_intermediate_blocks(tmp_path: Path) -> None:
    path = tmp_path / "large"
    size = 5 * 2**24
    with path.open("wb") as file:
        file.truncate(size)
    empty = sample_bytes(path, size)
    assert len(empty) == 5 * 2**12
    for place in (0, size // 2, size - 1):
        with path.open("r+b") as file:
            file.seek(place)
            file.write(b"x")
        assert sample_bytes(path, size) != empty
        with path.open("r+b") as file:
            file.seek(place)
            file.write(b"\0")
    (tmp_path / "small").write_bytes(b"whole")
    assert sample_bytes(tmp_path / "small", 5) == b"whole"


@pytest.mark.parametrize("large", [False, True])
def test_digest_of_tables_changes_with_their_content(
    tmp_path: Path, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(tmp_path / "mine", train=of_split(12), test=of_split(6, seed=1))
    if large:
        monkeypatch.setattr(digests, "HASHED_BYTES", 100)
    before = load_tables(folder)
    assert any("a sample of the bytes" in note for note in before.notes) == large
    assert load_tables(folder).digest == before.digest
    [file] = (folder / "train").glob("*.arrow")
    size = file.stat().st_size
    others = table(of_split(12).column("image"), [(i + 1) % 3 for i in range(12)])
    save_split(folder / "train", others)
    assert file.stat().st_size == size
    assert load_tables(folder, verify=False).digest != before.digest
