"""Tests for folders that are data sets without a dataset.json, which need no torch."""

from __future__ import annotations

from pathlib import Path

from lossbench.data.class_folders import files_below, is_image, visible
from lossbench.data.table_files import is_table_folder

NEVER_CLASSES = ("test", "validation", "val")
"""Folders that are parts of a data set even without train; `valid` could be a class."""


def is_vector_folder(folder: Path) -> bool:
    """Whether a folder contains embeddings."""
    names = ("train_features", "test_features", "features")
    return any((folder / f"{name}.npy").exists() for name in names)


def is_image_folder(folder: Path) -> bool:
    """Whether a folder of a class contains an image.

    Without folders of parts, subfolders of classes are not searched: deeper folders may be classes
    of parts with other names.
    """
    parts = [folder / name for name in ("train", *NEVER_CLASSES) if (folder / name).is_dir()]
    files_of = files_below if parts else visible
    try:
        classes = (entry for part in parts or [folder] for entry in visible(part))
        files = (file for k in classes if k.is_dir() for file in files_of(k.path))
        return any(is_image(file.name) and not file.is_dir() for file in files)
    except OSError:
        return False


FORMS = (is_vector_folder, is_table_folder, is_image_folder)
"""The tests, one for each form."""
