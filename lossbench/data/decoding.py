"""Image files as bytes of red, green and blue.

- Grey levels of 16 bits are scaled to 8: divided by 257, rounded. So are the 32-bit integers of a
  TIFF if one of them is above 255, and those of a PGM always; integers outside 0 to 65,535 and
  floating-point levels are refused, since nobody knows what white is among them.
- What is transparent is laid over white, whatever colour is stored there.
- Everything else becomes RGB as Pillow does it. Of several pages or frames the first is read.
- The image is turned as its EXIF orientation says, as every viewer shows it; an EXIF block that
  cannot be read is ignored.
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

SUFFIXES = frozenset(
    {".apng", ".avif", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"}
    | {".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"}
)
"""Of files that count as images: those of Pillow in which photographs and drawings come."""
DEEPEST = 65_535
"""White, where grey levels have 16 bits."""

EXIF_MARKERS = (
    b"Exif",
    b"EXIF",
    b"eXIf",
    b"Raw profile type exif",
    b"tiff:Orientation",
    b"com.adobe.xmp",
    b"ftypavi",
)
"""One of them is in every file whose orientation Pillow can read, except TIFF."""

# it comes at half of the size that Pillow refuses, and says what the refusal says
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# of EXIF blocks that cannot be read, whose images can
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


@dataclass(frozen=True)
class EncodedImage:
    """An image file that lies in another file.

    Attributes:
        content: Its bytes.
        place: What messages call it.
    """

    content: bytes
    place: str

    def __str__(self) -> str:
        return self.place


def decode(path: Path | EncodedImage) -> Tensor:
    """An image file as uint8 (3, H, W), upright.

    Raises:
        DataError: It cannot be decoded, has too many pixels, or levels with no known white.
    """
    try:
        with opened(path) as image:
            array = _upright(_rgb(image), _orientation(image))  # (H, W, 3)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except _UnknownWhite as error:
        raise DataError(f"{path}: {error}; save it with 8 or 16 bits") from None
    except Image.DecompressionBombError:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise DataError(
            f"{path}: has more than {most:,} pixels, the most that an image may have; make it "
            "smaller"
        ) from None
    except Exception as error:  # Pillow raises what its decoders happen to raise
        raise DataError(f"{path}: does not decode: {str(error).partition(chr(10))[0]}") from None
    return torch.from_numpy(array).permute(2, 0, 1)  # as stored: resizing is twice as fast


def opened(path: Path | EncodedImage) -> Image.Image:
    """The image, whose size is known and whose pixels are not decoded yet."""
    return Image.open(path if isinstance(path, Path) else io.BytesIO(path.content))


def stores_16_bits(path: Path | EncodedImage) -> bool:
    """Whether the levels of an image have 16 bits in its file, whatever part of them is used.

    A PGM does not count: it says which level is white.
    """
    with opened(path) as image:
        if image.format == "PPM":
            return False
        stored = [tile[3] for tile in getattr(image, "tile", ())]
        modes = [args[0] if isinstance(args, tuple) and args else args for args in stored]
        return any(isinstance(mode, str) and ";16" in mode for mode in (image.mode, *modes))


def may_be_turned(file: EncodedImage) -> bool:
    """Whether the size of the opened image may not be that of the upright one."""
    return any(marker in file.content for marker in EXIF_MARKERS)


def is_turned(file: EncodedImage) -> bool:
    """Whether `decode` turns or mirrors the image by its EXIF orientation.

    TIFF does not count: Pillow has always turned it by itself.
    """
    if not may_be_turned(file):
        return False
    try:
        with opened(file) as image:
            image.load()
            return _orientation(image) != 1
    except Exception:  # Pillow raises what its decoders happen to raise; `decode` reports it
        return False


def upright_size(path: Path | EncodedImage) -> tuple[int, int]:
    """(H, W) that `decode` gives, from the head of the file as far as that says it.

    Raises:
        DataError: The file does not decode.
    """
    try:
        with opened(path) as image:
            width, height = image.size
            turned = width != height and _orientation(image) > 4
            # versions of Pillow differ in whether the size of a TIFF is known to be turned by now
            if not turned or image.format != "TIFF":
                return (width, height) if turned else (height, width)
    except Exception:  # Pillow raises what its decoders happen to raise
        pass
    shape = decode(path).shape  # it says what is wrong, if something is
    return shape[1], shape[2]


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8, of an image whose pixels are decoded.

    Before that PNG may have more to read, and TIFF is not turned by Pillow yet.
    """
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # the block is broken, the pixels are not
        return 1
    return int(found) if found in range(1, 9) else 1


def _upright(array: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """(H, W, 3) or (W, H, 3)."""
    if orientation == 1:
        return array
    # a new image with a new EXIF block: the file's own one may be broken elsewhere
    image = Image.fromarray(array)
    image.getexif()[ExifTags.Base.Orientation] = orientation
    return np.array(ImageOps.exif_transpose(image))


class _UnknownWhite(Exception):
    """Levels that nobody can scale to a byte without knowing more."""


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    """(H, W, 3). Pillow's own conversion of deeper levels cuts them off at 255."""
    if image.mode == "F":
        raise _UnknownWhite("floating-point images are not supported")
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
    """(H, W) of an image of deeper integers."""
    levels = np.asarray(image).astype(np.int64)
    low, high = int(levels.min()), int(levels.max())
    if low < 0 or high > DEEPEST:
        raise _UnknownWhite(f"grey levels from {low:,} to {high:,} are not supported")
    # Pillow scales a PGM's levels to 16 bits, dark ones as well
    deep = image.mode != "I" or image.format == "PPM" or high > 255
    bytes_ = (levels + 128) // 257 if deep else levels
    if image.info.get("transparency") is not None:
        bytes_[levels == image.info["transparency"]] = 255  # over white, as any other image
    return bytes_.astype(np.uint8)
