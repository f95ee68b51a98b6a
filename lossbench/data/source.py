"""Source of a data set that is known by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lossbench.data.dataset import Card
    from lossbench.data.prepared import Arrays


@dataclass(frozen=True)
class Source:
    """Source of a data set that is known by name.

    Attributes:
        description: Line for listings.
        fetch: Function from the download folder to arrays and their card; None for an image folder.
        write_folder: Function that writes the image folder from the download folder; None if users
            have to obtain it themselves, and for arrays.
        bundled: Whether it is made when it is loaded, from a library or from `derived_from`; the
            argument of `fetch` is the data root then.
        files: Files in the download folder that `fetch` uses instead of downloading.
        derived_from: Name of the data set in the data root that a bundled one is made from, if any.
        by_hand: Whether users have to obtain the data set themselves.
        note: Description of the content of an image folder.
    """

    description: str
    fetch: Callable[[Path], tuple[Arrays, Card]] | None = None
    write_folder: Callable[[Path, Path], None] | None = None
    bundled: bool = False
    files: tuple[str, ...] = ()
    derived_from: str = ""
    by_hand: bool = False
    note: str = "an image folder as it was found, not verified"

    @property
    def is_written(self) -> bool:
        """Whether `lossbench data prepare` writes its folder."""
        return self.fetch is not None or self.write_folder is not None
