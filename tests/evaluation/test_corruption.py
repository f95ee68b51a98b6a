"""Corruptions against numpy, scipy, matplotlib and Pillow, one image at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.stats import kstest

from lossbench.data.images import ArrayImages
from lossbench.errors import ParameterError
from lossbench.evaluation import EVALUATIONS, corruption
from lossbench.evaluation.base import Trained
from lossbench.evaluation.corrupted_images import (
    CORRUPTIONS,
    SEVERITIES,
    Corruption,
    corrupt,
    pixelate,
)
from lossbench.evaluation.corruption import CorruptionError
from tests.evaluation.trained_model import make_head, make_trained

Floats = NDArray[np.float64]


def random_images(count: int, channels: int, height: int, width: int) -> torch.Tensor:
    random = np.random.default_rng(0)
    drawn = random.integers(0, 256, (count, channels, height, width), dtype=np.uint8)
    drawn[0, :, :2] = 0  # black pixels have no hue
    drawn[-1] = 255
    return torch.from_numpy(drawn)


def reference(image: Floats, name: Corruption, severity: int, place: int) -> Floats:
    """A corrupted image (H, W, C), in [0, 1], by the definitions of the code of CIFAR-10-C."""
    amount = SEVERITIES[name][severity - 1]
    if name == "gaussian_noise":
        channels_first = image.transpose(2, 0, 1).shape
        noise = np.random.default_rng((severity, place)).standard_normal(channels_first, np.float32)
        changed = image + amount * noise.transpose(1, 2, 0)
    elif name == "gaussian_blur":
        changed = gaussian_filter(image, (amount, amount, 0), mode="nearest", truncate=4.0)
    elif name == "brightness":
        colour = image.shape[2] == 3
        hsv = rgb_to_hsv(image if colour else image.repeat(3, 2))
        hsv[..., 2] = np.clip(hsv[..., 2] + amount, 0, 1)
        changed = hsv_to_rgb(hsv)[..., : image.shape[2]]
    elif name == "contrast":
        mean = image.mean((0, 1), keepdims=True)
        changed = (image - mean) * amount + mean
    else:
        height, width = image.shape[:2]
        channels = []
        for channel in image.transpose(2, 0, 1):
            picture = Image.fromarray(channel.astype(np.float32))
            small = (int(width * amount), int(height * amount))
            back = picture.resize(small, Image.Resampling.BOX).resize(
                (width, height), Image.Resampling.BOX
            )
            channels.append(np.asarray(back, np.float64))
        changed = np.stack(channels, 2)
    return np.clip(changed, 0, 1)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize(("channels", "height", "width"), [(3, 32, 32), (1, 28, 28), (3, 8, 64)])
def test_agrees_with_the_reference_at_all_severities(
    name: Corruption, channels: int, height: int, width: int
) -> None:
    images = random_images(4, channels, height, width)
    changes = []
    for severity in range(1, 6):
        corrupted = corrupt(images, name, severity, [7, 3, 0, 12])
        assert corrupted.dtype == torch.float32
        assert corrupted.min() >= 0
        assert corrupted.max() <= 255
        for place, image, found in zip([7, 3, 0, 12], images, corrupted, strict=True):
            start = image.permute(1, 2, 0).double().numpy() / 255
            expected = 255 * reference(start, name, severity, place)
            np.testing.assert_allclose(found.permute(1, 2, 0), expected, atol=2e-3)
        changes.append(float((corrupted - images).abs().mean()))
    assert changes == sorted(changes)  # more severe corruptions change more
    assert changes[0] > 0.5


def test_severities_are_those_of_cifar_10_c() -> None:
    """The parameters in make_cifar_c.py of the authors' code."""
    assert SEVERITIES == {
        "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),
        "gaussian_blur": (0.4, 0.6, 0.7, 0.8, 1.0),
        "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
        "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
        "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),
    }


def test_noise_is_normal_and_differs_between_images_and_severities() -> None:
    grey = torch.full((3, 1, 40, 40), 127, dtype=torch.uint8)
    weak, strong = (corrupt(grey, "gaussian_noise", k, range(3)) - 127 for k in (1, 5))
    assert kstest(weak.flatten() / 255, "norm", args=(0, 0.04)).pvalue > 0.01
    assert kstest(strong.flatten() / 255, "norm", args=(0, 0.10)).pvalue > 0.01
    for first, second in [(weak[0], weak[1]), (weak[0], strong[0])]:
        correlation = np.corrcoef(first.flatten(), second.flatten())[0, 1]
        assert abs(correlation) < 0.1


def test_an_image_smaller_than_a_pixel_of_the_reduced_one_remains() -> None:
    assert pixelate(torch.tensor([[[[9.0]]]]), 0.65).tolist() == [[[[9.0]]]]


def colourful(count: int = 90) -> Trained:
    trained = make_trained(make_head("softmax"))
    images = random_images(count, 1, 3, 4)
    labels = torch.arange(count) % 4
    return replace(trained, measured=ArrayImages(images.permute(0, 2, 3, 1), labels))


def test_errors_are_those_of_the_corrupted_images_one_at_a_time() -> None:
    trained = colourful()
    found = CorruptionError(corruptions=["contrast", "gaussian_noise"], severities=[5, 2])(trained)
    expected = {}
    images = next(iter(trained.measured_images.unaugmented()))
    for name in ("contrast", "gaussian_noise"):
        for severity in (5, 2):
            wrong = 0
            for place, label in enumerate(trained.measured_images.labels.tolist()):
                start = images[place].permute(1, 2, 0).double().numpy() / 255
                corrupted = 255 * reference(start, name, severity, place)
                pixels = torch.from_numpy(corrupted).permute(2, 0, 1)[None]
                with torch.no_grad():
                    scores = trained.head.logits(trained.model(trained.normalise(pixels)))
                wrong += int(scores.argmax()) != label
            expected[f"{name}_{severity}_error"] = 100 * wrong / 90
    mean = sum(expected.values()) / 4
    assert found.values == pytest.approx({"corruption_error": mean, **expected})
    assert len(set(expected.values())) > 2
    declared = CorruptionError(corruptions=["contrast", "gaussian_noise"], severities=[5, 2])
    assert [metric.name for metric in declared.metrics()] == list(found.values)


def test_values_depend_neither_on_the_batch_size_nor_on_the_trials_seed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trained, measure = colourful(), CorruptionError(severities=[4])
    whole = measure(trained).values
    monkeypatch.setattr(corruption, "BATCH_SIZE", 7)
    assert measure(trained).values == whole
    assert measure(replace(trained, seed=11)).values == whole


def test_the_global_random_state_is_not_used() -> None:
    trained = colourful()
    torch.manual_seed(5)
    np.random.seed(5)
    CorruptionError(severities=[1])(trained)
    after = (float(torch.rand(())), np.random.random())
    torch.manual_seed(5)
    np.random.seed(5)
    assert after == (float(torch.rand(())), np.random.random())


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"severities": [6]}, "less than or equal to 5"),
        ({"severities": []}, "should not be empty"),
        ({"severities": [2, 2]}, "2 is listed twice"),
        ({"corruptions": ["fog"]}, "gaussian_noise"),
        ({"corruptions": ["contrast", "contrast"]}, "contrast is listed twice"),
    ],
)
def test_wrong_parameters_are_refused(params: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        EVALUATIONS["corruption"].create(**params)
