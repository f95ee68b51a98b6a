"""Files in the folder of downloads that are not the official ones."""

from __future__ import annotations

from pathlib import Path

from tests.malformed.corpus import Case

RAW = "data/downloads/MNIST/raw"


def mnist(name: str, file: str, content: bytes, *expected: str) -> Case:
    """One file of MNIST has other content."""

    def make(folder: Path) -> list[str]:
        (folder / RAW).mkdir(parents=True)
        (folder / RAW / file).write_bytes(content)
        return ["data", "prepare", "mnist", "--data-root", str(folder / "data")]

    return Case(name, make, expected)


BLACK = bytes.fromhex("00000803000002580000001c0000001c") + bytes(600 * 28 * 28)

BY_HAND = [
    mnist("black images", "train-images-idx3-ubyte", BLACK, f"{RAW}/train-images-idx3-ubyte: is not the official file of mnist", "its sha256 is"),
    mnist("labels of nothing", "t10k-labels-idx1-ubyte", b"", f"{RAW}/t10k-labels-idx1-ubyte: is not the official file of mnist"),
    mnist("a page instead of images", "t10k-images-idx3-ubyte", b"<html>404</html>", f"{RAW}/t10k-images-idx3-ubyte: is not the official file of mnist", "your own data into a folder of another name"),
]  # fmt: skip
