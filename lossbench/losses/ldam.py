"""LDAM: margins that are larger for rare classes, with deferred re-weighting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from lossbench.losses.base import LOSSES, ScoreHead, TermsAndScores, TrainingFacts, in_float32
from lossbench.losses.class_counts import (
    DEFAULT_BETA,
    EffectiveNumberBeta,
    class_balanced_weights,
    prepared,
    require_images_of_each_class,
)
from lossbench.losses.functional import unit_vectors


def class_margins(counts: Tensor, max_margin: float) -> Tensor:
    """Margins (K,) C / n_k^(1/4) in float64, with C such that the largest is `max_margin`.

    Args:
        counts: (K,) Number of training images of each class, > 0.
        max_margin: >= 0
    """
    return max_margin * (counts.min() / counts.double()) ** 0.25


def reweighting_at(progress: float, *, start: float) -> float:
    """Value of the buffer `reweighting`: 1 if classes are weighted, from `start` on, else 0."""
    return float(progress >= start)


@LOSSES.register(
    "ldam",
    reference="Cao et al., NeurIPS 2019",
    title="LDAM",
    symbols={"max_margin": "m", "scale": "s", "reweight_beta": r"\beta"},
)
class LDAMHead(ScoreHead):
    """Label-distribution-aware margin loss (LDAM): rare classes have a larger margin on the cosine.

    L = -sum_i w_{z_i} log[ e^(s (cos theta_z - Delta_z)) / (e^(s (cos theta_z - Delta_z)) + sum_{k != z} e^(s cos theta_k)) ] / sum_i w_{z_i}
    cos theta_k = u_k^T x_i / (||u_k|| ||x_i||),  z = z_i
    Delta_k = C / n_k^(1/4),  max_k Delta_k = max_margin

    n_k is the number of training images of class k, u_k its weight vector. w_k is 1 until the share
    `reweight_from` of the training is completed, and then the class-balanced weight of Cui et al.
    (deferred re-weighting, DRW): proportional to (1 - beta) / (1 - beta^n_k), with sum K. The model
    predicts without margins.

    Args:
        num_classes: K, at least 2.
        feature_dim: D, at least 1.
        max_margin: Margin of the rarest class, in [0, 2].
        scale: s, > 0.
        reweight_from: Share of the training after which classes are weighted, in [0, 1); 0.8 is
            epoch 160 of 200. Null: never.
        reweight_beta: beta of the weights, in [0, 1).

    Terms:
        cross_entropy: Weighted mean of the batch's cross-entropy, of the scores with margin.

    Reference:
        Cao, Wei, Gaidon, Arechiga, Ma: Learning Imbalanced Datasets with Label-Distribution-Aware
        Margin Loss. NeurIPS 2019. What the paper leaves open is as in the authors' code:
        normalised features and class weights, s = 30, the largest margin of 0.5, DRW after 160 of
        200 epochs with beta 0.9999, and the division by the sum of the weights.

    Deviations: the start of the re-weighting is a share of the training, so that trainings of any
        length follow the same curve.
    """  # noqa: E501

    needs = frozenset({"class_counts"})
    margins: Tensor | None
    class_weight: Tensor | None
    reweighting: Tensor

    def __init__(
        self,
        num_classes: int,
        feature_dim: int,
        *,
        max_margin: Annotated[float, Field(ge=0, le=2)] = 0.5,
        scale: Annotated[float, Field(gt=0)] = 30.0,
        reweight_from: Annotated[float, Field(ge=0, lt=1)] | None = 0.8,
        reweight_beta: EffectiveNumberBeta = DEFAULT_BETA,
    ) -> None:
        super().__init__(num_classes, feature_dim)
        self.max_margin = max_margin
        self.scale = scale
        self.reweight_from = reweight_from
        self.reweight_beta = reweight_beta
        directions = torch.empty(num_classes, feature_dim).uniform_(-1, 1)
        self.weight = nn.Parameter(unit_vectors(directions))
        self.register_buffer("margins", None)
        self.register_buffer("class_weight", None)
        self.register_buffer("reweighting", torch.tensor(float(reweight_from == 0)))

    def prepare(self, facts: TrainingFacts) -> None:
        counts = facts.class_counts
        require_images_of_each_class(counts, "ldam")
        self.margins = class_margins(counts, self.max_margin).to(self.weight)
        self.class_weight = class_balanced_weights(counts, self.reweight_beta).to(self.weight)

    @in_float32
    def terms_and_scores(self, features: Tensor, labels: Tensor) -> TermsAndScores:
        own = prepared(self.margins).index_select(0, labels)  # (N,)
        scores = self.logits(features)  # (N, K)
        with_margin = scores.scatter_add(1, labels[:, None], -self.scale * own[:, None])
        weights = torch.where(self.reweighting > 0, prepared(self.class_weight), 1.0)  # (K,)
        return {"cross_entropy": F.cross_entropy(with_margin, labels, weight=weights)}, scores

    @in_float32
    def logits(self, features: Tensor) -> Tensor:
        return self.scale * unit_vectors(features) @ unit_vectors(self.weight).T  # (N, K)

    def schedules(self) -> Mapping[str, Callable[[float], float]]:
        if self.reweight_from is None:
            return {}
        return {"reweighting": partial(reweighting_at, start=self.reweight_from)}
