"""A data set with a validation set of its own: `selection` chooses on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lossbench.analysis.tables import make_tables
from lossbench.assembly.build import build
from lossbench.assembly.check import check
from lossbench.data.loading import close_datasets, load_dataset
from lossbench.data.prepared import make_card, save_prepared
from lossbench.data.suite_data import open_trial_data
from lossbench.errors import DataError
from lossbench.gate.from_results import conditions_of, data_of
from lossbench.planning.fairness import audit
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults, final_trials
from lossbench.records import TrialResult
from lossbench.report.remarks import make_remarks
from lossbench.runner.trial import run_trial
from lossbench.suite.load import load_suite
from lossbench.suite.origin import SuiteError
from tests.data.written_tables import of_split, save

Run = Callable[..., tuple[int, str, str]]
SUITE = """\
suite: chosen
dataset: {name: mine}
model: {name: mlp, feature_dim: 2, hidden: [4]}
recipe:
  epochs: 1
  batch_size: 8
  optimizer: {name: sgd, lr: 0.05}
  input: {crop: 8}
seeds: [0]
losses: [lgm: {alpha: {grid: [0.0, 0.3]}}]
selection: {metric: error}
"""
COUNTS = {"train": 10, "val": 4, "test": 6}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for part, count in COUNTS.items():
        for k in "ab":
            folder = tmp_path / "data" / "mine" / part / k
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return tmp_path / "data"


def plan_of(data: Path, *overrides: str) -> Plan:
    (data.parent / "suite.yaml").write_text(SUITE, encoding="utf-8")
    return check(load_suite(data.parent / "suite.yaml", overrides), data)


def test_training_set_is_used_whole_with_a_validation_set(data: Path) -> None:
    plan = plan_of(data)
    assert plan.suite.selection is not None
    assert plan.suite.selection.holdout == "validation"
    [first, _] = plan.trials
    assert first.holdout == "validation"
    assert first.name.endswith("/holdout")
    parts = build(first, open_trial_data(first, data), torch.device("cpu"))
    assert parts.measured is not None
    assert (len(parts.train), len(parts.measured), parts.measured_name) == (20, 8, "holdout")
    final = final_trials(plan, {("default", "lgm"): plan.rows[0]})[0]
    parts = build(final, open_trial_data(final, data), torch.device("cpu"))
    assert parts.measured is not None
    assert (len(parts.train), len(parts.measured), parts.measured_name) == (20, 12, "test")


def test_validation_images_affect_selection_only(data: Path) -> None:
    before = plan_of(data)
    final = final_trials(before, {("default", "lgm"): before.rows[0]})
    assert final[0].data_digest == before.columns["default"].data_digest
    assert {trial.data_digest for trial in before.trials} == {before.table_digest}
    (data / "mine/val/a/0.png").rename(data / "mine/val/a/9.png")
    close_datasets()
    after = plan_of(data)
    assert after.columns["default"].data_digest == before.columns["default"].data_digest
    assert after.table_identity != before.table_identity
    assert [t.identity for t in after.trials] != [t.identity for t in before.trials]
    assert final_trials(after, {("default", "lgm"): after.rows[0]}) == final
    with pytest.raises(DataError, match="but the suite was planned with"):
        open_trial_data(before.trials[0], data)


def test_suite_with_a_share_splits_the_training_set(data: Path) -> None:
    plan = plan_of(data, "selection.holdout=0.2")
    first = plan.trials[0]
    assert (first.holdout, first.data_digest) == (0.2, plan.columns["default"].data_digest)
    assert plan.columns["default"].validation_digest == ""
    parts = build(first, open_trial_data(first, data), torch.device("cpu"))
    assert parts.measured is not None
    assert (len(parts.train), len(parts.measured)) == (16, 4)
    assert "val/ is not used" in plan.columns["default"].facts.notes[0]
    asked = plan_of(data, "selection.holdout=validation")
    assert [t.identity for t in asked.trials] == [t.identity for t in plan_of(data).trials]


def test_temperatures_are_not_fitted_on_images_that_selection_measures(data: Path) -> None:
    fitted = "evaluate=[error, calibration: {temperature: true}]"
    with pytest.raises(SuiteError, match=r"evaluate: calibration: requires a validation set that"):
        plan_of(data, fitted)
    assert plan_of(data, fitted, "selection.holdout=0.2").columns["default"].holdout == 0.2


def test_no_validation_set_without_a_test_folder(data: Path) -> None:
    (data / "mine/test").rename(data / "elsewhere")
    plan = plan_of(data)
    assert [trial.holdout for trial in plan.trials] == [0.2, 0.2]
    assert plan.columns["default"].facts.notes == (
        "val/ (8 images) is the test set: there is no other",
    )
    with pytest.raises(SuiteError, match=r"selection\.holdout: mine has no validation set next to"):
        plan_of(data, "selection.holdout=validation")


def test_selection_uses_the_validation_split_of_tables(tmp_path: Path) -> None:
    parts = {"train": of_split(30, 8), "validation": of_split(6, 8, 1), "test": of_split(9, 8, 2)}
    save(tmp_path / "data" / "mine", **parts)
    plan = plan_of(tmp_path / "data")
    first = plan.trials[0]
    opened = open_trial_data(first, tmp_path / "data")
    parts_of_it = build(first, opened, torch.device("cpu"))
    assert parts_of_it.measured is not None
    assert (len(parts_of_it.train), len(parts_of_it.measured)) == (30, 6)


def test_report_names_both_sets(data: Path, tmp_path: Path) -> None:
    plan = plan_of(data)
    results: dict[str, TrialResult] = {}
    for trial in [*plan.trials, *final_trials(plan, {("default", "lgm"): plan.rows[0]})]:
        folder = tmp_path / trial.identity
        folder.mkdir()
        result = run_trial(trial, data_root=data, artifacts=folder)
        assert f"{'holdout' if trial.holdout else 'test'}_error" in result.history[-1].metrics
        results[trial.identity] = result.model_copy(update={"status": "finished", "reason": ""})
    [choosing, *_] = make_tables(PlanWithResults(plan, results))
    assert choosing.label == "Validation error"
    assert choosing.unit == "% of validation images"
    said = "test/ (12 images) is tested; `selection` chooses on val/ (8 images)"
    assert make_remarks([choosing])[0].findings[0] == f"Data: {said}."
    assert conditions_of(plan).holdout == "validation"
    assert data_of(plan).digest == plan.columns["default"].validation_digest
    assert not [d for d in audit(plan, plan.trials, results) if d.level == "fails"]


@pytest.mark.parametrize("arguments", [("--probe", "0"), ("--audit",)])
def test_plan_and_audit_name_both_sets(data: Path, run: Run, arguments: tuple[str, ...]) -> None:
    (data.parent / "suite.yaml").write_text(SUITE, encoding="utf-8")
    code, out, _ = run("plan", data.parent / "suite.yaml", "--data-root", data, *arguments)
    assert code == 0
    text = " ".join(out.replace("`", "").split())  # wrapped, and marked up or not
    assert "test/ (12 images) is tested; selection chooses on val/ (8 images)" in text


def test_missing_test_classes_reaches_workers_but_not_the_identity(data: Path) -> None:
    plain = plan_of(data)
    asked = plan_of(data, "dataset.missing_test_classes=allow")
    assert [t.identity for t in asked.trials] == [t.identity for t in plain.trials]
    assert asked.table_identity == plain.table_identity
    for part in ("val", "test"):
        (data / "mine" / part / "b").rename(data / f"{part} b")
    close_datasets()
    with pytest.raises(DataError, match="test: has no images for 1 of 2 classes, such as b"):
        plan_of(data)
    plan = plan_of(data, "dataset.missing_test_classes=allow")
    assert "without images in test/: 1 of 2 classes, b" in plan.columns["default"].facts.notes
    for trial in (plan.trials[0], plan.trial(plan.rows[0], "default", 0)):
        parts = build(trial, open_trial_data(trial, data), torch.device("cpu"))
        assert parts.measured is not None
        assert set(parts.measured.labels.tolist()) == {0}


def write_arrays(folder: Path, kind: str, parts: Sequence[str], **changes: Any) -> Path:
    """Arrays of images with their dataset.json, or of vectors without one."""
    random = np.random.default_rng(len(parts))
    arrays: dict[str, np.ndarray] = {}
    for part, count in zip(parts, (30, 9, 6, 3), strict=False):
        if kind == "images":
            arrays[f"{part}_images"] = random.integers(0, 256, (count, 5, 7, 1), dtype=np.uint8)
        else:
            arrays[f"{part}_features"] = random.normal(size=(count, 4)).astype(np.float32)
        arrays[f"{part}_labels"] = np.arange(count) % 3
    arrays |= changes
    if kind == "images":
        save_prepared(folder, arrays, make_card("mine", ["a", "b", "c"], "random", "", arrays))
        return folder
    folder.mkdir()
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return folder


@pytest.mark.parametrize("kind", ["images", "features"])
@pytest.mark.parametrize("name", ["val", "validation", "dev"])
def test_selection_uses_the_validation_set_of_arrays(tmp_path: Path, kind: str, name: str) -> None:
    write_arrays(tmp_path / "mine", kind, ["train", "test", name])
    before, after = (load_dataset("mine", tmp_path, validation=v) for v in (False, True))
    assert set(before.splits) == {"train", "test"}
    assert len(after.splits["validation"].labels) == 6
    assert before.digest == after.digest
    assert after.validation_digest not in ("", after.digest)
    [line] = before.notes
    assert f"{name}_{kind}.npy is not used: `selection`" in line
    [line] = after.notes
    assert f"`selection` chooses on {name}_{kind}.npy (6 " in line
    for file in (tmp_path / "mine").glob(f"{name}_*"):
        file.unlink()
    close_datasets()
    assert load_dataset("mine", tmp_path).digest == before.digest


@pytest.mark.parametrize("kind", ["images", "features"])
def test_validation_set_of_arrays_is_the_test_set_without_one(tmp_path: Path, kind: str) -> None:
    write_arrays(tmp_path / "mine", kind, ["train", "valid"])
    dataset = load_dataset("mine", tmp_path, validation=True)
    assert len(dataset.splits["test"].labels) == 9
    assert "validation" not in dataset.splits
    assert dataset.notes[0].startswith(f"valid_{kind}.npy (9 ")
    assert "is the test set: there is no other" in dataset.notes[0]


@pytest.mark.parametrize(
    ("kind", "name", "array", "expected"),
    [
        ("images", "val_images", np.zeros((6, 7, 5, 1), np.uint8), "images are .* those of train"),
        ("images", "val_labels", np.full(6, 3), "val_labels.npy: labels go from 3 to 3"),
        ("features", "val_features", np.zeros((6, 5), np.float32), "vectors have 5 numbers"),
        ("features", "val_labels", np.arange(5), "5 labels for 6 vectors"),
    ],
)
def test_unsuitable_validation_set_is_refused(
    tmp_path: Path, kind: str, name: str, array: np.ndarray, expected: str
) -> None:
    write_arrays(tmp_path / "mine", kind, ["train", "test", "val"], **{name: array})
    load_dataset("mine", tmp_path)
    with pytest.raises(DataError, match=expected):
        load_dataset("mine", tmp_path, validation=True)


@pytest.mark.parametrize("replaced", [True, False])
def test_images_replaced_during_a_trial_give_no_result(
    data: Path, tmp_path: Path, replaced: bool
) -> None:
    [trial, *_] = plan_of(data).trials

    def replace_one(_: object) -> None:
        if replaced:
            Image.new("RGB", (8, 8)).save(data / "mine/train/b/3.png")

    if not replaced:
        result = run_trial(trial, data_root=data, artifacts=tmp_path, on_epoch=replace_one)
        assert result.identity == trial.identity
        return
    with pytest.raises(DataError, match="were changed while a trial was trained"):
        run_trial(trial, data_root=data, artifacts=tmp_path, on_epoch=replace_one)


CALIBRATION = "evaluate=[error, calibration: {temperature: true}]"


def test_temperature_is_fitted_on_the_validation_set(data: Path, tmp_path: Path) -> None:
    plan = plan_of(data, CALIBRATION, "selection=null")
    [first, _] = plan.trials
    assert first.data_digest == plan.columns["default"].data_digest
    assert plan.columns["default"].validation_digest == ""
    [line] = plan.columns["default"].facts.notes
    assert line == "test/ (12 images) is tested; val/ is only used by calibration"
    parts = build(first, open_trial_data(first, data), torch.device("cpu"))
    assert parts.measured is not None
    assert parts.validation is not None
    assert (len(parts.train), len(parts.measured), len(parts.validation.labels)) == (20, 12, 8)
    result = run_trial(first, data_root=data, artifacts=tmp_path)
    assert "scaled_nll" in result.metrics
    assert list(tmp_path.glob("measurements/*/scaled_reliability.npz"))


def test_temperature_may_be_fitted_if_selection_holds_out_training_images(data: Path) -> None:
    plan = plan_of(data, CALIBRATION, "selection.holdout=0.2")
    assert [trial.holdout for trial in plan.trials] == [0.2, 0.2]
    parts = build(plan.trials[0], open_trial_data(plan.trials[0], data), torch.device("cpu"))
    assert parts.validation is not None
    assert (len(parts.train), len(parts.validation.labels)) == (16, 8)


def test_other_trials_do_not_read_the_validation_set(data: Path) -> None:
    [first, _] = plan_of(data, "evaluate=[error, calibration]", "selection=null").trials
    opened = open_trial_data(first, data)
    assert "validation" not in opened.splits
    assert build(first, opened, torch.device("cpu")).validation is None


def test_validation_images_for_the_temperature_are_part_of_its_identity(data: Path) -> None:
    [before, _] = plan_of(data, CALIBRATION, "selection=null").trials
    (data / "mine/val/a/0.png").rename(data / "mine/val/a/9.png")
    close_datasets()
    [after, _] = plan_of(data, CALIBRATION, "selection=null").trials
    assert after.identity == before.identity
    (error, calibration), (same_error, other) = (
        trial.measurement_identities for trial in (before, after)
    )
    assert (error, calibration != other) == (same_error, True)
    with pytest.raises(DataError, match="with its validation set it has digest"):
        open_trial_data(before, data)


def test_temperature_without_a_separate_validation_set_is_refused(data: Path) -> None:
    with pytest.raises(
        SuiteError, match=r"calibration: requires .* but `selection` measures on it"
    ):
        plan_of(data, CALIBRATION)
    (data / "mine/test").rename(data / "elsewhere")
    close_datasets()
    with pytest.raises(SuiteError, match="calibration: requires a validation set next to the test"):
        plan_of(data, CALIBRATION, "selection=null")
