"""Embeddings that were computed before, and heads that are trained on them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lossbench.assembly.build import build
from lossbench.assembly.check import check
from lossbench.data.images import View
from lossbench.data.loading import find_folder, load_dataset, own_folders
from lossbench.data.vectors import Vectors, load_vectors
from lossbench.models import MODELS
from lossbench.planning.trial import Trial
from lossbench.runner.trial import run_trial
from lossbench.suite.load import load_suite

CPU = torch.device("cpu")


def save(folder: Path, names: tuple[str, ...] = ("train_", "test_"), count: int = 120) -> Path:
    """Three Gaussian classes in six dimensions that are mostly linearly separable."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        labels = np.arange(count) % 3
        random = np.random.default_rng(seed)
        features = 3 * np.eye(6)[labels] + random.normal(size=(count, 6))
        np.save(folder / f"{name}features.npy", features.astype(np.float32))
        np.save(folder / f"{name}labels.npy", labels)
    return folder


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save(tmp_path / "data" / "mine")


def test_vectors_reach_the_head_unchanged(saved: Path, write_suite: Callable[..., Path]) -> None:
    trial = trial_of(write_suite(), saved, "identity")
    parts = build(trial, load_dataset("mine", saved.parent), CPU)
    stored = torch.from_numpy(np.load(saved / "test_features.npy"))
    assert isinstance(parts.measured, Vectors)
    [images] = parts.measured.unaugmented()
    assert torch.equal(parts.training.model(parts.training.normalise(images)), stored)
    [(batch, labels)] = parts.train.augmented([torch.tensor([5, 3])], [], torch.Generator())
    features = parts.training.model(parts.training.normalise(batch))
    assert np.array_equal(features.numpy(), np.load(saved / "train_features.npy")[[5, 3]])
    assert labels.tolist() == [2, 0]


def trial_of(path: Path, folder: Path, model: str, *more: str) -> Trial:
    overrides = ("dataset=mine", f"model={model}", *more)
    return check(load_suite(path, overrides), folder.parent).trials[0]


@pytest.mark.parametrize(
    ("model", "loss"),
    [("identity", "softmax"), ("identity", "lgm"), ("{name: mlp, hidden: [8]}", "lgm")],
)
def test_heads_are_trained_on_vectors(
    saved: Path, tmp_path: Path, write_suite: Callable[..., Path], model: str, loss: str
) -> None:
    trial = trial_of(write_suite(), saved, model, f"losses=[{loss}]", "recipe.epochs=20")
    result = run_trial(trial, data_root=saved.parent, artifacts=tmp_path)
    assert result.status == "finished"
    assert result.metrics["error"] < 15
    drawn = tmp_path / "embedding.npz"
    assert drawn.exists() == ("mlp" in model)
    if drawn.exists():  # nothing is attacked, since there are no pixels
        assert "adversarial" not in np.load(drawn)
        assert "log_density" in np.load(drawn)


def test_folder_without_splits_is_split_deterministically(tmp_path: Path) -> None:
    dataset = load_vectors(save(tmp_path / "one", ("",)))
    train, test = dataset.splits["train"], dataset.splits["test"]
    assert np.bincount(train.labels).tolist() == [32] * 3
    assert np.bincount(test.labels).tolist() == [8] * 3
    assert dataset.card.note == (
        "no split of its own: 96 train, 24 test, the same share of each class"
    )
    again = load_vectors(save(tmp_path / "two", ("",)))
    assert again.digest == dataset.digest
    parts = [
        next(split.to_device(CPU, View()).unaugmented())
        for split in (test, again.splits["test"], train)
    ]
    assert torch.equal(parts[0], parts[1])
    stored = np.load(tmp_path / "one" / "features.npy")
    rows = torch.cat([parts[0], parts[2]]).flatten(1)
    assert np.array_equal(np.sort(rows.numpy(), 0), np.sort(stored, 0))


def test_dataset_json_is_optional_and_names_the_classes(saved: Path) -> None:
    plain = load_vectors(saved)
    assert plain.card.class_names == ["0", "1", "2"]
    assert find_folder("mine", saved.parent) == saved
    assert own_folders(saved.parent) == [saved]
    said = {"name": "birds", "class_names": ["a", "b", "c", "d"], "sha256": plain.card.sha256}
    (saved / "dataset.json").write_text(json.dumps(said), encoding="utf-8")
    named = load_vectors(saved)
    assert (named.card.name, named.card.num_classes) == ("birds", 4)
    assert named.digest == plain.digest == load_vectors(saved, verify=False).digest
    assert named.restricted([2, 1]).splits["test"].to_device(CPU, View()).are_pixels is False


def test_digest_depends_on_the_content(saved: Path, tmp_path: Path) -> None:
    first = load_vectors(saved).digest
    features = np.load(saved / "test_features.npy")
    features[3, 3] += 1
    np.save(saved / "test_features.npy", features)
    assert load_vectors(saved).digest != first
    assert load_vectors(save(tmp_path / "other", ("",))).digest != first


def test_an_mlp_is_linear_layers_with_relus() -> None:
    model = MODELS["mlp"].create((5, 1, 1), feature_dim=2, hidden=[4, 3])
    weights = [tuple(p.shape) for p in model.parameters()]
    assert weights == [(4, 5), (4,), (3, 4), (3,), (2, 3), (2,)]
    x = torch.randn(7, 5)
    out = x
    for index, (w, b) in enumerate(zip(*[iter(model.parameters())] * 2, strict=True)):
        out = F.linear(out.relu() if index else out, w, b)
    torch.testing.assert_close(model(x[..., None, None]), out)
    linear = MODELS["mlp"].create((3, 4, 4), feature_dim=6)
    assert [tuple(p.shape) for p in linear.parameters()] == [(6, 48), (6,)]
    assert MODELS["identity"].create((3, 4, 4)).feature_dim == 48
