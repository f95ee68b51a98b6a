"""Image files that lie in the rows of a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from lossbench.data.decoding import EncodedImage


@dataclass(frozen=True)
class EncodedImages:
    """The image files of some rows, read as they are needed.

    Attributes:
        column: Of files, such as pyarrow's columns: an index gives something whose `as_py()` is
            bytes.
        rows: (N,) Those that are meant.
        where: What messages call the table.
    """

    column: Any
    rows: NDArray[np.int64]
    where: str

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> EncodedImage: ...
    @overload
    def __getitem__(self, index: NDArray[np.int64]) -> EncodedImages: ...
    def __getitem__(self, index: int | NDArray[np.int64]) -> EncodedImage | EncodedImages:
        """One image, or some of the rows, as of an array."""
        if isinstance(index, np.ndarray):
            return EncodedImages(self.column, self.rows[index], self.where)
        row = int(self.rows[index])
        return EncodedImage(self.column[row].as_py(), f"{self.where}, row {row}")
