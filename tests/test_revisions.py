"""Only trainings whose numbers have changed get another identity."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from lossbench.assembly import check
from lossbench.data.chosen import data_facts
from lossbench.data.images import View
from lossbench.data.sources import load_dataset
from lossbench.plan import Plan
from lossbench.suite import load_suite

Write = Callable[..., Path]
NOWHERE = Path("/nonexistent/data")


def laid_out(path: Path, *overrides: str, root: Path = NOWHERE) -> Plan:
    return check(load_suite(path, overrides), root)


def test_a_revision_is_part_of_the_identity_only_where_there_is_one(write_suite: Write) -> None:
    trial = laid_out(write_suite()).trials[0]
    assert trial.revisions == {}
    again = trial.model_copy(update={"revisions": {"central crop": 2}})
    assert again.identity != trial.identity
    assert again.model_copy(update={"revisions": {}}).identity == trial.identity
    stored = trial.model_dump(mode="json", exclude={"revisions"})
    assert type(trial).model_validate_json(trial.model_dump_json()).identity == trial.identity
    assert "revisions" not in stored


@pytest.mark.parametrize(
    ("size", "touched"),
    [
        ("crop: 8", False),
        ("crop: 7", False),
        ("crop: 6", False),
        ("crop: 5", True),
        ("crop: 4", False),
        ("resize: 12, crop: 8", False),
        ("resize: 11, crop: 8", True),
        ("resize: 11", False),
    ],
)
def test_the_central_crop_touches_odd_margins(write_suite: Write, size: str, touched: bool) -> None:
    trial = laid_out(write_suite(), f"recipe.input={{{size}}}").trials[0]
    assert trial.revisions == ({"central crop": 2} if touched else {})


def test_the_central_crop_touches_images_of_different_sizes(tmp_path: Path) -> None:
    for split, k, number in [(s, k, n) for s in ("train", "val") for k in "ab" for n in range(3)]:
        path = tmp_path / "own" / split / k / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20 + number, 24)).save(path)
    dataset = load_dataset(str(tmp_path / "own"), tmp_path)
    assert data_facts(dataset, View(resize=12, crop=12)).crop_margins is None


def test_the_central_crop_touches_evaluations_on_other_images(
    write_suite: Write, make_folder: Callable[..., Path], make_faces: Callable[..., None]
) -> None:
    root = make_folder("mine", side=11).parent
    make_faces(root / "lfw", side=19)
    colour = make_folder("colour", side=17, channels=3)
    model = "model={name: face_resnet, feature_dim: 2}"
    view = "recipe.input={crop: 16}"
    verified = "evaluate=[verification: {folds: [1, 2]}]"
    data = f"dataset={colour}"
    assert laid_out(write_suite(), data, model, view, root=root).trials[0].revisions == {}
    found = laid_out(write_suite(), data, model, view, verified, root=root).trials[0]
    assert found.revisions == {"central crop": 2}
    squares = "evaluate=[error, other_images: {dataset: mine}]"  # no margin: both are square
    assert laid_out(write_suite(), squares, root=root).trials[0].revisions == {}
