"""Format of an archive: a zip file of JSON and NPZ files, and the limits that readers enforce.

Files of an archive:

    archive.json                        format, suite, and the digest of every other file
    suite.yaml                          the suite with all defaults
    plan.json                           rows, columns, metrics and facts for reports
    search_points.json                  points that searches proposed
    looks.json                          seeds that were added until the table was decided
    trainings/IDENTITY/trial.json       specification of a training
    trainings/IDENTITY/result.json      its history, measurements and environment
    trainings/IDENTITY/predictions.npz  labels, predicted classes and their probabilities
    trainings/IDENTITY/embedding.npz    two-dimensional features
    trainings/IDENTITY/measurements/IDENTITY/NAME.npz
                                        arrays of an evaluation
    trainings/IDENTITY/weights.pt       weights, if they were exported
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field

from lossbench.planning.look_record import LookRecord
from lossbench.planning.search import SearchPoints
from lossbench.records import Strict

FORMAT: Literal[1] = 1
MANIFEST = "archive.json"
PLAN = "plan.json"
SUITE = "suite.yaml"
SEARCH_POINTS = "search_points.json"
LOOKS = "looks.json"
TRAININGS = "trainings"

MAX_FILES = 200_000
"""Maximum number of files in an archive."""
MAX_TEXT_BYTES = 16 * 2**20
"""Maximum size of a JSON or YAML file other than the manifest."""
MAX_MANIFEST_BYTES = 64 * 2**20
"""Maximum size of `archive.json`, which has a line for each file."""
MAX_ARRAYS_BYTES = 256 * 2**20
"""Maximum size of an NPZ file, and of the arrays in it."""
MAX_WEIGHTS_BYTES = 16 * 2**30
"""Maximum size of the weights of one training."""
MAX_RATIO = 100
"""Maximum factor by which an archive may expand in all, beyond `FREE_BYTES`."""
FREE_BYTES = 256 * 2**20
MAX_NAME_LENGTH = 200
"""Maximum number of characters of the name of a metric."""
MAX_LABEL_LENGTH = 500
"""Maximum number of characters of a label."""

Identity = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

_IDENTITY = "[0-9a-f]{16}"
_ARRAY = r"[A-Za-z0-9_][A-Za-z0-9_.+=@-]{0,150}\.npz"
_TRAINING_FILE = re.compile(
    rf"(trial\.json|result\.json|weights\.pt|{_ARRAY}|measurements/{_IDENTITY}/{_ARRAY})"
)
_FILE = re.compile(
    rf"({re.escape(PLAN)}|{re.escape(SUITE)}|{re.escape(SEARCH_POINTS)}"
    rf"|{re.escape(LOOKS)}"
    rf"|{TRAININGS}/{_IDENTITY}/{_TRAINING_FILE.pattern})"
)


class Manifest(Strict):
    """Content of `archive.json`.

    Attributes:
        format: Version of the format.
        lossbench: Version of lossbench that wrote the archive.
        suite: Name of the suite.
        trainings: Identities of the trainings, in the order of the suite.
        files: SHA-256 of every other file, by its name.
    """

    format: Literal[1]
    lossbench: str
    suite: str
    trainings: list[Identity]
    files: dict[str, Digest]


class StoredSearchPoints(Strict):
    """Content of `search_points.json`: the points of the searches, by the search's identity."""

    searches: dict[Identity, SearchPoints]


class StoredLooks(Strict):
    """Content of `looks.json`: the record of looks at the table."""

    record: LookRecord


def is_file_name(name: str) -> bool:
    """Whether an archive may have a file of this name, besides `archive.json`."""
    return _FILE.fullmatch(name) is not None


def is_training_file(name: str) -> bool:
    """Whether the folder of a training may have a file of this name."""
    return _TRAINING_FILE.fullmatch(name) is not None


def training_file(identity: str, name: str) -> str:
    """Name of a file of a training in the archive."""
    return f"{TRAININGS}/{identity}/{name}"


def is_packed(name: str) -> bool:
    """Whether a file is not compressed in the archive, because it is an archive itself."""
    return name.endswith((".npz", ".pt"))


def max_bytes(name: str) -> int:
    """Maximum size of a file."""
    if name == MANIFEST:
        return MAX_MANIFEST_BYTES
    if name.endswith(".npz"):
        return MAX_ARRAYS_BYTES
    return MAX_WEIGHTS_BYTES if name.endswith(".pt") else MAX_TEXT_BYTES
