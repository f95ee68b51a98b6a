"""Transforms of torchvision.transforms.v2, with torchvision itself as the reference."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Generator, Tensor

from lossbench.assembly.check import check
from lossbench.data.augmentation import AUGMENTATIONS
from lossbench.data.image_files import ImageFiles
from lossbench.data.images import ArrayImages, View, resizes_first
from lossbench.data.torchvision import torchvision
from lossbench.data.torchvision_augmentations import DETERMINISTIC
from lossbench.data.torchvision_transforms import (
    UNSUPPORTED,
    all_transform_names,
    transform_names,
)
from lossbench.errors import (
    ParameterError,
    RequestError,
    UnknownNameError,
    UnusableComponentError,
)
from lossbench.runner.environment import environment
from lossbench.runner.trial import PausedError, run_trial
from lossbench.suite.load import load_suite
from lossbench.suite.origin import SuiteError
from lossbench.training.checkpoints import Checkpoints

v2 = torchvision.transforms.v2
NOWHERE = Path("/nonexistent/data")
COLOURS: dict[str, Any] = {"v2.ColorJitter": {"brightness": 0.5, "hue": 0.2}}
PARAMS: dict[str, dict[str, Any]] = {
    "AugMix": {},
    "AutoAugment": {"policy": "cifar10"},
    "CenterCrop": {"size": 20},
    "ColorJitter": {"brightness": 0.5, "contrast": [0.5, 2], "saturation": 0.5, "hue": 0.2},
    "Compose": {"transforms": [COLOURS, {"v2.CenterCrop": {"size": [20, 24]}}]},
    "ElasticTransform": {"sigma": 2.0},
    "GaussianBlur": {"kernel_size": 3},
    "GaussianNoise": {"sigma": 0.2},
    "Grayscale": {"num_output_channels": 3},
    "Identity": {},
    "Pad": {"padding": [1, 2], "fill": 7},
    "RGB": {},
    "RandAugment": {"interpolation": "bilinear", "fill": [1, 2, 3]},
    "RandomAdjustSharpness": {"sharpness_factor": 2},
    "RandomAffine": {"degrees": 30, "translate": [0.1, 0.2], "shear": [1, 2, 3, 4]},
    "RandomApply": {"transforms": [COLOURS], "p": 0.5},
    "RandomAutocontrast": {},
    "RandomChannelPermutation": {},
    "RandomChoice": {"transforms": [COLOURS, "v2.RandomVerticalFlip"], "p": [0.3, 0.7]},
    "RandomCrop": {"size": 28, "padding": 4, "padding_mode": "reflect"},
    "RandomEqualize": {},
    "RandomErasing": {"value": [1, 2, 255]},
    "RandomGrayscale": {"p": 0.5},
    "RandomHorizontalFlip": {},
    "RandomInvert": {},
    "RandomOrder": {"transforms": [COLOURS, "v2.RandomEqualize", "v2.RandomVerticalFlip"]},
    "RandomPerspective": {},
    "RandomPhotometricDistort": {"hue": [-0.1, 0.1]},
    "RandomPosterize": {"bits": 2},
    "RandomResize": {"min_size": 20, "max_size": 40},
    "RandomResizedCrop": {"size": [20, 24], "scale": [0.2, 1]},
    "RandomRotation": {"degrees": [-10, 30], "center": [3, 4]},
    "RandomShortestSize": {"min_size": [20, 26, 32]},
    "RandomSolarize": {"threshold": 100},
    "RandomVerticalFlip": {},
    "RandomZoomOut": {"side_range": [1, 2]},
    "Resize": {"size": [20, 24]},
    "ScaleJitter": {"target_size": [32, 32], "scale_range": [0.5, 1]},
    "TrivialAugmentWide": {},
}
"""Parameters with which each transform is tried."""
DIFFERENT_SIZES = {"RandomResize", "RandomShortestSize", "RandomZoomOut", "ScaleJitter"}
EXTENSION = {"JPEG"}
"""Transforms that need torchvision's compiled image extension, which may be missing."""
RUNNING = sorted(PARAMS.keys() - DIFFERENT_SIZES)


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Smooth coloured images, (16, 3, 32, 32)."""
    coarse = torch.randint(0, 256, (16, 3, 5, 5), generator=Generator().manual_seed(1)).float()
    return torch.nn.functional.interpolate(coarse, (32, 32), mode="bicubic").clamp(20, 230).byte()


def augmentation(name: str, params: dict[str, Any]) -> Any:
    return AUGMENTATIONS[f"v2.{name}"].create(None, **params)


def from_torchvision(name: str, params: dict[str, Any]) -> Any:
    """The transform as a user of torchvision creates it."""
    params = dict(params)
    if "transforms" in params:
        params["transforms"] = [
            from_torchvision(*(next(iter(t.items())) if isinstance(t, dict) else (t, {})))
            for t in params["transforms"]
        ]
    if "policy" in params:
        params["policy"] = v2.AutoAugmentPolicy.CIFAR10
    if "interpolation" in params:
        params["interpolation"] = v2.InterpolationMode.BILINEAR
    return getattr(v2, name.removeprefix("v2."))(**params)


def test_every_transform_is_either_tried_or_refused_with_a_reason() -> None:
    """40 of 62 transforms can be used: 39 run below, and JPEG where its extension is installed."""
    if torchvision.__version__.startswith("0.28."):
        assert len(all_transform_names()) == 62
        assert len(transform_names()) == 40
        assert UNSUPPORTED.keys() <= all_transform_names()
    assert transform_names() == PARAMS.keys() | EXTENSION
    for name, reason in UNSUPPORTED.items():
        with pytest.raises(RequestError, match=f"'v2.{name}' cannot be used here: {reason[:20]}"):
            AUGMENTATIONS[f"v2.{name}"]


@pytest.mark.parametrize("name", RUNNING)
def test_images_equal_those_of_torchvision_with_the_same_seed(name: str, images: Tensor) -> None:
    result = augmentation(name, PARAMS[name])(images, Generator().manual_seed(3))
    assert result.dtype == torch.uint8
    reference = from_torchvision(name, PARAMS[name])
    torch.manual_seed(int(torch.randint(2**62, (), generator=Generator().manual_seed(3))))
    expected = torch.stack([reference(image) for image in images])
    assert torch.equal(result, expected)
    if name not in {"Identity", "RGB"}:
        assert result.shape != images.shape or not torch.equal(result, images)


@pytest.mark.parametrize("name", RUNNING)
def test_random_numbers_come_from_the_given_generator_alone(name: str, images: Tensor) -> None:
    transform = augmentation(name, PARAMS[name])
    torch.manual_seed(0)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # type: ignore[index]
    generator = Generator().manual_seed(5)
    before = generator.get_state()
    first = transform(images, generator)
    after = generator.get_state()
    second = transform(images, generator)
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()
    assert (states[2] == np.random.get_state()[1]).all()  # type: ignore[index]
    assert torch.equal(before, after) is (name in DETERMINISTIC)
    generator.set_state(before)
    torch.manual_seed(99)
    assert torch.equal(transform(images, generator), first)
    assert torch.equal(transform(images, generator), second)
    if name in DETERMINISTIC:
        assert torch.equal(first, second)
        assert torch.equal(first, torch.cat([transform(i[None], generator) for i in images]))
    else:
        assert not torch.equal(first, second)


@pytest.mark.parametrize("name", sorted(set(RUNNING) - DETERMINISTIC - {"RandomOrder"}))
def test_each_image_of_a_batch_gets_its_own_random_numbers(name: str, images: Tensor) -> None:
    same = images[:1].expand(16, -1, -1, -1)
    result = augmentation(name, PARAMS[name])(same, Generator().manual_seed(5))
    assert len({image.numpy().tobytes() for image in result}) > 1


@pytest.mark.parametrize("name", sorted(DIFFERENT_SIZES))
def test_images_of_different_sizes_need_a_crop_after_them(name: str, images: Tensor) -> None:
    message = f"v2.{name} gives images of different sizes, 3x.*Compose"
    with pytest.raises(UnusableComponentError, match=message):
        augmentation(name, PARAMS[name])(images, Generator().manual_seed(0))
    both = [{f"v2.{name}": PARAMS[name]}, {"v2.RandomCrop": {"size": 24, "pad_if_needed": True}}]
    composed = augmentation("Compose", {"transforms": both})
    assert composed(images, Generator()).shape == (16, 3, 24, 24)


def test_jpeg_runs_where_its_extension_is_installed(images: Tensor) -> None:
    transform = augmentation("JPEG", {"quality": [5, 90]})
    try:
        v2.functional.jpeg(images, 50)
    except RuntimeError:
        message = "JPEG fails on 3x32x32 images: Couldn't load"
        with pytest.raises(UnusableComponentError, match=message):
            transform(images, Generator())
        return
    assert transform(images, Generator()).shape == images.shape


def test_parameters_have_the_defaults_of_torchvision() -> None:
    assert AUGMENTATIONS["v2.RandomErasing"].resolve({}) == {
        "p": 0.5,
        "scale": [0.02, 0.33],
        "ratio": [0.3, 3.3],
        "value": 0.0,
    }
    resolved = AUGMENTATIONS["v2.RandomApply"].resolve({"transforms": ["v2.AutoAugment"]})
    nested = {"policy": "imagenet", "interpolation": "nearest", "fill": None}
    assert resolved == {"transforms": [{"v2.AutoAugment": nested}], "p": 0.5}
    assert AUGMENTATIONS["v2.RandomApply"].resolve(resolved) == resolved
    assert AUGMENTATIONS["v2.RandomApply"].distribution == "torchvision"
    documented = AUGMENTATIONS["v2.ColorJitter"].factory.__doc__ or ""
    assert "Args:\n    brightness: How much to jitter brightness." in documented


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("ColorJitter", {"brightnes": 1}, "brightnes: unknown key; did you mean 'brightness'?"),
        ("ColorJitter", {"hue": "a"}, "hue: should be a valid number, not 'a'"),
        ("ColorJitter", {"hue": 3.0}, "torchvision refuses the values: hue values should be"),
        ("RandomResizedCrop", {}, "size: missing; it has no default"),
        ("RandomErasing", {"inplace": True}, "inplace: unknown key"),
        ("RandomErasing", {"value": 256}, "value: should be less than or equal to 255"),
        ("RandomHorizontalFlip", {"p": 2}, "p: should be less than or equal to 1, not 2"),
        ("Resize", {"size": 9, "interpolation": "box"}, "interpolation: should be 'nearest', '"),
        ("AutoAugment", {"policy": "mnist"}, "policy: should be 'imagenet', 'cifar10' or 'svhn'"),
        ("RandomPhotometricDistort", {"hue": [0.1]}, "hue: should have at least 2"),
        ("Compose", {"transforms": []}, "transforms: should not be empty"),
        ("Compose", {"transforms": "v2.RGB"}, "transforms: should be a list"),
        (
            "Compose",
            {"transforms": ["v2.RBG"]},
            "'v2.RBG'; did you mean 'v2.RGB'",
        ),
        ("Compose", {"transforms": ["RGB"]}, "'RGB'; did you mean 'v2.RGB'"),
        ("Compose", {"transforms": ["v2.MixUp"]}, "v2.MixUp cannot be used here: it mixes"),
        ("Compose", {"transforms": [3]}, "should be a name, or a name with its parameters, not 3"),
        (
            "Compose",
            {"transforms": [{"v2.RandomApply": {"transforms": [{"v2.RGB": {"p": 1}}]}}]},
            "v2.RandomApply: transforms: v2.RGB: p: unknown key",
        ),
    ],
)
def test_unsuitable_parameters_are_refused(name: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        augmentation(name, params)
    assert str(caught.value).startswith(f"v2.{name}: ")
    assert message in str(caught.value)


def test_unknown_names_list_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean 'v2\.ColorJitter'\?") as caught:
        AUGMENTATIONS["v2.ColourJitter"]
    assert "MixUp" not in str(caught.value)


def test_transforms_that_resize_take_the_whole_image() -> None:
    whole = {"size": 8}, {"transforms": [{"v2.RandomResizedCrop": {"size": 8}}, "v2.RGB"]}
    assert not resizes_first([augmentation("RandomResizedCrop", whole[0])])
    assert not resizes_first([augmentation("Compose", whole[1])])
    assert resizes_first([augmentation("RandomCrop", whole[0])])
    # the part is chosen from the 32 x 64 image, not from the 16 x 32 one
    stored = torch.randint(0, 256, (2, 32, 64, 3), dtype=torch.uint8)
    data = ArrayImages(stored, torch.tensor([0, 1]), View(16, 8))
    crop = augmentation("RandomResizedCrop", {**whole[0], "scale": [0.1, 0.1]})
    [(shown, _)] = data.augmented([torch.tensor([1])], [crop], Generator().manual_seed(2))
    assert torch.equal(shown, crop(stored[1:].permute(0, 3, 1, 2), Generator().manual_seed(2)))


def test_problems_name_file_and_key(write_suite: Callable[..., Path]) -> None:
    def problems(*overrides: str) -> str:
        with pytest.raises(SuiteError) as caught:
            check(load_suite(write_suite(), overrides), NOWHERE)
        return str(caught.value)

    assert "augment.v2.ColorJitter.hu: unknown key; did you mean 'hue'?" in problems(
        "augment=[{v2.ColorJitter: {hu: 0.1}}]"
    )
    assert "augment: augmentation 'v2.CutMix' cannot be used here: it mixes" in problems(
        "augment=[v2.CutMix]"
    )
    assert "gives images of size 1x6x6, but the model needs 1x8x8" in problems(
        "augment=[{v2.RandomCrop: {size: 6}}]"
    )
    assert "v2.RandomCrop fails on 1x8x8 images: Required crop size (9, 9)" in problems(
        "augment=[{v2.RandomCrop: {size: 9}}]"
    )
    assert "v2.RandomResize gives images of different sizes" in problems(
        "augment=[{v2.RandomResize: {min_size: 4, max_size: 30}}]"
    )


def test_an_interrupted_trial_has_bit_identical_results(
    write_suite: Callable[..., Path], tmp_path: Path
) -> None:
    chosen = "augment=[{v2.RandomAffine: {degrees: 10}}, v2.RandAugment, v2.RandomErasing]"
    suite = load_suite(write_suite(), [chosen, "losses=[softmax]"])
    trial = check(suite, NOWHERE).trials[0]

    def weights(name: str, *pauses: int) -> dict[str, Tensor]:
        folder = tmp_path / name
        folder.mkdir()
        part = functools.partial(run_trial, trial, data_root=NOWHERE, artifacts=folder)
        for until in pauses:
            with pytest.raises(PausedError):
                part(checkpoints=Checkpoints(tmp_path / "at", environment()), until=until)
        torch.manual_seed(7)  # what was drawn before must not matter
        part(checkpoints=Checkpoints(tmp_path / "at", environment()) if pauses else None)
        saved: dict[str, Tensor] = torch.load(folder / "weights.pt", weights_only=True)["model"]
        return saved

    whole, parts = weights("whole"), weights("parts", 1)
    assert all(torch.equal(tensor, parts[key]) for key, tensor in whole.items())
    plain = check(load_suite(write_suite(), ["losses=[softmax]"]), NOWHERE).trials[0]
    assert trial.identity != plain.identity


def test_files_that_a_transform_cannot_take_are_named(tmp_path: Path) -> None:
    paths = []
    for side in (40, 16):
        paths.append(tmp_path / f"{side}.png")
        Image.new("RGB", (side, side)).save(paths[-1])
    files = ImageFiles(
        np.array([bytes(p) for p in paths]), torch.zeros(2, dtype=torch.int64), View(None, None)
    )
    crop = augmentation("RandomCrop", {"size": 32})
    batches = files.augmented([torch.tensor([0]), torch.tensor([1])], [crop], Generator())
    assert next(batches)[0].shape == (1, 3, 32, 32)
    message = r"16\.png: augmentation v2\.RandomCrop fails on 3x16x16"
    with pytest.raises(UnusableComponentError, match=message):
        next(batches)


def test_a_folder_of_images_of_different_sizes_is_tried(
    write_suite: Callable[..., Path], tmp_path: Path
) -> None:
    for split in ("train", "test"):
        for label, (width, height) in {"a": (60, 40), "b": (30, 20)}.items():
            folder = tmp_path / "mine" / split / label
            folder.mkdir(parents=True)
            for number in range(2):
                Image.new("RGB", (width, height)).save(folder / f"{number}.png")

    def trials(*overrides: str) -> int:
        model = "model={name: resnet_cifar, depth: 8, width: 2}"
        given = [f"dataset={tmp_path / 'mine'}", model, "recipe.input.crop=16", *overrides]
        return len(check(load_suite(write_suite(), given), NOWHERE).trials)

    assert trials("augment=[{v2.RandomCrop: {size: 16}}]") == 6
    with pytest.raises(SuiteError, match=r"augmentation v2.RandomCrop fails on 3x20x26"):
        trials("augment=[{v2.RandomCrop: {size: 24}}]")
    assert trials("augment=[{v2.RandomCrop: {size: 24}}]", "recipe.input.resize=24") == 6
    with pytest.raises(SuiteError, match="gives images of size 3x12x12, but the model needs 3x16"):
        trials("augment=[{v2.RandomResizedCrop: {size: 12}}]", "recipe.input.resize=24")
