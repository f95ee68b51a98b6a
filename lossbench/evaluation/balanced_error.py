"""Classification errors of each class."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossbench.evaluation.base import EVALUATIONS, IMAGES, Evaluation, Measurement, Trained
from lossbench.records import Artifact, Metric

Whole = NDArray[np.int64]


@EVALUATIONS.register("balanced_error", reference="Brodersen et al., ICPR 2010")
class BalancedError(Evaluation):
    """Top-1 error rate with equal weights of the classes, and that of the worst class.

    balanced_error = mean_k error_k,    worst_class_error = max_k error_k

    The error of class k is the percentage of its images whose predicted class is wrong. Classes
    without measured images are left out.

    Reference: Brodersen, Ong, Stephan, Buhmann: The Balanced Accuracy and Its Posterior
        Distribution. ICPR 2010. `balanced_error` is 100 % minus their balanced accuracy.
    """

    needs_images = False

    def metrics(self) -> tuple[Metric, ...]:
        return (
            Metric(
                name="balanced_error",
                label="balanced error",
                unit=f"{IMAGES}, mean over classes",
                group="accuracy",
            ),
            Metric(
                name="worst_class_error",
                label="error of the worst class",
                unit=f"{IMAGES} of the class",
                group="accuracy",
            ),
        )

    def artifacts(self) -> tuple[Artifact, ...]:
        """One artifact of the kind `per_class`.

        Its arrays are `labels` int64 (C,), the numbers of the classes with measured images in
        ascending order; `count` int64 (C,), their numbers of images; `value` float64 (C,), their
        errors in percent; and `class_names` (C,), if they are known.
        """
        return (
            Artifact(
                name="per_class_error",
                kind="per_class",
                title="error of each class",
                key="error",
                metrics=("balanced_error", "worst_class_error"),
            ),
        )

    def __call__(self, trained: Trained) -> Measurement:
        scores, labels = trained.scores, trained.measured_images.labels
        wrong = (scores.argmax(1) != labels) | scores.isnan().any(1)
        classes, count, errors = class_errors(wrong.cpu().numpy(), labels.cpu().numpy())
        arrays: dict[str, NDArray[Any]] = {"labels": classes, "count": count, "value": errors}
        if trained.class_names:
            arrays["class_names"] = np.asarray(trained.class_names, dtype=np.str_)[classes]
        return Measurement(
            {"balanced_error": float(errors.mean()), "worst_class_error": float(errors.max())},
            {"per_class_error": arrays},
        )


def class_errors(
    wrong: NDArray[np.bool_], labels: Whole
) -> tuple[Whole, Whole, NDArray[np.float64]]:
    """Error of each class that has images.

    Args:
        wrong: (N,) Whether the predicted class of an image is wrong.
        labels: (N,)

    Returns:
        Classes (C,) in ascending order, their numbers of images (C,), and their errors in percent
        (C,).
    """
    classes, place, count = np.unique(labels, return_inverse=True, return_counts=True)
    errors = 100.0 * np.bincount(place, weights=wrong) / count
    return classes, count, errors
