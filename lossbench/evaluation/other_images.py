"""Detection of images of another data set."""

from __future__ import annotations

from pathlib import Path

from lossbench.data.dataset import Dataset
from lossbench.data.images import Shape, View
from lossbench.data.loading import load_dataset
from lossbench.evaluation.base import EVALUATIONS, Evaluation, Measurement, Trained
from lossbench.evaluation.ood_detection import (
    detection_artifact,
    detection_metrics,
    measure_detection,
)
from lossbench.evaluation.other_dataset import features_of, require_convertible, square_view
from lossbench.records import Artifact, Metric


@EVALUATIONS.register("other_images", reference="Hendrycks & Gimpel, ICLR 2017")
class OtherImages(Evaluation):
    """Out-of-distribution detection: test images of another data set against the measured ones.

    The other images are converted to the size and the number of channels of the measured ones:
    colour to luminance, grey to the same value in each channel.

    Args:
        dataset: Name of the other data set.
    """

    reads_other_data = True

    def __init__(self, *, dataset: str) -> None:
        self.dataset = dataset
        self._key = f"other_{Path(dataset).name}"

    def metrics(self) -> tuple[Metric, ...]:
        return detection_metrics(self._key, f"images of {Path(self.dataset).name}")

    def artifacts(self) -> tuple[Artifact, ...]:
        title = f"images of {Path(self.dataset).name}"
        return (detection_artifact(self._key, title),)

    def check(self, dataset: Dataset, view: View, data_root: Path) -> dict[str, str]:
        other = load_dataset(self.dataset, data_root)
        require_convertible(self.dataset, other, dataset, view)
        return {self.dataset: other.digest}

    def other_images(
        self, dataset: Dataset, view: View, data_root: Path
    ) -> tuple[Shape | None, View]:
        other = load_dataset(self.dataset, data_root)
        return other.splits["test"].shape, square_view(dataset.image_shape(view)[1:])

    def __call__(self, trained: Trained) -> Measurement:
        [sample] = next(iter(trained.measured_images.unaugmented(size=1)))  # (C, H, W)
        other = load_dataset(self.dataset, trained.data_root, verify=False)
        channels, height, width = sample.shape
        features = features_of(trained, other.splits["test"], (channels, height, width))
        return Measurement(*measure_detection(trained, self._key, features))
