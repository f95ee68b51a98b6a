"""Which part of a data set is trained on, which is tested, and which serves `selection`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

TEST = "test"
VALIDATION = ("validation", "valid", "val", "dev")
MEASURED = (TEST, *VALIDATION)
"""Names of parts that may be the test set; the first one that is there is it."""

Found = TypeVar("Found")


def name_parts(found: Mapping[str, Found]) -> dict[str, Found]:
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


def describe_parts(
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
