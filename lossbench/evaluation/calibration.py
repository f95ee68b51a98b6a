"""Calibration of the posterior: do the predicted probabilities agree with the accuracy?"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from lossbench.errors import NotFiniteError
from lossbench.evaluation.base import (
    EVALUATIONS,
    Evaluation,
    Measurement,
    Trained,
    extract_features,
)
from lossbench.evaluation.calibration_errors import (
    equal_mass_reliability,
    equal_width_reliability,
    fit_temperature,
    predictions,
)
from lossbench.records import Artifact, Metric

SCALED = "scaled_"
"""Prefix of metrics after temperature scaling."""


@EVALUATIONS.register(
    "calibration", reference="Guo et al., ICML 2017; Nixon et al., CVPR Workshops 2019; Brier, 1950"
)
class Calibration(Evaluation):
    """Calibration of the posterior, the softmax of the class scores, on the measured images.

    `nll` is the mean negative log-likelihood -ln p(y|x) of the true class. `brier_score` is the
    mean of sum_k (p(k|x) - [k = y])^2, the sum over all classes, in [0, 2]. `ece_M` is the expected
    calibration error sum_m n_m / N |accuracy_m - confidence_m| in M bins of equal width of the
    confidence max_k p(k|x), and `adaptive_ece_M` that in M bins of equal numbers of images.

    The softmax of the scores is the posterior of losses that train it. For others, such as `center`
    without softmax or `triplet`, whose scores are not log-probabilities, it is measured all the
    same, and temperature scaling shows how much of the error is only a wrong scale.

    Args:
        bins: Number M of bins, >= 1.
        temperature: Whether to measure the posterior softmax(scores / T), too, in metrics with the
            prefix `scaled_`. T minimises `nll` on the data set's validation set, which must not be
            the measured set.

    Reference: Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks. ICML 2017.
        Nixon, Dusenberry, Zhang, Jerfel, Tran: Measuring Calibration in Deep Learning. CVPR
        Workshops 2019. Brier: Verification of Forecasts Expressed in Terms of Probability. Monthly
        Weather Review 1950.

    Deviations:
        - The adaptive error of Nixon et al. averages over the posteriors of all classes; here only
          the confidence counts (top label), as in the expected calibration error.
        - T is in [0.001, 1000]. If every validation image is predicted correctly, no T is best, and
          0.001 is taken.
    """

    needs_images = False

    def __init__(
        self, *, bins: Annotated[int, Field(ge=1)] = 15, temperature: bool = False
    ) -> None:
        self.bins, self.needs_validation = bins, temperature
        self._prefixes = ("", SCALED) if temperature else ("",)

    def metrics(self) -> tuple[Metric, ...]:
        described = {
            "nll": ("negative log-likelihood", "nats"),
            "brier_score": ("Brier score", ""),
            f"ece_{self.bins}": (f"expected calibration error, {self.bins} bins", "%"),
            f"adaptive_ece_{self.bins}": (
                f"expected calibration error, {self.bins} bins of equal size",
                "%",
            ),
        }
        return tuple(
            Metric(
                name=f"{prefix}{name}",
                label=f"{label}, scaled by a temperature" if prefix else label,
                unit=unit,
                group="calibration",
            )
            for prefix in self._prefixes
            for name, (label, unit) in described.items()
        )

    def artifacts(self) -> tuple[Artifact, ...]:
        """Artifacts of the kind `reliability`: `reliability`, and with a temperature
        `scaled_reliability`.

        Their arrays are, for the M bins of equal width, `count` int64 (M,), the numbers of images;
        `confidence` (M,), the mean confidences in [0, 1]; and `accuracy` (M,), the shares of
        correct predictions in [0, 1]; both 0 in empty bins. `adaptive_count`,
        `adaptive_confidence` and `adaptive_accuracy` are those for the M bins of equal numbers of
        images. `temperature` () is T, 1 without scaling. Bin m of equal width is (m / M,
        (m + 1) / M], counted from 0.
        """
        return tuple(
            Artifact(
                name=f"{prefix}reliability",
                kind="reliability",
                title="posterior scaled by a temperature" if prefix else "posterior",
                key=f"{prefix}posterior",
                metrics=(f"{prefix}ece_{self.bins}", f"{prefix}adaptive_ece_{self.bins}"),
            )
            for prefix in self._prefixes
        )

    def __call__(self, trained: Trained) -> Measurement:
        scores = _finite(trained.scores, "the measured images")
        values: dict[str, float] = {}
        arrays: dict[str, dict[str, NDArray[Any]]] = {}
        for prefix in self._prefixes:
            temperature = _temperature(trained) if prefix else 1.0
            found = predictions(scores, trained.measured_images.labels, temperature)
            equal_width = equal_width_reliability(found, self.bins)
            equal_mass = equal_mass_reliability(found, self.bins)
            values |= {
                f"{prefix}nll": float(found.nll.mean()),
                f"{prefix}brier_score": float(found.brier.mean()),
                f"{prefix}ece_{self.bins}": equal_width.calibration_error,
                f"{prefix}adaptive_ece_{self.bins}": equal_mass.calibration_error,
            }
            arrays[f"{prefix}reliability"] = {
                **vars(equal_width),
                **{f"adaptive_{name}": array for name, array in vars(equal_mass).items()},
                "temperature": np.asarray(temperature),
            }
        return Measurement(values, arrays)


def _temperature(trained: Trained) -> float:
    assert trained.validation is not None  # `needs_validation`
    images = trained.on_device(trained.validation)
    with torch.no_grad():
        scores = trained.head.logits(extract_features(trained.model, trained.normalise, images))
    return fit_temperature(_finite(scores, "the validation set"), images.labels)


def _finite(scores: Tensor, description: str) -> Tensor:
    if not torch.isfinite(scores).all():
        raise NotFiniteError(f"a class score of {description} is not a finite number")
    return scores
