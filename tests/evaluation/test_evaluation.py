from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lossbench.data.images import ArrayImages, View, normaliser
from lossbench.evaluation.accuracy import TenCrop, top_error
from lossbench.evaluation.base import Trained
from lossbench.evaluation.embedding import MAX_ATTACKED, MAX_POINTS, embedding
from lossbench.losses import LossHead, create_loss

CPU = torch.device("cpu")


WHOLE = View()


def trained_on(head: LossHead, pixels: Tensor, labels: Tensor, view: View = WHOLE) -> Trained:
    """A model that takes the first pixels of an image (1, 1, D) as its features."""
    images = ArrayImages(pixels, labels, view)
    model = nn.Flatten()
    scale = normaliser(0.0, 1.0, CPU)
    return Trained(model, head, scale, images, images, Path(), 0)


def as_pixels(features: Tensor) -> Tensor:
    """(N, D) whole numbers in [0, 255] -> images (N, 1, D, 1)."""
    return features.to(torch.uint8)[:, None, :, None]


def test_errors_agree_with_numpy() -> None:
    scores, labels = torch.randn(500, 12), torch.randint(0, 12, (500,))
    ranked = np.argsort(-scores.numpy(), axis=1)
    wrong = np.mean(ranked[:, 0] != labels.numpy())
    missed = np.mean(
        [label not in row[:5] for row, label in zip(ranked, labels.tolist(), strict=True)]
    )
    assert top_error(scores, labels, 1) == pytest.approx(100 * wrong)
    assert top_error(scores, labels, 5) == pytest.approx(100 * missed)


def test_top5_of_three_classes_is_never_wrong() -> None:
    assert top_error(torch.randn(9, 3), torch.arange(9) % 3, 5) == 0.0


def test_ten_crops_agree_with_a_loop() -> None:
    torch.manual_seed(0)
    side, crop, classes = 6, 4, 7
    pixels = torch.randint(0, 255, (40, side, side, 1), dtype=torch.uint8)
    labels = torch.randint(0, classes, (40,))
    head = create_loss("softmax", num_classes=classes, feature_dim=crop * crop)
    head.linear.weight.data *= 0.05
    found = TenCrop()(trained_on(head, pixels, labels, View(crop=crop))).values

    wrong = missed = 0
    for image, label in zip(pixels[..., 0].float(), labels.tolist(), strict=True):
        mean = torch.zeros(classes)
        for top, left in ((0, 0), (0, 2), (2, 0), (2, 2), (1, 1)):
            part = image[top : top + crop, left : left + crop]
            for seen in (part, part.flip(1)):
                with torch.no_grad():
                    mean += head.logits(seen.reshape(1, -1)).softmax(1)[0] / 10
        ranked = mean.argsort(descending=True).tolist()
        wrong += ranked[0] != label
        missed += label not in ranked[:5]
    expected = {"ten_crop_error": wrong / 0.4, "ten_crop_top5_error": missed / 0.4}
    assert found == pytest.approx(expected)
    assert 0 < wrong < 40


@pytest.mark.parametrize("k", [1, 5])
def test_image_with_a_nan_score_is_an_error(k: int) -> None:
    """torch takes NaN for the largest number, so a class with a score of NaN would always win."""
    scores, labels = torch.randn(60, 12), torch.arange(60) % 12
    scores[torch.arange(60), labels] = 100.0  # all right
    scores[:7] = torch.nan
    scores[torch.arange(10, 15), labels[10:15]] = torch.nan
    scores[20, (labels[20] + 1) % 12] = torch.nan
    assert top_error(scores, labels, k) == pytest.approx(100 * (7 + 5 + 1) / 60)


def test_image_with_nan_in_one_of_ten_crops_is_an_error() -> None:
    class NotANumber(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            features = images.flatten(1)
            return features.masked_fill(images.mean((1, 2, 3))[:, None] > 100, torch.nan)

    torch.manual_seed(0)
    pixels = torch.zeros(6, 6, 6, 1, dtype=torch.uint8)
    pixels[0, 0, 0] = pixels[1] = 250
    head = create_loss("softmax", num_classes=2, feature_dim=16)
    trained = trained_on(head, pixels, torch.zeros(6, dtype=torch.long), View(crop=4))
    with torch.no_grad():
        head.linear.weight.zero_()
        head.linear.bias.copy_(torch.tensor([1.0, 0.0]))
    found = TenCrop()(replace(trained, model=NotANumber())).values
    assert found["ten_crop_error"] == pytest.approx(100 / 6)


def test_embedding_of_a_density_head() -> None:
    torch.manual_seed(0)
    head = create_loss("lgm", num_classes=3, feature_dim=2)
    means = torch.tensor([[60.0, 60.0], [90.0, 60.0], [60.0, 120.0]])
    with torch.no_grad():
        head.means.copy_(means)
    labels = torch.arange(3000) % 3
    features = (means[labels] + 1.5 * torch.randn(3000, 2)).round()
    kept = embedding(trained_on(head, as_pixels(features), labels))
    np.testing.assert_allclose(kept["class_means"], means.numpy())
    assert np.array_equal(kept["features"], features.numpy())
    x, y, density = kept["grid_x"], kept["grid_y"], np.exp(kept["log_density"])
    total = density.sum() * (x[1] - x[0]) * (y[1] - y[0])
    assert total == pytest.approx(1.0, abs=0.05)  # the grid reaches just beyond the points
    row, column = np.unravel_index(density.argmax(), density.shape)
    assert np.abs(means.numpy() - [x[column], y[row]]).sum(1).min() < 1
    upper = density[y > 90].sum()
    assert upper > density[:, x > 100].sum()  # the third class is up, not right
    assert "class_log_density" not in kept
    assert kept["adversarial"].shape == (MAX_ATTACKED, 2)
    moved = np.abs(kept["adversarial"] - features[np.linspace(0, 2999, 200).round()].numpy())
    assert moved.max() <= 0.3 * 255 + 1e-3
    assert moved.mean() > 40  # some end at 0


def test_embedding_of_two_classes_has_the_density_of_each() -> None:
    head = create_loss("lgm", num_classes=2, feature_dim=2)
    with torch.no_grad():
        head.means.copy_(torch.tensor([[50.0, 50.0], [70.0, 50.0]]))
    labels = torch.arange(200) % 2
    features = head.means.detach()[labels] + torch.randint(-4, 5, (200, 2))
    kept = embedding(trained_on(head, as_pixels(features), labels))
    by_class, x = kept["class_log_density"], kept["grid_x"]
    np.testing.assert_allclose(np.logaddexp(*by_class) - np.log(2), kept["log_density"], rtol=1e-4)
    difference = by_class[0] - by_class[1]  # of two unit Gaussians: a plane through the middle
    np.testing.assert_allclose(difference, np.tile(20 * (60 - x), (len(x), 1)), rtol=1e-3, atol=0.1)


def test_embedding_of_other_heads_has_the_means_of_the_features() -> None:
    head = create_loss("softmax", num_classes=2, feature_dim=2)
    labels = torch.arange(2 * MAX_POINTS) % 2
    features = torch.stack([labels * 3.0, 9 - labels.float()], 1)
    kept = embedding(trained_on(head, as_pixels(features), labels))
    assert kept["class_means"].tolist() == [[0.0, 9.0], [3.0, 8.0]]
    assert kept["features"].shape == (MAX_POINTS, 2)
    assert set(kept) == {"features", "labels", "class_means"}


def test_embedding_stores_class_names_as_plain_text(tmp_path: Path) -> None:
    head = create_loss("softmax", num_classes=2, feature_dim=2)
    labels = torch.arange(20) % 2
    trained = trained_on(head, as_pixels(torch.stack([labels, 1 - labels], 1)), labels)
    kept = embedding(replace(trained, class_names=("3", "ψ eight")))
    np.savez(tmp_path / "kept.npz", allow_pickle=False, **kept)
    with np.load(tmp_path / "kept.npz", allow_pickle=False) as read:
        assert read["class_names"].tolist() == ["3", "ψ eight"]
