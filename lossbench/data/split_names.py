"""Which part of a data set is trained on, which is tested, and which serves `selection`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

TEST = "test"
VALIDATION = ("validation", "valid", "val", "dev")
MEASURED = (TEST, *VALIDATION)
"""Names of parts that may be the test set; the first one that is there is it."""

Found = TypeVar("Found")


def assign_splits(found: Mapping[str, Found]) -> dict[str, Found]:
    """Split -> what was found under a name that can be that split.

    The test set is `test`; without one it is the validation set. Next to `test`, a validation set
    is for `selection`.

    Args:
        found: With "train", and some of `MEASURED` in that order.
    """
    parts = {"train": found["train"]}
    measured = [name for name in MEASURED if name in found]
    if measured:
        parts["test"] = found[measured[0]]
    if len(measured) > 1 and measured[0] == TEST:
        parts["validation"] = found[measured[1]]
    return parts


def find_array_splits(folder: Path, kind: str) -> tuple[dict[str, str], list[str]]:
    """Split -> the start of its files' names, and the starts of those that are no split.

    Args:
        folder: With `train_KIND.npy`, `train_labels.npy`, and files of other parts likewise.
        kind: "images" or "features".
    """

    def has(name: str) -> bool:
        return any((folder / f"{name}_{array}.npy").exists() for array in (kind, "labels"))

    measured = [name for name in MEASURED if has(name)] or [TEST]
    parts = assign_splits({name: name for name in ("train", *measured)})
    return parts, [name for name in measured if name not in parts.values()]


def describe_array_splits(
    parts: Mapping[str, str], unused: Sequence[str], kind: str, counts: Mapping[str, int]
) -> list[str]:
    """Lines on the parts of a folder of arrays.

    Args:
        parts, unused, kind: As for `find_array_splits`.
        counts: Split -> how many images or vectors it has, of those that were read.
    """
    noun = "vectors" if kind == "features" else kind

    def describe(split: str) -> str | None:
        if split not in parts:
            return None
        count = f" ({counts[split]:,} {noun})" if split in counts else ""
        return f"{parts[split]}_{kind}.npy{count}"

    return describe_splits(
        describe("test"),
        describe("validation"),
        [f"{name}_{kind}.npy" for name in unused],
        selects="validation" in counts,
    )


def describe_splits(
    test: str | None,
    validation: str | None,
    unused: Sequence[str],
    *,
    selects: bool,
    why: str = "there is no other",
) -> list[str]:
    """Lines that name the parts of a data set, where their names do not do so already.

    Args:
        test: The test set as messages name it, `val/ (50 images)`.
        validation: The validation set next to it, likewise.
        unused: Other parts.
        selects: Whether `selection` uses the validation set.
        why: Reason why a validation set is the test set.
    """
    lines = []
    if test and validation and selects:
        lines.append(f"{test} is tested; `selection` chooses on {validation}")
    elif test and validation:
        lines.append(
            f"{test} is tested; {validation} is not used: `selection` with `holdout: validation` "
            "would choose on it"
        )
    elif test and not test.startswith(TEST):
        lines.append(f"{test} is the test set: {why}")
    if unused:
        lines.append(f"not used: {', '.join(unused)}")
    return lines
