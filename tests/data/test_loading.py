from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lossbench.assembly.check import check
from lossbench.data import loading
from lossbench.data.loading import close_datasets, load_dataset
from lossbench.errors import DataError
from lossbench.runner.trial import run_trial
from lossbench.suite.load import load_suite

Make = Callable[..., Path]


@pytest.fixture
def openings(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """`verify` of each time that a prepared folder is opened."""
    found: list[bool] = []
    load_prepared = loading.load_prepared

    def load(folder: Path, *, verify: bool = True, validation: bool = False) -> object:
        found.append(verify)
        return load_prepared(folder, verify=verify, validation=validation)

    close_datasets()
    monkeypatch.setattr(loading, "load_prepared", load)
    return found


@pytest.mark.parametrize(
    ("requests", "opened"),
    [
        ([True, False, True, False], [True]),
        ([False, False], [False]),
        ([False, True, False, True], [False, True]),  # the check is never skipped
    ],
)
def test_data_set_is_opened_again_only_to_check_its_content(
    make_folder: Make, openings: list[bool], requests: list[bool], opened: list[bool]
) -> None:
    root = make_folder("mine").parent
    loaded = [load_dataset("mine", root, verify=verify) for verify in requests]
    assert openings == opened
    assert len({id(dataset) for dataset in loaded}) == len(opened)


def test_check_and_trial_in_one_process_open_the_data_set_once(
    make_folder: Make, write_suite: Make, openings: list[bool], tmp_path: Path
) -> None:
    root = make_folder("mine").parent
    suite = load_suite(write_suite(), ["dataset=mine", "recipe.epochs=1"])
    trial = check(suite, root).trials[0]
    (tmp_path / "out").mkdir()
    run_trial(trial, data_root=root, artifacts=tmp_path / "out")
    assert openings == [True]


def test_failed_check_is_repeated_and_leaves_nothing_open(
    make_folder: Make, openings: list[bool]
) -> None:
    folder = make_folder("mine")
    load_dataset("mine", folder.parent, verify=False)
    np.save(folder / "test_images.npy", np.zeros((30, 8, 8, 1), np.uint8))
    for _ in range(2):
        with pytest.raises(DataError, match="its sha256 is"):
            load_dataset("mine", folder.parent)
    assert openings == [False, True, True]


def test_closed_data_sets_are_read_again(make_folder: Make, openings: list[bool]) -> None:
    root = make_folder("mine").parent
    load_dataset("mine", root)
    close_datasets()
    load_dataset("mine", root)
    assert openings == [True, True]
