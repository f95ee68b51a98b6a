"""Images that are stored turned, with an EXIF orientation that says how."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from lossbench.assembly.check import check
from lossbench.data.decoding import EncodedImage, decode, is_rotated
from lossbench.data.image_folder import load_image_folder
from lossbench.data.images import View
from lossbench.data.prepared import ArraySplit
from lossbench.data.sources import prepare
from lossbench.data.tables import load_tables
from lossbench.runner.trial import run_trial
from lossbench.suite.load import load_suite
from tests.data import written_tables as made

Pixels = NDArray[np.uint8]
ORIENTATION = 0x0112
STORED: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],  # mirrored
    3: lambda a: a[::-1, ::-1],  # by 180 degrees
    4: lambda a: a[::-1],
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a),  # a phone held upright
    7: lambda a: np.swapaxes(a[::-1, ::-1], 0, 1),
    8: lambda a: np.rot90(a, -1),
}
"""Orientation -> how an upright image is stored."""
SUFFIXES = ["png", "webp", "tiff", "jpg", "avif"]


def coarse(height: int = 48, width: int = 32, seed: int = 0) -> Pixels:
    """Squares of 16 pixels, which survive JPEG."""
    random = np.random.default_rng(seed)
    squares = random.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
    return squares.repeat(16, 0).repeat(16, 1)


def encoded(upright: Pixels, orientation: int, kind: str = "png", exif: bytes = b"") -> bytes:
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    block = Image.Exif()
    block[ORIENTATION] = orientation
    options = {"png": {}, "webp": {"lossless": True}, "tiff": {"compression": "tiff_lzw"}}
    stream = io.BytesIO()
    stored.save(
        stream,
        "jpeg" if kind == "jpg" else kind,
        exif=exif or block,
        **options.get(kind, {"quality": 100, "subsampling": "4:4:4"}),  # type: ignore[arg-type]
    )
    return stream.getvalue()


@pytest.mark.parametrize("kind", SUFFIXES)
@pytest.mark.parametrize("orientation", STORED)
def test_images_are_decoded_upright(orientation: int, kind: str, tmp_path: Path) -> None:
    upright = coarse()
    path = tmp_path / f"x.{kind}"
    path.write_bytes(encoded(upright, orientation, kind))
    if orientation in (5, 6, 7, 8) and kind not in ("tiff", "avif"):
        assert Image.open(path).size == (48, 32)  # stored lying
    found = decode(path).permute(1, 2, 0).numpy().astype(int)
    assert found.shape == upright.shape
    assert np.abs(found - upright).max() <= (0 if kind in ("png", "webp", "tiff") else 12)
    again = EncodedImage(path.read_bytes(), "x")
    assert torch.equal(decode(again), decode(path))
    assert is_rotated(again) == (orientation != 1 and kind != "tiff")


def test_grey_levels_and_transparency_are_rotated_with_the_colours(tmp_path: Path) -> None:
    levels = np.arange(12, dtype=np.uint16).reshape(4, 3) * 5000
    block = Image.Exif()
    block[ORIENTATION] = 6
    Image.fromarray(np.rot90(levels).copy()).save(tmp_path / "deep.png", exif=block)
    assert np.array_equal(decode(tmp_path / "deep.png")[0], (levels.astype(int) + 128) // 257)
    clear = np.full((4, 3, 4), 255, np.uint8)
    clear[1:, :, 3] = 0  # white where nothing is
    clear[0, :, :3] = 7
    Image.fromarray(np.rot90(clear).copy()).save(tmp_path / "clear.png", exif=block)
    assert decode(tmp_path / "clear.png")[0].tolist() == [[7] * 3, *[[255] * 3] * 3]


def test_orientation_before_or_after_the_pixels_or_in_xmp_is_used(tmp_path: Path) -> None:
    content = encoded(coarse(), 6)
    chunks, rest = [], content[8:]
    while rest:
        size = 12 + int.from_bytes(rest[:4], "big")
        chunks.append(rest[:size])
        rest = rest[size:]
    [exif] = [chunk for chunk in chunks if chunk[4:8] == b"eXIf"]
    others = [chunk for chunk in chunks if chunk != exif]
    for place in (1, len(others) - 1):  # after the header, before the end
        written = content[:8] + b"".join([*others[:place], exif, *others[place:]])
        (tmp_path / "x.png").write_bytes(written)
        assert np.array_equal(decode(tmp_path / "x.png").permute(1, 2, 0), coarse())
        assert is_rotated(EncodedImage(written, "x"))
    stored = Image.fromarray(np.rot90(coarse()).copy())
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    stored.save(tmp_path / "xmp.jpg", xmp=xmp, quality=100)
    assert decode(tmp_path / "xmp.jpg").shape == (3, 48, 32)
    assert is_rotated(EncodedImage((tmp_path / "xmp.jpg").read_bytes(), "x"))


@pytest.mark.parametrize(
    "block",
    [
        b"Exif\0\0",
        b"Exif\0\0nonsense",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\xff\0\0\0\0\0",  # a text beyond the end
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x09\0\0\0\0\0\0\0",  # 9
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\0\0\0\0\0\0\0\0",  # 0
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x02\0\0\x006\0\0\0\0\0\0\0",  # "6"
    ],
)
@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])
def test_broken_exif_block_is_ignored(block: bytes, kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{kind}"
    path.write_bytes(encoded(coarse(), 1, kind, exif=block))
    found = decode(path).permute(1, 2, 0).numpy().astype(int)
    assert found.shape == (48, 32, 3)
    assert np.abs(found - coarse()).max() <= 12
    assert not is_rotated(EncodedImage(path.read_bytes(), "x"))


def write_folder(folder: Path, orientation: int) -> Path:
    for k in range(2):
        for part, turned in (("train", 1), ("val", orientation)):
            (folder / part / f"class{k}").mkdir(parents=True, exist_ok=True)
            content = encoded(coarse(seed=k), turned, "jpg")
            (folder / part / f"class{k}" / "0.jpg").write_bytes(content)
    return folder


@pytest.mark.parametrize("orientation", STORED)
def test_images_of_folders_are_upright(orientation: int, tmp_path: Path) -> None:
    """Images are stored upright for training, and the same images rotated for the test."""
    dataset = load_image_folder(write_folder(tmp_path, orientation))
    views = (View(), View(crop=32), View(resize=16, crop=16))
    for view in views[1:]:
        train, test = (
            torch.cat(list(dataset.splits[name].to_device(torch.device("cpu"), view).unaugmented()))
            for name in ("train", "test")
        )
        assert (train.int() - test.int()).abs().max() <= 12


@pytest.mark.parametrize("orientation", STORED)
def test_images_of_tables_are_upright(orientation: int, tmp_path: Path) -> None:
    images = [coarse(seed=k) for k in range(4)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    parts = {}
    for name, turned in (("train", 1), ("test", orientation)):
        rows = [{"bytes": encoded(image, turned), "path": None} for image in images]
        parts[name] = made.table(pa.array(rows, kind), [0, 1, 2, 0])
    dataset = load_tables(made.save(tmp_path, **parts))
    for name in ("train", "test"):
        split = dataset.splits[name]
        assert isinstance(split, ArraySplit)  # all are of one size, once they are upright
        assert np.array_equal(split.images, np.stack(images))


def table_of(folder: Path, orientation: int, **changed: Pixels) -> Path:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    content = [encoded(coarse(seed=k), orientation if k == 3 else 1) for k in range(4)]
    rows = made.table(pa.array([{"bytes": c, "path": None} for c in content], kind), [0, 1, 2, 0])
    return made.save(folder, train=rows, test=rows)


def test_digest_of_a_table_changes_only_with_a_rotated_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upright, turned = table_of(tmp_path / "upright", 1), table_of(tmp_path / "turned", 6)
    new = [load_tables(folder).digest for folder in (upright, turned)]
    monkeypatch.setattr("lossbench.data.tables.is_rotated", lambda _: False)
    old = [load_tables(folder).digest for folder in (upright, turned)]  # as of their bytes alone
    assert new[0] == old[0]
    assert new[1] != old[1]


def test_prepared_faces_are_upright(tmp_path: Path) -> None:
    folder = tmp_path / "downloads" / "lfw"
    for person in ("A", "B"):
        (folder / person).mkdir(parents=True)
        for i in (1, 2):
            content = encoded(coarse(), 6 if i == 2 else 1, "jpg")
            (folder / person / f"{person}_{i:04}.jpg").write_bytes(content)
    (folder / "pairs.txt").write_text("1 1\nA 1 2\nA 1 B 2\n", encoding="utf-8")
    prepared = prepare("lfw", tmp_path)
    images = np.load(prepared / "images.npy")
    assert images.shape == (4, 48, 32, 3)
    assert np.abs(images.astype(int) - coarse()).max() <= 12
    assert json.loads((prepared / "dataset.json").read_text(encoding="utf-8"))["num_classes"] == 2


SUITE = """\
suite: turned
dataset: {name: bars}
model: {name: mlp, feature_dim: 2, hidden: [8]}
recipe:
  epochs: 12
  batch_size: 8
  optimizer: {name: sgd, lr: 0.05, momentum: 0.9}
  input: {crop: 16}
seeds: [0]
losses: [softmax]
"""


def test_model_trained_on_upright_images_classifies_rotated_files(tmp_path: Path) -> None:
    """Lying and standing bars: who ignores the orientation confuses all of them."""
    random = np.random.default_rng(0)
    for part, turned in (("train", 1), ("val", 6)):
        for k in range(2):
            folder = tmp_path / "bars" / part / f"class{k}"
            folder.mkdir(parents=True)
            for i in range(8):
                image = random.integers(0, 40, (16, 16, 3), dtype=np.uint8)
                image[(slice(6, 10), slice(None)) if k else (slice(None), slice(6, 10))] = 255
                (folder / f"{i}.png").write_bytes(encoded(image, turned))
    (tmp_path / "suite.yaml").write_text(SUITE, encoding="utf-8")
    plan = check(load_suite(tmp_path / "suite.yaml"), tmp_path)
    result = run_trial(plan.trials[0], data_root=tmp_path, artifacts=tmp_path)
    assert result.metrics["error"] == 0
