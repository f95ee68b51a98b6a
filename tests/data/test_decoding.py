from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lossbench.data.decoding import decode
from lossbench.errors import DataError

RAMP = np.linspace(0, 65_535, 4096).round().astype(np.uint16).reshape(64, 64)
TO_BYTES = np.array([[round(int(level) / 257) for level in row] for row in RAMP], np.uint8)


def decoded(path: Path) -> NDArray[np.uint8]:
    """(H, W, 3)"""
    return decode(path).permute(1, 2, 0).numpy()


def grey(path: Path) -> NDArray[np.uint8]:
    """(H, W) of an image with three equal channels."""
    pixels = decoded(path)
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


@pytest.mark.parametrize(
    ("name", "kind", "mode"),
    [
        ("16.png", np.uint16, "I;16"),
        ("16.tif", np.uint16, "I;16"),
        ("16 big-endian.tif", ">u2", "I;16B"),
        ("32.tif", np.int32, "I"),
        ("16.pgm", np.uint16, "I"),
    ],
)
def test_16_bit_grey_levels_are_scaled_to_a_byte(
    tmp_path: Path, name: str, kind: str, mode: str
) -> None:
    Image.fromarray(RAMP.astype(kind)).save(tmp_path / name)
    assert Image.open(tmp_path / name).mode == mode
    assert np.array_equal(grey(tmp_path / name), TO_BYTES)


def test_small_integers_and_dark_pgms_keep_their_levels(tmp_path: Path) -> None:
    levels = np.arange(256).reshape(16, 16)
    Image.fromarray(levels.astype(np.int32)).save(tmp_path / "bytes.tif")
    assert np.array_equal(grey(tmp_path / "bytes.tif"), levels)
    Image.fromarray(levels.astype(np.uint16)).save(tmp_path / "dark.pgm")
    assert grey(tmp_path / "dark.pgm").max() == 1
    (tmp_path / "10 bits.pgm").write_bytes(
        b"P5 2 1 1023\n" + np.array([512, 1023], ">u2").tobytes()
    )
    assert grey(tmp_path / "10 bits.pgm").tolist() == [[128, 255]]


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.ones((3, 3), np.float32), "floating-point images are not supported"),
        (np.full((3, 3), -1, np.int32), "grey levels from -1 to -1 are not supported"),
        (np.arange(9, dtype=np.int32).reshape(3, 3) * 9000, "grey levels from 0 to 72,000 are not"),
    ],
)
def test_levels_with_unknown_white_are_refused(
    tmp_path: Path, pixels: NDArray[np.generic], expected: str
) -> None:
    Image.fromarray(pixels).save(tmp_path / "x.tiff")
    with pytest.raises(DataError, match=expected) as caught:
        decode(tmp_path / "x.tiff")
    assert str(caught.value).startswith(f"{tmp_path}/x.tiff: ")
    assert "\n" not in str(caught.value)


def over_white(pixels: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(H, W, 3), pixel by pixel."""
    out = np.zeros((*alpha.shape, 3))
    for y, x in np.ndindex(alpha.shape):
        share = alpha[y, x] / 255
        for c in range(3):
            out[y, x, c] = share * pixels[y, x, c] + (1 - share) * 255
    return out


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_alpha_channel_is_blended_with_white(tmp_path: Path, mode: str) -> None:
    random = np.random.default_rng(0)
    alpha = random.integers(0, 256, (9, 7), dtype=np.uint8)
    alpha[0], alpha[1] = 0, 255
    colours = "RGB" if mode == "RGBA" else "L"
    base = Image.fromarray(random.integers(0, 256, (9, 7, 3), dtype=np.uint8)).convert(colours)
    image = base.convert(mode)
    image.putalpha(Image.fromarray(alpha))
    assert image.mode == mode
    image.save(tmp_path / "x.tif")
    found = decoded(tmp_path / "x.tif")
    expected = over_white(np.asarray(base.convert("RGB")), alpha)
    assert np.abs(found - expected).max() < 1
    assert (found[0] == 255).all()
    assert np.array_equal(found[1], np.asarray(base.convert("RGB"))[1])
    image.putalpha(255)
    image.save(tmp_path / "opaque.tif")
    assert np.array_equal(decoded(tmp_path / "opaque.tif"), np.asarray(base.convert("RGB")))


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "P with bytes", "I;16"])
def test_a_transparent_colour_becomes_white(tmp_path: Path, mode: str) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    chosen: object = {"RGB": (7, 7, 7), "P with bytes": bytes([255] * 7 + [0] + [255] * 248)}.get(
        mode, 7
    )
    if mode == "I;16":
        image, chosen = Image.fromarray(levels.astype(np.uint16) * 257), 7 * 257
    else:
        image = Image.fromarray(levels).convert(mode.partition(" ")[0])
    image.save(tmp_path / "x.png", transparency=chosen)
    expected = levels.copy()
    expected[0, 7] = 255
    assert np.array_equal(grey(tmp_path / "x.png"), expected)


def test_message_on_too_many_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (40, 30)).save(tmp_path / "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 599)
    with pytest.raises(DataError, match=r"x\.png: has more than 1,198 pixels, the maximum for an"):
        decode(tmp_path / "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 600)
    assert decode(tmp_path / "x.png").shape == (3, 30, 40)
