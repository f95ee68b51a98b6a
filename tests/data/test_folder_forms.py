"""Forms of folders that are data sets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lossbench.data.folder_forms import FORMS, is_image_folder, is_table_folder, is_vector_folder


@pytest.mark.parametrize(
    ("file", "form"),
    [
        ("train_features.npy", is_vector_folder),
        ("features.npy", is_vector_folder),
        ("train.parquet", is_table_folder),
        ("state.json", is_table_folder),
        ("cats/1.png", is_image_folder),
        ("train/cats/1.jpg", is_image_folder),
    ],
)
def test_a_folder_has_one_form(file: str, form: object, tmp_path: Path) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert [each for each in FORMS if each(tmp_path)] == [form]


def test_a_folder_without_data_has_no_form(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    assert not any(form(tmp_path) for form in FORMS)


def test_data_sets_are_known_without_torch() -> None:
    code = "import sys, lossbench.data.sources; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8", check=True
    )
    assert done.stdout == "False\n"
