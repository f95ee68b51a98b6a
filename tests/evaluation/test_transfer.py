"""The linear classifier against a slow minimisation of its objective, and the data it may read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax
from torch import nn

from lossbench.data.dataset import Dataset
from lossbench.data.images import ArrayImages, View
from lossbench.data.loading import load_dataset
from lossbench.data.sampling import split_off
from lossbench.errors import NotFiniteError, ParameterError
from lossbench.evaluation import EVALUATIONS, transfer
from lossbench.evaluation.base import Trained
from lossbench.evaluation.transfer import Transfer, best_c, probe_error
from tests.evaluation.trained_model import SCALE, make_head

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


def slow_probe(c: float, x: Floats, z: Labels, test_x: Floats) -> Labels:
    """Predictions of a logistic regression, by numerical minimisation with its gradient."""
    mean, std = x.mean(0), x.std(0)
    x, test_x = (x - mean) / std, (test_x - mean) / std
    count, classes = x.shape[1], int(z.max()) + 1

    def objective(flat: Floats) -> tuple[float, Floats]:
        w, b = flat[: classes * count].reshape(classes, count), flat[classes * count :]
        scores = log_softmax(x @ w.T + b, axis=1)
        value = 0.5 * (w**2).sum() - c * scores[np.arange(len(z)), z].sum()
        slope = np.exp(scores)
        slope[np.arange(len(z)), z] -= 1
        return value, np.concatenate([(w + c * slope.T @ x).ravel(), c * slope.sum(0)])

    start = np.zeros(classes * (count + 1))
    options = {"gtol": 1e-4, "ftol": 1e-12, "maxiter": 10_000, "maxfun": 10_000}
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options=options).x
    w, b = found[: classes * count].reshape(classes, count), found[classes * count :]
    return np.asarray((test_x @ w.T + b).argmax(1))


def random_features(count: int, seed: int = 0) -> tuple[Floats, Labels]:
    """Three overlapping classes in four dimensions with very different scales."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    centres = np.array([[0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 1]])
    features = centres[labels] + random.normal(0, 0.8, (count, 4))
    return features * [1, 100, 0.01, 1] + [5, 0, 0, -3], labels


@pytest.mark.parametrize("c", [0.001, 0.1, 10.0])
def test_probe_agrees_with_a_slow_minimisation(c: float) -> None:
    (x, z), (test_x, test_z) = random_features(150), random_features(200, seed=1)
    expected = 100 * float((slow_probe(c, x, z, test_x) != test_z).mean())
    assert probe_error(c, x, z, test_x, test_z) == pytest.approx(expected, abs=0.51)  # one image
    assert 10 < expected < 60


def test_c_is_the_best_on_the_held_out_part() -> None:
    x, z = random_features(90)
    x = np.concatenate([x, np.random.default_rng(2).normal(size=(90, 30))], 1)  # noise to overfit
    candidates = [1.0, 0.001, 0.01, 100.0]
    rest, off = split_off(z, 0.2)
    errors = {c: (slow_probe(c, x[rest], z[rest], x[off]) != z[off]).mean() for c in candidates}
    assert len(set(errors.values())) > 1
    best = min(errors.values())
    assert best_c(x, z, candidates) == min(c for c in candidates if errors[c] == best)


def two_sets(make_folder: Callable[..., Path], channels: int = 1) -> tuple[Trained, Dataset]:
    """A random network for the images of the folder `mine`."""
    root = make_folder("mine", channels=channels).parent
    dataset = load_dataset("mine", root)
    images = dataset.splits["train"].to_device(torch.device("cpu"), View())
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(channels * 64, 16), nn.Tanh())
    return Trained(model, make_head("softmax"), SCALE, images, None, root, seed=0), dataset


def test_error_on_another_data_set_equals_that_of_the_slow_minimisation(
    make_folder: Callable[..., Path],
) -> None:
    trained, dataset = two_sets(make_folder)
    evaluation = Transfer(dataset="digits", train_size=300, test_size=100, c=[0.01, 1.0])
    assert evaluation.check(dataset, View(), trained.data_root).keys() == {"digits"}
    [(name, found)] = evaluation(trained).values.items()
    assert name == "transfer_digits_error"
    digits = load_dataset("digits", trained.data_root)
    arrays = {}
    for part, size in (("train", 300), ("test", 100)):
        split = evaluation._subset(digits, part)
        assert len(split.labels) == size
        [pixels] = split.to_device(torch.device("cpu"), View()).unaugmented()
        with torch.no_grad():
            arrays[part] = trained.model((pixels.float() - 100) / 50).double().numpy(), split.labels
    (x, z), (test_x, test_z) = arrays["train"], arrays["test"]
    errors = []
    for c in (0.01, 1.0):
        rest, off = split_off(z, 0.2)
        errors.append((slow_probe(c, x[rest], z[rest], x[off]) != z[off]).mean())
    assert errors[0] != errors[1]
    chosen = (0.01, 1.0)[int(errors[1] < errors[0])]
    expected = 100 * (slow_probe(chosen, x, z, test_x) != test_z).mean()
    assert found == pytest.approx(expected, abs=1.01)  # one image
    assert 5 < found < 60


def test_the_test_set_does_not_take_part_in_the_choice(
    make_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, _ = two_sets(make_folder)
    seen: list[Labels] = []

    def recording(features: Floats, labels: Labels, candidates: list[float]) -> float:
        seen.append(labels)
        return candidates[0]

    monkeypatch.setattr(transfer, "best_c", recording)
    Transfer(dataset="digits", train_size=None)(trained)
    [labels] = seen
    train = load_dataset("digits", trained.data_root).splits["train"].labels
    np.testing.assert_array_equal(labels, train)


def test_measuring_twice_gives_the_same_value(make_folder: Callable[..., Path]) -> None:
    trained, _ = two_sets(make_folder)
    evaluation = Transfer(dataset="digits", train_size=200, c=[0.1, 1.0])
    first = evaluation(trained).values
    torch.rand(3)
    assert evaluation(replace(trained, seed=4)).values == first


@pytest.mark.parametrize(
    ("other", "params", "message"),
    [
        ({"channels": 4}, {}, "only 1 and 3 can be converted"),
        ({"train": 60}, {}, "other is the data set that the suite trains on"),
        ({"classes": 4}, {"train_size": 3}, "train_size: 3 of 63 images are fewer than the 4"),
        ({"classes": 4}, {"test_size": 2}, "test_size: 2 of 30 images are fewer than the 4"),
        (
            {"classes": 20, "train": 21},
            {},
            "other: .* holds out 5, fewer than the 20 classes; a fifth",
        ),
    ],
)
def test_unsuitable_data_are_refused_before_the_training(
    make_folder: Callable[..., Path],
    other: dict[str, int],
    params: dict[str, int],
    message: str,
) -> None:
    root = make_folder("mine").parent
    make_folder("other", **{"train": 63, **other})
    with pytest.raises(ValueError, match=message):
        Transfer(dataset="other", **params).check(load_dataset("mine", root), View(), root)  # type: ignore[arg-type]


def test_colour_is_converted(make_folder: Callable[..., Path]) -> None:
    trained, dataset = two_sets(make_folder, channels=3)
    evaluation = Transfer(dataset="digits", train_size=100, test_size=50, c=[0.1])
    evaluation.check(dataset, View(), trained.data_root)
    assert 0 <= evaluation(trained).values["transfer_digits_error"] <= 100


def test_features_that_are_not_finite_are_refused(make_folder: Callable[..., Path]) -> None:
    trained, _ = two_sets(make_folder)
    broken = nn.Sequential(trained.model, nn.Threshold(2.0, float("nan")))
    with pytest.raises(NotFiniteError, match="train set of digits"):
        Transfer(dataset="digits")(replace(trained, model=broken))


def test_wrong_parameters_are_refused() -> None:
    for params in ({}, {"dataset": "digits", "c": []}, {"dataset": "digits", "c": [0.0]}):
        with pytest.raises(ParameterError):
            EVALUATIONS["transfer"].create(**params)


def test_images_are_those_of_the_view() -> None:
    """The size of the model's input is that of the training images after resizing and crop."""
    torch.manual_seed(0)
    images = ArrayImages(
        torch.zeros(4, 9, 9, 1, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64), View(crop=6)
    )
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 5))
    trained = Trained(model, make_head("softmax"), SCALE, images, None, Path(), seed=0)
    found = Transfer(dataset="digits", train_size=100, test_size=50, c=[0.1])(trained)
    assert 0 < found.values["transfer_digits_error"] < 100
