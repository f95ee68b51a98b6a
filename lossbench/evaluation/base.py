"""The contract of an evaluation: a trained model in, numbers and arrays out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lossbench.data.dataset import Dataset
from lossbench.data.images import Images, Normaliser, Shape, View
from lossbench.losses import LossHead
from lossbench.records import Artifact, Metric
from lossbench.registry import Registry

Arrays = Mapping[str, NDArray[Any]]
IMAGES = "% of images"
"""Unit of an error rate; tables say which images."""


@dataclass(frozen=True)
class Trained:
    """A trained model and what it is measured on.

    Attributes:
        model: In eval mode; normalised images (N, C, H, W) -> features (N, D).
        head: Trained with it.
        normalise: Pixels -> the model's input.
        train: The training set.
        measured: The test set, or the held-out part of the training set; None without either.
        data_root: Where prepared data sets are.
        seed: Of the trial.
        class_names: In the order of the labels; empty where they are not known.
    """

    model: nn.Module
    head: LossHead
    normalise: Normaliser
    train: Images
    measured: Images | None
    data_root: Path
    seed: int
    class_names: tuple[str, ...] = ()

    @cached_property
    def features(self) -> Tensor:
        """(N, D) of the measured images."""
        return extract_features(self.model, self.normalise, self.test)

    @cached_property
    def scores(self) -> Tensor:
        """(N, K) class scores of the measured images."""
        with torch.no_grad():
            return self.head.logits(self.features)

    @cached_property
    def train_features(self) -> Tensor:
        """(M, D) of the training set, without augmentation."""
        return extract_features(self.model, self.normalise, self.train)

    @property
    def test(self) -> Images:
        """The measured images, for evaluations that need them."""
        assert self.measured is not None
        return self.measured

    @property
    def device(self) -> torch.device:
        return self.train.labels.device


@dataclass(frozen=True)
class Measurement:
    """What an evaluation found.

    Attributes:
        values: By the names of the evaluation's metrics.
        arrays: By the names of its artifacts.
    """

    values: Mapping[str, float]
    arrays: Mapping[str, Arrays] = field(default_factory=dict)


class Evaluation(ABC):
    """One entry of a suite's `evaluate`. Its constructor takes the suite's parameters.

    Attributes:
        needs_test: Whether it measures on the test set (or the held-out part).
        reads_other_data: Whether it measures on data that is the same whatever is held out, so
            that nothing may be chosen by it.
        dataset: Name of other data that it reads, as a suite names data; empty: none.
        needs_images: Whether it cannot measure vectors that were computed before.
    """

    needs_test: bool = True
    needs_images: bool = True
    reads_other_data: bool = False
    dataset: str = ""

    @abstractmethod
    def metrics(self) -> tuple[Metric, ...]:
        """The numbers that it gives."""

    def artifacts(self) -> tuple[Artifact, ...]:
        """The arrays that it stores for the report."""
        return ()

    def check(self, dataset: Dataset, view: View, data_root: Path) -> dict[str, str]:
        """Look before anything starts whether it can be measured.

        Returns:
            Digests of other data that it reads, by the name in the suite.

        Raises:
            ValueError: It cannot be measured on these images.
            DataError, UnknownNameError: Other data is missing.
        """
        return {}

    def other_images(
        self, dataset: Dataset, view: View, data_root: Path
    ) -> tuple[Shape | None, View] | None:
        """Other images that it reads, after `check`: their shape, None if it differs, and view."""
        return None

    @abstractmethod
    def __call__(self, trained: Trained) -> Measurement: ...


EVALUATIONS: Registry[Evaluation] = Registry("evaluation")


@torch.no_grad()
def extract_features(
    model: nn.Module, normalise: Normaliser, images: Images, chosen: Tensor | None = None
) -> Tensor:
    """Features (N, D) without augmentation, by a model in eval mode, of all or the chosen ones."""
    return torch.cat([model(normalise(part)) for part in images.central(chosen)])


def as_arrays(tensors: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    return {name: np.asarray(tensor.detach().cpu()) for name, tensor in tensors.items()}
