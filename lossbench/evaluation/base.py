"""Contract of an evaluation: from a trained model to metric values and arrays."""

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

from lossbench.data.dataset import Dataset, Split
from lossbench.data.images import Images, Normaliser, Shape, View
from lossbench.losses import LossHead
from lossbench.records import Artifact, EpochRecord, Metric
from lossbench.registry import Registry

Arrays = Mapping[str, NDArray[Any]]
IMAGES = "% of images"
"""Unit of error rates; tables name the set of images."""


@dataclass(frozen=True)
class Trained:
    """Trained model and the images to measure it on.

    Attributes:
        model: Network in eval mode; maps normalised images (N, C, H, W) to features (N, D).
        head: Loss head in eval mode that was trained with the model.
        normalise: Map from pixels to the input of the model.
        train: Training set.
        measured: Test set, validation set or held-out part of the training set; None if there is
            none.
        data_root: Folder of the prepared data sets.
        seed: Seed of the trial.
        class_names: Class names in the order of the labels; empty if unknown.
        validation: Validation set, which is not measured; None if no evaluation needs it.
        left_out: Test images of the classes that the suite leaves out, with labels from 0; None if
            no evaluation needs them.
        history: Records of all epochs of the training, with `test_error` or `holdout_error` in
            percent if there are measured images.
    """

    model: nn.Module
    head: LossHead
    normalise: Normaliser
    train: Images
    measured: Images | None
    data_root: Path
    seed: int
    class_names: tuple[str, ...] = ()
    validation: Split | None = None
    left_out: Split | None = None
    history: tuple[EpochRecord, ...] = ()

    @cached_property
    def features(self) -> Tensor:
        """Features (N, D) of the measured images."""
        return extract_features(self.model, self.normalise, self.measured_images)

    @cached_property
    def scores(self) -> Tensor:
        """Class scores (N, K) of the measured images."""
        with torch.no_grad():
            return self.head.logits(self.features)

    @cached_property
    def train_features(self) -> Tensor:
        """Features (M, D) of the training set, without augmentation."""
        return extract_features(self.model, self.normalise, self.train)

    @property
    def measured_images(self) -> Images:
        """`measured`, for evaluations that require it (`needs_test`)."""
        assert self.measured is not None
        return self.measured

    def on_device(self, split: Split) -> Images:
        """Images of a split on the device of the model, in the view of the training images."""
        return split.to_device(self.device, self.train.view)

    @property
    def device(self) -> torch.device:
        """Device of the model and the images."""
        return self.train.labels.device


@dataclass(frozen=True)
class Measurement:
    """Result of an evaluation.

    Attributes:
        values: Metric name -> value.
        arrays: Artifact name -> arrays.
    """

    values: Mapping[str, float]
    arrays: Mapping[str, Arrays] = field(default_factory=dict)


class Evaluation(ABC):
    """Entry of a suite's `evaluate`. Its constructor has the parameters given in the suite.

    Attributes:
        needs_test: Whether it requires measured images.
        reads_other_data: Whether it measures on data that does not depend on what is held out, so
            that its metrics may not be used for selection.
        dataset: Name in the suite of another data set that it reads; empty if there is none.
        needs_images: Whether it requires images, not precomputed vectors.
        needs_validation: Whether it requires a validation set that is not measured.
        needs_left_out: Whether it requires test images of classes that the suite leaves out.
    """

    needs_test: bool = True
    needs_images: bool = True
    needs_validation: bool = False
    needs_left_out: bool = False
    reads_other_data: bool = False
    dataset: str = ""

    @abstractmethod
    def metrics(self) -> tuple[Metric, ...]:
        """Metrics that it measures."""

    def artifacts(self) -> tuple[Artifact, ...]:
        """Arrays that it stores for the report."""
        return ()

    def check(self, dataset: Dataset, view: View, data_root: Path) -> dict[str, str]:
        """Check before the training that it can measure.

        Args:
            dataset: Data set of the suite.
            view: Resizing and crop of the model's input.
            data_root: Folder of the prepared data sets.

        Returns:
            Digests of the other data sets that it reads, by their names in the suite.

        Raises:
            ValueError: It cannot measure on these images.
            DataError, UnknownNameError: Another data set is missing.
        """
        return {}

    def other_images(
        self, dataset: Dataset, view: View, data_root: Path
    ) -> tuple[Shape | None, View] | None:
        """Shape and view of other images that it reads; called after `check`.

        Args:
            dataset: Data set of the suite.
            view: Resizing and crop of the model's input.
            data_root: Folder of the prepared data sets.

        Returns:
            Shape (None if the images differ in size) and view; None if it reads no other images.
        """
        return None

    @abstractmethod
    def __call__(self, trained: Trained) -> Measurement:
        """Measure a trained model.

        Raises:
            NotFiniteError: A value that the metrics depend on is not finite.
        """


EVALUATIONS: Registry[Evaluation] = Registry("evaluation", group="lossbench.evaluations")


@torch.no_grad()
def extract_features(
    model: nn.Module, normalise: Normaliser, images: Images, chosen: Tensor | None = None
) -> Tensor:
    """Features of images without augmentation.

    Args:
        model: Network in eval mode.
        normalise: Map from pixels to the input of the model.
        images: N images.
        chosen: (M,) Indices of the images to use; None for all.

    Returns:
        (N, D) or (M, D)
    """
    return torch.cat([model(normalise(part)) for part in images.unaugmented(chosen)])


def as_arrays(tensors: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    """Tensors as NumPy arrays on the CPU."""
    return {name: np.asarray(tensor.detach().cpu()) for name, tensor in tensors.items()}
