"""Files of each split in a folder of tables."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lossbench.data.split_names import MEASURED
from lossbench.errors import DataError

MAX_SUBFOLDERS = 20
"""Largest number of subfolders that may be configurations; a folder with more has classes."""
PARQUET_BYTES = 2**32
"""Largest total size of parquet files: each worker reads them into memory, without mapping."""

SplitFiles = dict[str, list[Path]]
"""Split -> its files, in order."""


def is_table_folder(folder: Path) -> bool:
    """Whether a folder contains tables."""
    try:
        saved = ("dataset_dict.json", "state.json")
        return any((folder / name).is_file() for name in saved) or bool(_parquet_files(folder))
    except OSError:
        return False


def find_split_files(folder: Path) -> SplitFiles:
    """Find the files of each split.

    Raises:
        DataError: SplitFiles are missing, too large, or of several configurations.
    """
    dictionary = folder / "dataset_dict.json"
    if dictionary.is_file():
        names = _json(dictionary).get("splits")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DataError(f"{dictionary}: splits should be a list of names")
        return {name: _arrow_files(folder / name) for name in names}
    if (folder / "state.json").is_file():
        return {"train": _arrow_files(folder)}
    files: SplitFiles = {}
    for path in _parquet_files(folder):
        files.setdefault(_split_of(path), []).append(path)
    if (size := sum(path.stat().st_size for own in files.values() for path in own)) > PARQUET_BYTES:
        raise DataError(
            f"{folder}: each worker would read {size / 2**30:.1f} GiB of parquet into memory; "
            "convert them to arrow files, which are mapped: "
            "datasets.load_dataset(...).save_to_disk(...)"
        )
    return files


def choose_split_files(folder: Path, files: SplitFiles) -> tuple[SplitFiles, list[str]]:
    """Choose the splits that may be used.

    Returns:
        Training split and the splits to measure on, in order of preference; and the names of the
        other splits.

    Raises:
        DataError: There is no split `train`.
    """
    if "train" not in files:
        found = ", ".join(sorted(files)) or "none"
        raise DataError(f"{folder}: has no split train; splits are {found}")
    chosen = {name: files[name] for name in ("train", *MEASURED) if name in files}
    return chosen, [name for name in files if name not in chosen]


def _arrow_files(folder: Path) -> list[Path]:
    state = _json(folder / "state.json")
    if state.get("_indices_data_files"):
        raise DataError(
            f"{folder}: its rows are selected by an index table; save it again with datasets"
        )
    try:
        files = [folder / Path(entry["filename"]).name for entry in state["_data_files"]]
    except (KeyError, TypeError):
        raise DataError(f"{folder / 'state.json'}: _data_files lists no files") from None
    for file in files:
        if not file.is_file():
            raise DataError(
                f"{file}: no such file, but state.json names it; is the folder complete?"
            )
    if not files:
        raise DataError(f"{folder / 'state.json'}: _data_files lists no files")
    return files


def _parquet_files(folder: Path) -> list[Path]:
    """Parquet files in a folder or its subfolders.

    Raises:
        DataError: There are several configurations.
    """
    here = sorted(folder.glob("[!.]*.parquet"))
    if here:
        return here
    below = [path for path in sorted(folder.glob("[!.]*")) if path.is_dir()]
    if len(below) > MAX_SUBFOLDERS:
        return []
    found = {path: files for path in below if (files := sorted(path.glob("[!.]*.parquet")))}
    of_splits = {path: files for path, files in found.items() if _is_split(path.name)}
    if not of_splits and len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise DataError(f"{folder}: has several configurations ({names}); name the folder of one")
    return [file for files in (of_splits or found).values() for file in files]


def _is_split(name: str) -> bool:
    return name in ("train", *MEASURED)


def _split_of(path: Path) -> str:
    """Split of a file, from the name of its folder or the start of its own name."""
    if _is_split(path.parent.name):
        return path.parent.name
    return re.split(r"[-_.]", path.stem)[0]


def table_name(paths: list[Path]) -> str:
    """Name of a table in messages."""
    return str(paths[0] if len(paths) == 1 else paths[0].parent)


def _json(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read: {error.strerror}; is the folder complete?"
        ) from None
    except ValueError:
        raise DataError(f"{path}: is not JSON") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: should be a mapping")
    return content
