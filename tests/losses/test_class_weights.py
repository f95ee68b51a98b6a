"""Class weights of softmax, focal loss and label smoothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from lossbench import create_loss
from lossbench.assembly.check import check
from lossbench.errors import LossbenchError, ParameterError
from lossbench.losses import LOSSES, TrainingFacts
from lossbench.losses.class_counts import balanced_weights, class_balanced_weights
from lossbench.suite.load import load_suite

COUNTS = [300, 40, 5, 1]
NAMES = ["softmax", "focal", "label_smoothing"]
FACTS = TrainingFacts(torch.tensor(COUNTS), epochs=1)


def make(name: str, **params: Any) -> Any:
    torch.manual_seed(0)
    head = create_loss(name, num_classes=4, feature_dim=3, **params).double()
    head.prepare(FACTS)
    return head


def loss_of_image(name: str, p: list[Tensor], z: int) -> Tensor:
    """Loss of one image with posterior p, without weight, at the default parameters."""
    if name == "focal":
        return -((1 - p[z]) ** 2) * torch.log(p[z])
    if name == "label_smoothing":
        wanted = [0.9 * (k == z) + 0.1 / 4 for k in range(4)]
        return -sum((w * torch.log(q) for w, q in zip(wanted, p, strict=True)), torch.tensor(0.0))
    return -torch.log(p[z])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("params", "weights"),
    [
        ({"class_weights": "balanced"}, [346 / (4 * n) for n in COUNTS]),
        ({"class_weights": [1, 0.5, 2.25, 8.0]}, [1, 0.5, 2.25, 8.0]),
        (
            {"class_weights": "class_balanced", "class_balanced_beta": 0.99},
            [
                4 * (0.01 / (1 - 0.99**n)) / sum(0.01 / (1 - 0.99**m) for m in COUNTS)
                for n in COUNTS
            ],
        ),
    ],
    ids=["balanced", "list", "class_balanced"],
)
def test_value_and_gradients(
    assert_same_as: Callable[..., None], name: str, params: dict[str, Any], weights: list[float]
) -> None:
    head = make(name, **params)

    def reference(features: Tensor, labels: Tensor) -> Tensor:
        total = torch.tensor(0.0).double()
        for x, z in zip(features, labels.tolist(), strict=True):
            scores = [w @ x + b for w, b in zip(head.linear.weight, head.linear.bias, strict=True)]
            whole = torch.stack([s.exp() for s in scores]).sum()
            total = total + weights[z] * loss_of_image(name, [s.exp() / whole for s in scores], z)
        return total / len(labels)

    features, labels = torch.randn(9, 3).double(), torch.arange(9) % 4
    assert_same_as(head, features, labels, reference)


@pytest.mark.parametrize("name", NAMES)
def test_gradcheck(name: str) -> None:
    head = make(name, class_weights="balanced")
    features, labels = torch.randn(5, 3).double().requires_grad_(), torch.randint(4, (5,))
    assert torch.autograd.gradcheck(lambda x: head(x, labels), (features,))


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    labels = [k for k, n in enumerate(COUNTS) for _ in range(n)]
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    found = balanced_weights(torch.tensor(COUNTS))
    torch.testing.assert_close(found, torch.as_tensor(expected), rtol=1e-14, atol=0)


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.9999, 1 - 1e-12])
def test_class_balanced_weights_are_between_equal_and_inverse_counts(beta: float) -> None:
    counts = torch.tensor([5000, 500, 50, 1])
    weights = class_balanced_weights(counts, beta)
    assert float(weights.sum()) == pytest.approx(4, rel=1e-12)
    effective = torch.tensor(
        [sum(beta**i for i in range(int(n))) for n in counts], dtype=torch.double
    )
    expected = 4 * effective.reciprocal() / effective.reciprocal().sum()
    torch.testing.assert_close(weights, expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_identities_without_class_weights_are_those_of_earlier_versions(name: str) -> None:
    own = {"softmax": {}, "focal": {"gamma": 2.0}, "label_smoothing": {"smoothing": 0.1}}[name]
    entry = LOSSES[name]
    assert entry.resolve({}) == own
    assert entry.resolve({"class_weights": None, "class_balanced_beta": 0.9999}) == own
    chosen = entry.resolve({"class_weights": "balanced"})
    assert chosen == {**own, "class_weights": "balanced"}
    head = make(name)
    assert set(head.state_dict()) == {"linear.weight", "linear.bias"}
    assert head.needs == frozenset()


def test_only_weights_that_are_made_of_counts_need_them() -> None:
    assert make("softmax", class_weights="class_balanced").needs == {"class_counts"}
    head = create_loss("softmax", num_classes=2, feature_dim=3, class_weights=[1.0, 3.0])
    assert head.needs == frozenset()
    assert head(torch.randn(2, 3), torch.tensor([0, 1])).isfinite()  # without `prepare`


@pytest.mark.parametrize("value", ["balanced", "class_balanced", [1.0, 2.0]])
def test_unprepared_weights_are_not_left_out_silently(value: Any) -> None:
    head = create_loss("softmax", num_classes=4, feature_dim=3, class_weights=value)
    with pytest.raises(RuntimeError, match="call prepare"):
        head(torch.randn(2, 3), torch.tensor([0, 1]))


@pytest.mark.parametrize("value", ["balanced", "class_balanced"])
@pytest.mark.parametrize("name", NAMES)
def test_a_class_without_images_is_refused(name: str, value: str) -> None:
    head = create_loss(name, num_classes=3, feature_dim=3, class_weights=value)
    with pytest.raises(ParameterError, match=rf"{name}: class_weights: .*class 1 has none"):
        head.prepare(TrainingFacts(torch.tensor([4, 0, 3]), epochs=1))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"class_weights": "blanced"}, "class_weights: .*'balanced' or 'class_balanced'"),
        ({"class_weights": [1.0, 0.0, 1.0, 1.0]}, "class_weights: .*greater than 0"),
        ({"class_weights": [1.0, float("inf"), 1.0, 1.0]}, "class_weights: "),
        ({"class_balanced_beta": 0.9}, "class_balanced_beta: .*if class_weights is class_balanced"),
        ({"class_weights": "class_balanced", "class_balanced_beta": 1.0}, "less than 1"),
    ],
)
def test_wrong_values_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        make("softmax", **params)


def test_a_list_of_the_wrong_length_names_file_key_and_number_of_classes(
    write_suite: Callable[..., Path],
) -> None:
    path = write_suite()
    with pytest.raises(LossbenchError) as caught:
        check(load_suite(path, ["losses=[softmax: {class_weights: [1, 2, 3]}]"]), path.parent)
    message = str(caught.value)
    assert "class_weights" in message
    assert "should have 10 weights, one for each class" in message


@pytest.mark.parametrize(
    ("loss", "key"),
    [
        ("softmax: {class_weights: balanced}", "softmax.class_weights"),
        ("balanced_softmax", "balanced_softmax"),
        ("logit_adjustment", "logit_adjustment"),
        ("ldam", "ldam"),
    ],
)
def test_a_class_that_loses_all_images_to_label_noise_is_one_message(
    write_suite: Callable[..., Path], loss: str, key: str
) -> None:
    noise = "dataset.label_noise={asymmetric: {rate: 0.999, map: mnist}}"
    path = write_suite()
    with pytest.raises(LossbenchError) as caught:
        check(load_suite(path, [f"losses=[{loss}]", noise]), Path("/nonexistent/data"))
    assert str(caught.value).count("none") == 1
    assert f"losses.{key}: needs training images of each class" in str(caught.value)
    assert "classes 2, 3 have none" in str(caught.value)


def test_rows_of_a_grid_have_the_weights_in_their_label(write_suite: Callable[..., Path]) -> None:
    grids = "softmax: {class_weights: {grid: [null, balanced, class_balanced]}}"
    suite = load_suite(write_suite(), [f"losses=[{grids}]", "reference=softmax"])
    labels = [row.label for row in check(suite, Path("/nonexistent/data")).rows]
    assert labels == [
        "softmax",
        "softmax(class_weights=balanced)",
        "softmax(class_weights=class_balanced)",
    ]
