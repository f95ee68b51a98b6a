"""Data sets, independent of how they are stored."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from lossbench.data.images import Images, Shape, View
from lossbench.errors import did_you_mean


class Card(BaseModel):
    """Content of `dataset.json`. Other keys are allowed and ignored."""

    model_config = ConfigDict(strict=True, frozen=True)

    name: str
    num_classes: int = Field(ge=2)
    class_names: list[str]
    source: str
    note: str = ""
    sha256: dict[str, str]


class Split(Protocol):
    """Training set, test set or validation set."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """Labels (N,), in [0, K)."""

    @property
    def shape(self) -> Shape | None:
        """Shape (C, H, W) of every image; None where sizes differ."""

    def subset(self, indices: NDArray[np.int64]) -> Split:
        """Split of the images with these indices, in this order."""

    def relabelled(self, labels: NDArray[np.int64]) -> Split:
        """Split of the same images with other labels."""

    def to_device(self, device: torch.device, view: View) -> Images:
        """Images for a training on a device."""


@dataclass(frozen=True)
class Dataset:
    """Training set, with a test set and a validation set if there are any.

    Attributes:
        card: Name, classes and source of the data set.
        splits: Splits by name, `train`, `test` and `validation`; the last one only on request.
        digest: Digest of the training set and the test set.
        smallest: File and shorter side of the smallest inspected image, where sizes differ.
        no_test: Reason why there is no test set, where one might be expected.
        vectors: Whether it has precomputed vectors instead of images.
        notes: Lines for the user on the use of its parts.
        warnings: Lines for the user on data that may give misleading results.
        common_size: Size (H, W) of all inspected image files, if they have the same.
        sizes_seen: Description of the inspected images: their number, and two that differ in size.
        validation_digest: Digest of all splits including the validation set; empty without one.
        unrestricted: Data set with all classes, if this one has only some of them.
        left_out_classes: Numbers of the other classes in it.
        data_root: Folder of the prepared data sets, in which files of labels are looked up; None
            if the data set was not loaded by name.
    """

    card: Card
    splits: Mapping[str, Split]
    digest: str
    smallest: tuple[str, int] | None = None
    no_test: str = ""
    vectors: bool = False
    notes: tuple[str, ...] = ()
    validation_digest: str = ""
    warnings: tuple[str, ...] = ()
    common_size: tuple[int, int] | None = None
    sizes_seen: str = ""
    unrestricted: Dataset | None = None
    left_out_classes: tuple[int, ...] = ()
    data_root: Path | None = None

    def image_shape(self, view: View) -> Shape:
        """Shape (C, H, W) of the input of a model.

        Args:
            view: Resizing and crop of the images.

        Raises:
            ValueError: The images are too small for the view, or differ in size without a crop.
        """
        shape = self.splits["train"].shape
        if shape is not None:
            return view.shape(shape)
        if view.crop is None and self.common_size is not None:
            return view.shape((3, *self.common_size))
        if view.crop is None:
            seen = f" ({self.sizes_seen})" if self.sizes_seen else ""
            raise ValueError(
                f"these images differ in size{seen}: give recipe.input.crop, and .resize"
            )
        if view.resize is not None and view.resize < view.crop:
            raise ValueError(
                f"a crop of {view.crop} is larger than images resized to {view.resize}"
            )
        if view.resize is None and self.smallest is not None and self.smallest[1] < view.crop:
            file, side = self.smallest
            raise ValueError(
                f"{file}: its shorter side of {side} is too small for a crop of {view.crop}; give "
                "recipe.input.resize"
            )
        return 3, view.crop, view.crop

    def class_numbers(self, classes: Sequence[int | str]) -> list[int]:
        """Numbers of classes that are given by name or by number.

        Raises:
            ValueError: A name is unknown or ambiguous, or a class is given twice.
        """
        names = self.card.class_names
        numbers = []
        for k in classes:
            if isinstance(k, int):
                numbers.append(k)
            elif names.count(k) == 1:
                numbers.append(names.index(k))
            elif k in names:
                raise ValueError(f"{names.count(k)} classes are named {k!r}; give their numbers")
            else:
                raise ValueError(f"no class is named {k!r}{did_you_mean(k, names)}")
        twice = [k for k in numbers if numbers.count(k) > 1]
        if twice:
            raise ValueError(f"given twice: {names[twice[0]]!r}, by name and by number")
        return numbers

    def require_clear_numbers(self, classes: Sequence[int | str]) -> None:
        """Refuse class numbers that could also be class names, as for folders named '1' to '11'.

        Raises:
            ValueError: A number is ambiguous.
        """
        names = self.card.class_names
        values = [int(name) if name.isdecimal() else None for name in names]
        given = [k for k in classes if isinstance(k, int)]

        def is_clear(k: int) -> bool:
            at_position = values[k] if k < len(values) else None
            return at_position in (k, None) and (k not in values or values.index(k) == k)

        def quoted(chosen: list[str]) -> str:
            return json.dumps(chosen, ensure_ascii=False)

        if all(map(is_clear, given)):
            return
        readings = []
        by_name = [names[values.index(k)] for k in given if k in values]
        by_position = [names[k] for k in given if k < len(names)]
        if len(by_name) == len(given):
            readings.append(f"{quoted(by_name)} for the classes of these names")
        if len(by_position) == len(given):
            readings.append(f"{quoted(by_position)} for those at these positions, counted from 0")
        raise ValueError(
            f"{given} can be read as names and as positions, since class names here are numbers; "
            f"give names, in quotes: {' or '.join(readings) or f'such as {quoted(names[:2])}'}"
        )

    def restricted(self, classes: Sequence[int]) -> Dataset:
        """Data set of the images of some classes, which are renumbered in the given order.

        Args:
            classes: Numbers of the classes.

        Raises:
            ValueError: A class does not exist or has no training images, or a split has no images
                of the classes.
        """
        unknown = [k for k in classes if k >= self.card.num_classes]
        if unknown:
            raise ValueError(
                f"there is no class {unknown[0]}, only 0 to {self.card.num_classes - 1}; names of "
                "classes are written in quotes"
            )
        trained = set(np.unique(self.splits["train"].labels).tolist())
        lacking = [self.card.class_names[k] for k in classes if k not in trained]
        if lacking:
            kind = "class" if len(lacking) == 1 else "classes"
            raise ValueError(f"no training images of {kind} {', '.join(lacking)}")
        number = np.full(self.card.num_classes, -1)
        number[list(classes)] = np.arange(len(classes))
        splits: dict[str, Split] = {}
        for name, split in self.splits.items():
            found = np.flatnonzero(np.isin(split.labels, classes))
            if not len(found):
                raise ValueError(f"no {name} images of the classes chosen")
            splits[name] = split.subset(found).relabelled(number[split.labels[found]])
        names = [self.card.class_names[k] for k in classes]
        card = self.card.model_copy(update={"num_classes": len(names), "class_names": names})
        return replace(
            self,
            card=card,
            splits=splits,
            unrestricted=self,
            left_out_classes=tuple(sorted(set(range(self.card.num_classes)) - set(classes))),
        )

    def left_out_test(self) -> Split | None:
        """Test images of the classes that `restricted` left out; None if there are none.

        Their labels are consecutive numbers from 0, in the order of the classes.
        """
        if self.unrestricted is None or "test" not in self.unrestricted.splits:
            return None
        test = self.unrestricted.splits["test"]
        found = np.flatnonzero(np.isin(test.labels, self.left_out_classes))
        if not len(found):
            return None
        _, labels = np.unique(test.labels[found], return_inverse=True)
        return test.subset(found).relabelled(labels.astype(np.int64))
