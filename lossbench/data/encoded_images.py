"""Image files stored in the rows of a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from lossbench.data.decoding import EncodedImage


@dataclass(frozen=True)
class EncodedImages:
    """Image files in some rows of a table, read on demand.

    Attributes:
        column: Column of image files, such as a pyarrow column: indexing gives an object whose
            `as_py()` is bytes.
        rows: (N,) Indices of the rows.
        where: Name of the table in messages.
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
        """One image for an index, or a subset for an array of indices."""
        if isinstance(index, np.ndarray):
            return EncodedImages(self.column, self.rows[index], self.where)
        row = int(self.rows[index])
        return EncodedImage(self.column[row].as_py(), f"{self.where}, row {row}")
