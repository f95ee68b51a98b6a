"""Losses of pytorch-metric-learning, available as `pml.NAME`: `pml.CircleLoss: {m: 0.4}`.

pytorch-metric-learning is an optional library that takes seconds to import; it is imported when a
suite names one of its losses. Parameters and defaults are those of its constructors.

Reference: Musgrave, Belongie, Lim: PyTorch Metric Learning, 2020.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

import torch
from torch import Tensor

from lossbench.errors import ParameterError, Problem
from lossbench.losses.base import LOSSES, LossHead, in_float32
from lossbench.losses.functional import unit_vectors
from lossbench.losses.joint import EmbeddingLossHead
from lossbench.losses.metric_learning_library import (
    LIBRARY,
    class_names,
    create_component,
    create_library_loss,
    library_class,
    parameter_fields,
)
from lossbench.registry import Entry, parameters_model

REFERENCE = "Musgrave, Belongie, Lim: PyTorch Metric Learning, 2020"
UNSUPPORTED = {
    "VICRegLoss": "it compares two views of each image, and a batch has one",
    "ThresholdConsistentMarginLoss": "it is only meant to be added to another loss",
    "DynamicSoftMarginLoss": "it changes its own state whenever it is computed",
    "P2SGradLoss": "it compares pairs and does not classify",
    "ManifoldLoss": "it is computed without labels",
    "SmoothAPLoss": "it requires the same number of images of every class in each batch",
}
"""Losses that cannot be compared in a table -> reason."""


def metric_learning_entry(name: str) -> Entry[LossHead]:
    """Registry entry of a loss.

    Args:
        name: Name of the loss in the library.

    Raises:
        RequestError: The library is not installed.
    """
    own = f"pml.{name}"
    loss_class = library_class("losses", name)
    head = ClassifierHead if hasattr(loss_class, "get_logits") else EmbeddingHead

    def create(num_classes: int, feature_dim: int, **params: Any) -> LossHead:
        return head(num_classes, feature_dim, name, params)

    create.__doc__ = f"{name} of {LIBRARY}.\n\n{inspect.getdoc(head)}"
    fields = dict(parameter_fields(loss_class, has_logits=head is ClassifierHead))
    parameters = parameters_model(own, fields)
    return Entry("loss", own, create, REFERENCE, parameters, distribution=LIBRARY)


def placeholder_entry() -> Entry[LossHead]:
    """Registry entry that represents all losses of the library in a list."""

    def create(num_classes: int, feature_dim: int) -> LossHead:
        """Any loss of pytorch-metric-learning; `list losses pml.CircleLoss` shows one."""
        raise NotImplementedError

    return Entry("loss", "pml.NAME", create, REFERENCE, parameters_model("pml", {}))


class ClassifierHead(LossHead):
    """Loss of the library with its own class weights or proxies.

    L = weight * loss

    The predicted class is the one with the highest `get_logits`, which have no margin; their
    softmax need not be the posterior that the loss itself uses. The optimizer settings of the
    loss's weights are those of the model.

    Args:
        num_classes: K, at least 2.
        feature_dim: D, at least 1.
        name: Name of the loss in the library.
        params: Parameters of the loss, with `weight`, >= 0, and `miner`.
    """

    def __init__(
        self, num_classes: int, feature_dim: int, name: str, params: dict[str, Any]
    ) -> None:
        super().__init__(num_classes, feature_dim)
        self.weight: float = params.pop("weight")
        self.miner: Any = create_component("miner", params.pop("miner"))
        self.loss: Any = create_library_loss(
            name, params, num_classes=num_classes, embedding_size=feature_dim
        )
        # get_logits returns distances if the distance is not inverted, but for this one loss
        is_distance = not self.loss.distance.is_inverted and name != "NormalizedSoftmaxLoss"
        self.sign = -1.0 if is_distance else 1.0

    @in_float32
    def terms(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        mined = self.miner(features, labels) if self.miner is not None else None
        return {"classification": self.weight * self.loss(features, labels, mined)}

    @in_float32
    def logits(self, features: Tensor) -> Tensor:
        scores: Tensor = self.sign * self.loss.get_logits(features)  # (N, K)
        return scores


class EmbeddingHead(EmbeddingLossHead):
    """Loss of the library on embeddings, added to the softmax loss.

    L = softmax_weight * cross-entropy + weight * loss

    With `softmax_weight` 0 the predicted class is that of the nearest class mean; embeddings have
    unit length if the loss's distance normalises them.

    Args:
        num_classes: K, at least 2.
        feature_dim: D, at least 1.
        name: Name of the loss in the library.
        params: Parameters of the loss, with `weight`, `softmax_weight`, `samples_per_class` and
            `miner`.

    Deviations: the loss is 0 for a batch without same-class pairs or without other pairs, and for
        one in which the miner finds none, as for the losses of lossbench; some means of the
        library are NaN there.
    """

    def __init__(
        self, num_classes: int, feature_dim: int, name: str, params: dict[str, Any]
    ) -> None:
        super().__init__(
            num_classes,
            feature_dim,
            name,
            weight=params.pop("weight"),
            softmax_weight=params.pop("softmax_weight"),
            samples_per_class=params.pop("samples_per_class"),
        )
        self.miner: Any = create_component("miner", params.pop("miner"))
        if name == "HistogramLoss":
            _require_bins(params["n_bins"], params["delta"])
        self.loss: Any = create_library_loss(name, params)
        if name == "HistogramLoss":
            _require_similarity(self.loss.distance)
            self.loss.compute_density = functools.partial(_density_below_last_bin, self.loss)

    def embedding_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        mined = self.miner(embeddings, labels) if self.miner is not None else None
        value: Tensor = self.loss(embeddings, labels, mined)
        if not value.isfinite() and embeddings.isfinite().all() and _lacks_pairs(labels, mined):
            return (0.0 * embeddings).sum()  # a mean over no pairs
        return value

    def embed(self, features: Tensor) -> Tensor:
        return unit_vectors(features) if self.loss.distance.normalize_embeddings else features


def _lacks_pairs(labels: Tensor, mined: tuple[Tensor, ...] | None) -> bool:
    """Whether a batch lacks same-class pairs or other pairs, or the miner found none of a kind."""
    same = int((labels[:, None] == labels).sum())  # includes each image with itself
    if same == len(labels) or same == len(labels) ** 2:
        return True
    return mined is not None and any(len(indices) == 0 for indices in mined)


def _require_bins(count: float | None, width: float | None) -> None:
    """Require that the bins of HistogramLoss cover its range, [-1, 1].

    Raises:
        ParameterError: They do not.
    """
    if count is None and width is None:
        return
    bins = count if count is not None else 2 / width if width else 0
    if not 1 <= round(bins) <= 1000 or abs(bins - round(bins)) > 1e-6:
        problem = "n_bins (or 2 / delta) should be a whole number from 1 to 1000"
        raise ParameterError("pml.HistogramLoss", [Problem((), problem)])


def _require_similarity(distance: Any) -> None:
    """Require a similarity within the range of HistogramLoss, [-1, 1].

    Raises:
        ParameterError: It may have values outside.
    """
    if not (distance.is_inverted and distance.normalize_embeddings and distance.p <= 2):
        problem = (
            "should be a similarity in [-1, 1], the range of the histogram: CosineSimilarity, or "
            "DotProductSimilarity of normalised embeddings, with p at most 2"
        )
        raise ParameterError("pml.HistogramLoss", [Problem(("distance",), problem)])


def _density_below_last_bin(loss: Any, similarities: Tensor) -> Tensor:
    """Density of HistogramLoss, without the index error of the library at a cosine of 1."""
    last = (similarities.detach().float() + 1) / loss.delta >= round(2 / loss.delta)
    last &= similarities < 1 + 1e-5  # larger values are not cosines, and the library raises
    below = torch.where(last, 1 - 1e-4 * loss.delta, similarities)
    density: Tensor = type(loss).compute_density(loss, below)
    return density


def loss_names() -> list[str]:
    """Names of the losses that can be compared.

    Raises:
        RequestError: The library is not installed.
    """
    return [name for name in class_names() if name not in UNSUPPORTED]


LOSSES.register_prefix("pml", metric_learning_entry, loss_names, placeholder_entry(), UNSUPPORTED)
