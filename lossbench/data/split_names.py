"""Assignment of the parts of a data set to the training, test and validation set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

TEST = "test"
VALIDATION = ("validation", "valid", "val", "dev")
MEASURED = (TEST, *VALIDATION)
"""Names of parts that can be the test set; the first one that exists is it."""
UNUSED = "is not used: `selection` with `holdout: validation` would choose on it"
"""End of a line on a validation set that is not read."""

Found = TypeVar("Found")


def assign_splits(found: Mapping[str, Found]) -> dict[str, Found]:
    """Assign the parts that were found to the splits `train`, `test` and `validation`.

    The test set is the part `test`, or else the validation part. A validation part next to `test`
    is the validation set, used by `selection`.

    Args:
        found: Name -> part, with `train` and some of `MEASURED`.

    Returns:
        Split -> part.
    """
    parts = {"train": found["train"]}
    measured = [name for name in MEASURED if name in found]
    if measured:
        parts["test"] = found[measured[0]]
    if len(measured) > 1 and measured[0] == TEST:
        parts["validation"] = found[measured[1]]
    return parts


def find_array_splits(folder: Path, kind: str) -> tuple[dict[str, str], list[str]]:
    """Find the arrays of each split in a folder.

    Args:
        folder: Folder with `train_KIND.npy`, `train_labels.npy`, and files of other parts.
        kind: `images` or `features`.

    Returns:
        Split -> prefix of its files; and the prefixes of unused parts.
    """

    def has(name: str) -> bool:
        return any((folder / f"{name}_{array}.npy").exists() for array in (kind, "labels"))

    measured = [name for name in MEASURED if has(name)] or [TEST]
    parts = assign_splits({name: name for name in ("train", *measured)})
    return parts, [name for name in measured if name not in parts.values()]


def describe_array_splits(
    parts: Mapping[str, str], unused: Sequence[str], kind: str, counts: Mapping[str, int]
) -> list[str]:
    """Lines on the use of the arrays in a folder.

    Args:
        parts: Split -> prefix of its files.
        unused: Prefixes of unused parts.
        kind: `images` or `features`.
        counts: Split -> number of images or vectors, of the splits that were read.
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
    """Lines on the use of the parts of a data set, where their names do not show it.

    Args:
        test: Name of the test set in messages, such as `val/ (50 images)`; None without one.
        validation: Name of the validation set next to it; None without one.
        unused: Names of other parts.
        selects: Whether `selection` uses the validation set.
        why: Reason why a validation part is the test set.
    """
    lines = []
    if test and validation and selects:
        lines.append(f"{test} is tested; `selection` chooses on {validation}")
    elif test and validation:
        lines.append(f"{test} is tested; {validation} {UNUSED}")
    elif test and not test.startswith(TEST):
        lines.append(f"{test} is the test set: {why}")
    if unused:
        lines.append(f"not used: {', '.join(unused)}")
    return lines
