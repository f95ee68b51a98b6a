"""Label noise, imbalance and sizes of a suite, from the suite file to the numbers of a training."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lossbench.assembly.build import build
from lossbench.assembly.check import check
from lossbench.data.loading import load_dataset
from lossbench.data.prepared import array_digest, make_card, save_prepared
from lossbench.data.trial_splits import choose_splits
from lossbench.errors import DataError
from lossbench.gate.baseline import Conditions
from lossbench.gate.from_results import conditions_of
from lossbench.planning.plan import Plan
from lossbench.planning.plan_file import PlanRecord, plan_record
from lossbench.planning.plan_file import plan_of as plan_of_record
from lossbench.planning.portable import portable_plan, portable_trial
from lossbench.planning.selection import PlanWithResults
from lossbench.report.facts import gather_facts
from lossbench.runner.trial import run_trial
from lossbench.suite.load import load_suite
from lossbench.suite.origin import SuiteError
from lossbench.tracking.names import changed_sources, params
from tests.data.slow_conditions import slow_asymmetric, slow_sizes, slow_subset, slow_symmetric

SUITE = """\
suite: conditions
dataset: {name: mine}
model: {name: mlp, feature_dim: 2, hidden: [8]}
recipe:
  epochs: 2
  batch_size: 16
  optimizer: {name: sgd, lr: 0.05}
seeds: [0]
losses: [softmax]
evaluate: [error, balanced_error, class_separation]
"""
COUNTS = (40, 31, 22, 30)
NAMES = ["cat", "dog", "ox", "bee"]


def write_data(root: Path, name: str, labels: np.ndarray, images: np.ndarray) -> None:
    random = np.random.default_rng(1)
    arrays = {
        "train_images": images,
        "train_labels": labels,
        "test_images": random.integers(0, 256, (24, 4, 4, 1), dtype=np.uint8),
        "test_labels": np.arange(24) % 4,
    }
    save_prepared(root / name, arrays, make_card(name, NAMES, "random", "", arrays))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    labels = random.permutation(np.repeat(np.arange(4), COUNTS))
    images = random.integers(0, 256, (len(labels), 4, 4, 1), dtype=np.uint8)
    images[:, 0, :, 0] = labels[:, None] * 60  # so that something can be learned
    write_data(tmp_path / "data", "mine", labels, images)
    return tmp_path / "data"


def plan_of(data: Path, dataset: Mapping[str, Any], *overrides: str) -> Plan:
    (data.parent / "suite.yaml").write_text(SUITE, encoding="utf-8")
    keys = [f"dataset.{key}={value}" for key, value in dataset.items()]
    return check(load_suite(data.parent / "suite.yaml", [*keys, *overrides]), data)


def metrics_of(plan: Plan, data: Path, artifacts: Path) -> list[Any]:
    found = []
    for number, trial in enumerate(plan.trials):
        folder = artifacts / str(number)
        folder.mkdir(parents=True)
        result = run_trial(trial, data_root=data, artifacts=folder)
        assert not result.failures
        history = [record.metrics | {"train_time_sec": 0} for record in result.history]
        found.append((result.metrics, result.weights_digest, history))
    return found


Labels = list[int]
Made = tuple[Labels, Labels]
"""Indices of the images that are kept, and their labels."""


def _symmetric(labels: Labels) -> Made:
    return [*range(len(labels))], slow_symmetric(labels, 4, 0.4, seed=0)


def _asymmetric(labels: Labels) -> Made:
    return [*range(len(labels))], slow_asymmetric(labels, {0: 1, 1: 0}, 0.3)


def _long_tail_then_symmetric(labels: Labels) -> Made:
    kept = slow_subset(labels, slow_sizes([*COUNTS], "long_tail", 5))
    return kept, slow_symmetric([labels[i] for i in kept], 4, 0.3, seed=2)


def _per_class_then_step(labels: Labels) -> Made:
    first = slow_subset(labels, [20] * 4)
    second = slow_subset([labels[i] for i in first], [20, 20, 10, 10], seed=1)
    kept = [first[i] for i in second]
    return kept, [labels[i] for i in kept]


CONDITIONS: list[tuple[dict[str, Any], Callable[[Labels], Made]]] = [
    ({"label_noise": "{symmetric: 0.4}"}, _symmetric),
    (
        {"label_noise": "{asymmetric: {rate: 0.3, map: {cat: dog, dog: cat}, unmapped: keep}}"},
        _asymmetric,
    ),
    (
        {"imbalance": "{long_tail: 5}", "label_noise": "{symmetric: 0.3, seed: 2}"},
        _long_tail_then_symmetric,
    ),
    ({"per_class": 20, "imbalance": "{step: 2, seed: 1}"}, _per_class_then_step),
]
FURTHER = {
    "all": [],
    "train_size": ["dataset.train_size=40"],
    "selection": ["selection={holdout: 0.25}"],
}


CASES = [
    pytest.param(conditions, by_hand, further, id=f"{by_hand.__name__}-{further}")
    for conditions, by_hand in CONDITIONS
    for further in FURTHER
    if further != "train_size" or "per_class" not in conditions  # refused together
]


@pytest.mark.parametrize(("conditions", "by_hand", "further"), CASES)
def test_a_data_set_made_by_hand_gives_the_same_trainings(
    data: Path,
    tmp_path: Path,
    conditions: dict[str, Any],
    by_hand: Callable[[Labels], Made],
    further: str,
) -> None:
    train = load_dataset("mine", data).splits["train"]
    kept, labels = by_hand(train.labels.tolist())
    images = train.images[kept]  # type: ignore[attr-defined]
    write_data(data, "by_hand", np.array(labels), images)
    plan = plan_of(data, conditions, *FURTHER[further])
    other = plan_of(data, {"name": "by_hand"}, *FURTHER[further])
    own = metrics_of(plan, data, tmp_path / "own")
    assert own == metrics_of(other, data, tmp_path / "by_hand")
    assert own != metrics_of(plan_of(data, {}, *FURTHER[further]), data, tmp_path / "plain")
    counts = [each.columns["default"].facts.class_counts for each in (plan, other)]
    assert counts[0] == counts[1]


def test_rate_0_is_no_noise(data: Path, tmp_path: Path) -> None:
    plain, zero = plan_of(data, {}), plan_of(data, {"label_noise": "{symmetric: 0}"})
    assert [t.identity for t in zero.trials] == [t.identity for t in plain.trials]
    own = metrics_of(zero, data, tmp_path / "zero")
    assert own == metrics_of(plain, data, tmp_path / "plain")


def write_labels(data: Path, **more: Any) -> np.ndarray:
    true = np.array(load_dataset("mine", data).splits["train"].labels)
    noisy = np.random.default_rng(3).integers(0, 4, len(true))
    torch.save({"clean_label": true, "worse_label": noisy} | more, data / "human.pt")
    return noisy


FROM_FILE = "{from: human.pt, key: worse_label}"


@pytest.mark.parametrize("further", FURTHER)
def test_labels_from_a_file_give_the_trainings_of_a_data_set_with_them(
    data: Path, tmp_path: Path, further: str
) -> None:
    noisy = write_labels(data)
    train = load_dataset("mine", data).splits["train"]
    write_data(data, "by_hand", noisy, train.images)  # type: ignore[attr-defined]
    plan = plan_of(data, {"label_noise": FROM_FILE}, *FURTHER[further])
    other = plan_of(data, {"name": "by_hand"}, *FURTHER[further])
    own = metrics_of(plan, data, tmp_path / "own")
    assert own == metrics_of(other, data, tmp_path / "by_hand")


def test_labels_from_a_file_with_an_imbalance_by_true_labels(data: Path) -> None:
    noisy = write_labels(data)
    plan = plan_of(data, {"label_noise": FROM_FILE, "imbalance": "{step: 2}"})
    mine = load_dataset("mine", data)
    true = mine.splits["train"].labels
    kept = slow_subset(true.tolist(), slow_sizes([*COUNTS], "step", 2))
    found = choose_splits(mine, plan.suite.dataset, 0.0)["train"].labels
    assert found.tolist() == noisy[kept].tolist()
    wrong = int((noisy[kept] != true[kept]).sum())
    assert plan.notes == (
        "imbalance: step 2, 31 to 15 images per class, 92 in all, seed 0",
        f"label noise: worse_label of human.pt ({wrong} of {len(kept)} training labels are wrong)",
    )


def test_the_content_of_a_file_identifies_the_training_not_its_place(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noisy = write_labels(data)
    [trial] = plan_of(data, {"label_noise": FROM_FILE}).trials
    monkeypatch.chdir(tmp_path)
    np.save("own.npy", noisy)
    [by_path] = plan_of(data, {"label_noise": "{from: ./own.npy}"}).trials
    assert by_path.identity == trial.identity
    assert by_path.dataset.label_noise is not None
    assert by_path.dataset.label_noise.file == str(tmp_path.resolve() / "own.npy")
    assert str(tmp_path) not in portable_trial(by_path).dataset.model_dump_json()
    assert portable_trial(by_path).identity == trial.identity
    monkeypatch.chdir("/")
    run_trial(by_path, data_root=data, artifacts=tmp_path)
    noisy[5] = (noisy[5] + 1) % 4
    np.save(tmp_path / "own.npy", noisy)
    with pytest.raises(DataError, match=r"own\.npy: its labels have digest \w+, but the suite was"):
        run_trial(by_path, data_root=data, artifacts=tmp_path)
    (tmp_path / "own.npy").unlink()
    with pytest.raises(DataError, match=r"own\.npy: no such file"):
        run_trial(by_path, data_root=data, artifacts=tmp_path)
    write_labels(data, worse_label=noisy)
    [changed] = plan_of(data, {"label_noise": FROM_FILE}).trials
    assert changed.identity != trial.identity


def test_held_out_images_are_measured_by_noisy_or_clean_labels(data: Path) -> None:
    keys = {"label_noise": "{symmetric: 0.4}"}
    noisy = plan_of(data, keys, "selection={holdout: 0.25}")
    clean = plan_of(data, keys, "selection={holdout: 0.25, holdout_labels: clean}")
    assert {t.identity for t in noisy.trials}.isdisjoint(t.identity for t in clean.trials)
    assert noisy.table_identity != clean.table_identity
    assert noisy.notes[-1].endswith("; the held-out part is evaluated with its noisy labels")
    assert clean.notes[-1].endswith("; the held-out part is evaluated with its true labels")
    mine, cpu = load_dataset("mine", data), torch.device("cpu")
    parts = [build(plan.trials[0], mine, cpu) for plan in (noisy, clean)]
    true, observed = (
        choose_splits(mine, plan.suite.dataset, 0.25, which)["measured"].labels
        for plan, which in ((clean, "clean"), (noisy, "noisy"))
    )  # type: ignore[arg-type]
    for part, labels in zip(parts, (observed, true), strict=True):
        assert part.measured is not None
        assert part.measured.labels.tolist() == labels.tolist()
    assert (true != observed).sum() > 5
    assert torch.equal(parts[0].train.labels, parts[1].train.labels)
    plain = mine.splits["train"]
    pairs = {bytes(i): k for i, k in zip(plain.images, plain.labels, strict=True)}  # type: ignore[attr-defined]
    measured = choose_splits(mine, clean.suite.dataset, 0.25, "clean")["measured"]
    assert [pairs[bytes(i)] for i in measured.images] == true.tolist()  # type: ignore[attr-defined]


def test_test_and_validation_set_keep_their_images_and_labels(data: Path) -> None:
    for split in ("images", "labels"):
        array = np.load(data / f"mine/test_{split}.npy")
        np.save(data / f"mine/val_{split}.npy", array[:12])
    card = json.loads((data / "mine/dataset.json").read_text(encoding="utf-8"))
    for name in ("val_images", "val_labels"):
        card["sha256"][name] = array_digest(np.load(data / f"mine/{name}.npy"))
    (data / "mine/dataset.json").write_text(json.dumps(card), encoding="utf-8")
    keys = {"label_noise": "{symmetric: 0.6}", "imbalance": "{step: 4}"}
    plan = plan_of(data, keys, "selection={metric: error}")
    assert plan.suite.selection is not None
    assert plan.suite.selection.holdout == "validation"
    mine = load_dataset("mine", data, validation=True)
    for holdout, split in ((0.0, "test"), ("validation", "validation")):
        measured = choose_splits(mine, plan.suite.dataset, holdout)["measured"]  # type: ignore[arg-type]
        assert measured.labels.tolist() == mine.splits[split].labels.tolist()
    for holdout in ("", "holdout: validation, "):
        with pytest.raises(SuiteError, match=r"holdout_labels: the validation set keeps"):
            plan_of(data, keys, f"selection={{{holdout}holdout_labels: noisy}}")
    plan_of(data, keys, "selection={holdout: validation, holdout_labels: clean}")
    plan_of(data, keys, "selection={holdout: 0.3, holdout_labels: noisy}")


def test_an_archive_and_a_baseline_have_the_conditions(data: Path) -> None:
    noisy = write_labels(data)
    np.save(data.parent / "own.npy", noisy)
    keys = {
        "label_noise": f"{{from: {data.parent}/own.npy}}",
        "imbalance": "{long_tail: 2}",
    }
    plan = plan_of(data, keys, "selection={holdout: 0.2, holdout_labels: clean}")
    record = plan_record(portable_plan(plan)).model_dump_json()
    assert str(data.parent) not in record
    again = plan_of_record(PlanRecord.model_validate_json(record))
    assert again.trials == tuple(map(portable_trial, plan.trials))
    assert again.table_identity == plan.table_identity
    conditions = conditions_of(plan)
    assert conditions == Conditions.model_validate_json(conditions.model_dump_json())
    sizes = {"classes": None, "train_size": None, "test_size": None}
    assert conditions.variants["default"].dataset == {
        **sizes,
        "imbalance": {"long_tail": 2.0, "seed": 0},
        "label_noise": {"digest": plan.suite.dataset.label_noise.digest},  # type: ignore[union-attr]
        "holdout_labels": "clean",
    }
    other = conditions_of(plan_of(data, {"imbalance": "{long_tail: 3}"}))
    imbalance = {"imbalance": {"long_tail": 3.0, "seed": 0}}
    assert other.variants["default"].dataset == {**sizes, **imbalance}
    plain = conditions_of(plan_of(data, {}))
    assert "dataset" not in plain.model_dump()["variants"]["default"]
    assert plain.digest != conditions.digest
    facts = gather_facts(PlanWithResults(plan, {}), "report")
    assert facts.dataset == "mine (long tail 2; label noise: labels of own.npy)"
    assert "'digest'" not in facts.suite_yaml
    assert "digest: " in facts.suite_yaml


def test_a_change_of_a_condition_is_no_change_of_code(data: Path) -> None:
    """A stored trial with other conditions, or without, is another training."""
    [noisy] = plan_of(data, {"label_noise": "{symmetric: 0.4}", "imbalance": "{step: 2}"}).trials
    [plain] = plan_of(data, {}).trials
    edited = {"loss softmax": "a"}
    for trial in (noisy, plain):
        other = trial.model_copy(update={"sources": edited})
        assert changed_sources(
            other, params(trial.model_copy(update={"sources": {"loss softmax": "b"}}))
        )
    changes = [
        {},
        {"per_class": 3},
        {"imbalance": "{step: 2}"},
        {"label_noise": "{symmetric: 0.4}"},
    ]
    for keys in changes:
        [other] = plan_of(data, keys).trials
        other = other.model_copy(update={"sources": edited})
        stored = params(noisy.model_copy(update={"sources": {"loss softmax": "b"}}))
        assert changed_sources(other, stored) == set()
