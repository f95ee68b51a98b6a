"""Decoding of image files to 8-bit RGB.

- Grey levels of 16 bits are divided by 257 and rounded. So are the 32-bit integers of a TIFF if one
  of them is above 255, and those of a PGM always. Integers outside 0 to 65,535 and floating-point
  levels are refused, because their white level is unknown.
- Transparent pixels are blended with white, whatever colour is stored there.
- Other images are converted to RGB by Pillow. Of several pages or frames, the first is read.
- The image is rotated by its EXIF orientation, as in image viewers; an EXIF block that cannot be
  read is ignored.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from lossbench.errors import DataError

MAX_GREY_LEVEL = 65_535
"""White level of 16-bit grey images."""

EXIF_MARKERS = (
    b"Exif",
    b"EXIF",
    b"eXIf",
    b"Raw profile type exif",
    b"tiff:Orientation",
    b"com.adobe.xmp",
    b"ftypavi",
)
"""Byte strings of which one is in every file with an orientation that Pillow reads, except TIFF."""

# Pillow warns at half of the size that it refuses, with the same message
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# warnings about EXIF blocks that cannot be read, although the image can
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


@dataclass(frozen=True)
class EncodedImage:
    """Image file stored in another file.

    Attributes:
        content: Bytes of the image file.
        place: Name of the image in messages.
    """

    content: bytes
    place: str

    def __str__(self) -> str:
        return self.place


def decode(path: Path | EncodedImage) -> Tensor:
    """Decode an image file to an upright image, uint8 (3, H, W).

    Raises:
        DataError: It cannot be decoded, has too many pixels, or its white level is unknown.
    """
    try:
        with opened(path) as image:
            array = _upright(_rgb(image), _orientation(image))  # (H, W, 3)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except _UnknownWhiteError as error:
        raise DataError(f"{path}: {error}; save it with 8 or 16 bits") from None
    except Image.DecompressionBombError:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise DataError(
            f"{path}: has more than {most:,} pixels, the maximum for an image; make it smaller"
        ) from None
    except Exception as error:  # Pillow's decoders raise various types
        raise DataError(f"{path}: does not decode: {str(error).partition(chr(10))[0]}") from None
    return torch.from_numpy(array).permute(
        2, 0, 1
    )  # channels last in memory: resizing is twice as fast


def opened(path: Path | EncodedImage) -> Image.Image:
    """Open an image; its size is known, but its pixels are not decoded yet."""
    return Image.open(path if isinstance(path, Path) else io.BytesIO(path.content))


def stores_16_bits(path: Path | EncodedImage) -> bool:
    """Whether a file stores levels of 16 bits, even if it uses only a part of their range.

    False for a PGM, which specifies its white level.
    """
    with opened(path) as image:
        if image.format == "PPM":
            return False
        stored = [tile[3] for tile in getattr(image, "tile", ())]
        modes = [args[0] if isinstance(args, tuple) and args else args for args in stored]
        return any(isinstance(mode, str) and ";16" in mode for mode in (image.mode, *modes))


def may_be_rotated(file: EncodedImage) -> bool:
    """Whether the upright image may differ in size from the opened one."""
    return any(marker in file.content for marker in EXIF_MARKERS)


def is_rotated(file: EncodedImage) -> bool:
    """Whether `decode` rotates or mirrors the image by its EXIF orientation.

    False for TIFF, which Pillow has always rotated itself.
    """
    if not may_be_rotated(file):
        return False
    try:
        with opened(file) as image:
            image.load()
            return _orientation(image) != 1
    except Exception:  # Pillow's decoders raise various types; `decode` reports them
        return False


def upright_size(path: Path | EncodedImage) -> tuple[int, int]:
    """Size (H, W) of the decoded image, from the header of the file where possible.

    Raises:
        DataError: The file does not decode.
    """
    try:
        with opened(path) as image:
            width, height = image.size
            rotated = width != height and _orientation(image) > 4
            # versions of Pillow differ in whether the size of a TIFF is already the rotated one
            if not rotated or image.format != "TIFF":
                return (width, height) if rotated else (height, width)
    except Exception:  # Pillow's decoders raise various types
        pass
    shape = decode(path).shape  # raises a DataError if the file is broken
    return shape[1], shape[2]


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8, of an image whose pixels are decoded.

    Before decoding, a PNG may have an unread EXIF block, and a TIFF is not rotated by Pillow yet.
    """
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a broken block; the pixels are fine
        return 1
    return int(found) if found in range(1, 9) else 1


def _upright(array: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Pixels rotated by the orientation, (H, W, 3) or (W, H, 3)."""
    if orientation == 1:
        return array
    # a new image with a new EXIF block, because other parts of the file's block may be broken
    image = Image.fromarray(array)
    image.getexif()[ExifTags.Base.Orientation] = orientation
    return np.array(ImageOps.exif_transpose(image))


class _UnknownWhiteError(Exception):
    """The white level of an image is unknown, so its levels cannot be scaled to a byte."""


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Pixels (H, W, 3). Pillow's own conversion would clip deeper levels at 255."""
    if image.mode == "F":
        raise _UnknownWhiteError("floating-point images are not supported")
    if image.mode.startswith("I"):
        grey = _grey_in_a_byte(image)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        if coloured.getchannel("A").getextrema() != (255, 255):
            white = Image.new("RGBA", coloured.size, "white")
            return np.array(Image.alpha_composite(white, coloured).convert("RGB"))
    return np.array(image.convert("RGB"))


def _grey_in_a_byte(image: Image.Image) -> NDArray[np.uint8]:
    """Pixels (H, W), in [0, 255], of an image of larger integers."""
    levels = np.asarray(image).astype(np.int64)
    low, high = int(levels.min()), int(levels.max())
    if low < 0 or high > MAX_GREY_LEVEL:
        raise _UnknownWhiteError(f"grey levels from {low:,} to {high:,} are not supported")
    # Pillow scales the levels of a PGM to 16 bits, even if all are dark
    deep = image.mode != "I" or image.format == "PPM" or high > 255
    bytes_ = (levels + 128) // 257 if deep else levels
    if image.info.get("transparency") is not None:
        bytes_[levels == image.info["transparency"]] = 255  # blended with white, as in other images
    return bytes_.astype(np.uint8)
