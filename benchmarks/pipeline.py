"""Speed of augmented batches: crop with padding, mirror, normalise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.timing import take_turns
from lossbench.data.augmentation import AUGMENTATIONS
from lossbench.data.images import ArrayImages, normaliser
from lossbench.data.sampling import split_into_batches
from lossbench.data.torchvision import torchvision
from lossbench.training.memory import keep_freed_memory

COUNT, SIDE, BATCH = 2560, 32, 128
BAR = 12.0
"""Target of the speed ratio to the first candidate, without torch.compile."""


@dataclass(frozen=True)
class Measured:
    """One implementation of the input pipeline.

    Attributes:
        images_per_sec: Median of the rounds.
        speed_ratio: Speed divided by that of the DataLoader without worker processes.
    """

    name: str
    images_per_sec: float
    speed_ratio: float
    bar: float | None


class PilImages(Dataset[tuple[Tensor, int]]):
    """Images as in torchvision's CIFAR10."""

    def __init__(self, pixels: Tensor, transform: Callable[[Any], Tensor]) -> None:
        self.pixels, self.transform = pixels.numpy(), transform

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), 0


def measure(rounds: int) -> Iterator[Measured]:
    """Time one epoch of images per turn, with one thread."""
    keep_freed_memory()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    pixels = torch.randint(256, (COUNT, SIDE, SIDE, 3), dtype=torch.uint8)
    mean, std = [0.49, 0.48, 0.45], [0.25, 0.24, 0.26]
    transforms = torchvision.transforms
    made = transforms.Compose(
        [
            transforms.RandomCrop(SIDE, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(mean, std),
        ]
    )
    data = ArrayImages(pixels, torch.zeros(COUNT, dtype=torch.int64))
    augmentations = [AUGMENTATIONS[name].create(None) for name in ("random_crop", "mirror")]
    normalise = normaliser([255 * m for m in mean], [255 * s for s in std], torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)

    def ours() -> None:
        order = torch.randperm(COUNT)
        batches = split_into_batches(order, BATCH)
        for images, _ in data.augmented(batches, augmentations, generator):
            normalise(images)

    def loader(workers: int) -> Callable[[], None]:
        there = DataLoader(
            PilImages(pixels, made),
            BATCH,
            shuffle=True,
            num_workers=workers,
            persistent_workers=workers > 0,
        )

        def epoch() -> None:
            for _ in there:
                pass

        return epoch

    calls = {
        "DataLoader, PIL transforms": loader(0),
        "DataLoader, PIL transforms, 2 processes": loader(2),
        "lossbench": ours,
    }
    for name, timing in take_turns(calls, rounds, 0.0).items():
        yield Measured(
            name, COUNT / timing.median_sec, 1 / timing.ratio, BAR if name == "lossbench" else None
        )
