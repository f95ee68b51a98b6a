"""Detection of out-of-distribution inputs by a trained model, with the functions in `detection`."""

from __future__ import annotations

import math
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from lossbench.evaluation.adversarial import in_distribution_score, plotted_likelihood
from lossbench.evaluation.base import Trained, as_arrays
from lossbench.evaluation.detection import (
    binary_auroc,
    binary_eer,
    binary_roc,
    fpr_at_tpr,
    subsample_roc,
)
from lossbench.losses import DensityHead
from lossbench.records import Artifact, Metric


def detection_metrics(key: str, title: str) -> tuple[Metric, ...]:
    """Metrics of `measure_detection`.

    Args:
        key: Prefix of the names.
        title: Description of the inputs to detect.
    """
    return (
        Metric(name=f"{key}_eer", label=f"equal error rate, {title}", unit="%", group="detection"),
        Metric(
            name=f"{key}_auroc",
            label=f"AUROC, {title}",
            unit="%",
            higher_is_better=True,
            group="detection",
        ),
        Metric(name=f"{key}_fpr95", label=f"FPR at 95 % TPR, {title}", unit="%", group="detection"),
    )


def detection_artifact(key: str, title: str) -> Artifact:
    """Arrays of `measure_detection`.

    Args:
        key: Prefix of the metric names.
        title: Description of the inputs to detect.
    """
    return Artifact(
        name=f"detection_{key}", kind="detection", title=title, key=key, eer_metric=f"{key}_eer"
    )


def measure_detection(
    trained: Trained, key: str, features: Tensor
) -> tuple[dict[str, float], dict[str, dict[str, NDArray[Any]]]]:
    """Measure the separation of other inputs from the measured images.

    Args:
        trained: Trained model; its measured images are the in-distribution inputs.
        key: Prefix of the metric names.
        features: (M, D) Features of the other inputs.

    Returns:
        Values of `detection_metrics`; and the arrays of the artifact `detection_KEY`.
    """
    with torch.no_grad():
        normal = in_distribution_score(trained.head, trained.features)  # (N,)
        other = in_distribution_score(trained.head, features)  # (M,)
        posterior = trained.head.logits(features).softmax(1).amax(1)  # (M,)
        likelihood = plotted_likelihood(trained.head, normal, other)
    fpr, tpr = binary_roc(normal.cpu().numpy(), other.cpu().numpy())
    values = {
        f"{key}_eer": binary_eer(fpr, tpr),
        f"{key}_auroc": binary_auroc(fpr, tpr),
        f"{key}_fpr95": fpr_at_tpr(fpr, tpr, 0.95),
    }
    kept = {
        "posterior_normal": trained.scores.softmax(1).amax(1),
        "posterior_other": posterior,
        "likelihood_normal": likelihood[0],
        "likelihood_other": likelihood[1],
    }
    if isinstance(trained.head, DensityHead):  # in float32 e^-d underflows to 0 from d = 103
        kept["log10_likelihood_normal"] = normal / math.log(10)
        kept["log10_likelihood_other"] = other / math.log(10)
    arrays = as_arrays({name: tensor.float() for name, tensor in kept.items()})
    stored_fpr, stored_tpr = subsample_roc(fpr, tpr)
    arrays |= {"false_accept": stored_fpr, "true_accept": stored_tpr}  # keys of earlier results
    return values, {f"detection_{key}": arrays}
