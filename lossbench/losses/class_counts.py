"""Quantities of imbalanced training sets: log-priors and class weights from class counts."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from lossbench.errors import Loc, ParameterError, Problem
from lossbench.losses.base import TrainingFacts
from lossbench.losses.linear import LinearHead


def require_images_of_each_class(counts: Tensor, loss: str, key: Loc = ()) -> None:
    """Check that each class has training images: its weight or log-prior would be infinite.

    Args:
        counts: (K,) Number of training images of each class.
        loss: Name of the loss, for the message.
        key: Parameter of the loss that needs the images.

    Raises:
        ParameterError: A class has none.
    """
    empty = torch.nonzero(counts == 0).flatten().tolist()
    if not empty:
        return
    few = ", ".join(map(str, empty[:10])) + (f" and {len(empty) - 10} more" * (len(empty) > 10))
    which = f"class {few} has" if len(empty) == 1 else f"classes {few} have"
    message = f"needs training images of each class, but {which} none (numbered from 0)"
    raise ParameterError(loss, [Problem(key, message)])


def balanced_weights(counts: Tensor) -> Tensor:
    """Class weights (K,) w_k = n / (K n_k) in float64, those of scikit-learn's `balanced`.

    Their mean over the training images is 1.

    Args:
        counts: (K,) Number of training images of each class, > 0.
    """
    return counts.sum() / (len(counts) * counts.double())


def class_balanced_weights(counts: Tensor, beta: float) -> Tensor:
    """Class weights (K,) by the effective numbers of images, in float64, whose sum is K.

    w_k is proportional to (1 - beta) / (1 - beta^n_k). beta = 0 gives equal weights; for beta near
    1, w_k is nearly proportional to 1 / n_k.

    Args:
        counts: (K,) Number of training images of each class, > 0.
        beta: In [0, 1).

    Reference:
        Cui, Jia, Lin, Song, Belongie: Class-Balanced Loss Based on Effective Number of Samples.
        CVPR 2019, Eq. 5.
    """
    exponents = counts * torch.tensor(beta, dtype=torch.double).log()  # (K,)
    weights = -1 / torch.expm1(exponents)  # 1 / (1 - beta^n)
    return weights * (len(counts) / weights.sum())


def weighted_cross_entropy(
    scores: Tensor, labels: Tensor, class_weight: Tensor | None, *, smoothing: float = 0.0
) -> Tensor:
    """Mean over the images of the weight of the class times the cross-entropy.

    Args:
        scores: (N, K)
        labels: (N,), in [0, K).
        class_weight: (K,) None for equal weights.
        smoothing: Share of each label that is spread over all classes, in [0, 1).

    Returns:
        Scalar.
    """
    if class_weight is None:
        return F.cross_entropy(scores, labels, label_smoothing=smoothing)
    losses = F.cross_entropy(scores, labels, label_smoothing=smoothing, reduction="none")  # (N,)
    return (class_weight.index_select(0, labels) * losses).mean()


def log_prior(counts: Tensor) -> Tensor:
    """Logarithms (K,) of the shares of the classes, log(n_k / n), in float64.

    Args:
        counts: (K,) Number of training images of each class, > 0.
    """
    return counts.double().log() - counts.double().sum().log()


class PriorHead(LinearHead):
    """Base of losses that add the log-prior of the training set to the class scores.

    The loss is computed from W x + b plus the log-prior; `logits`, which the model predicts with,
    are W x + b.

    Args:
        num_classes: K, at least 2.
        feature_dim: D, at least 1.
        name: Name of the loss, for messages.
    """

    needs = frozenset({"class_counts"})
    log_prior: Tensor | None

    def __init__(self, num_classes: int, feature_dim: int, name: str) -> None:
        super().__init__(num_classes, feature_dim)
        self.name = name
        self.register_buffer("log_prior", None)

    def prepare(self, facts: TrainingFacts) -> None:
        require_images_of_each_class(facts.class_counts, self.name)
        self.log_prior = log_prior(facts.class_counts).to(self.linear.weight)

    def with_prior(self, scores: Tensor, tau: float = 1.0) -> Tensor:
        """Class scores with the log-prior, (N, K).

        Args:
            scores: (N, K)
            tau: Factor of the log-prior.
        """
        return scores + tau * prepared(self.log_prior)


def prepared(buffer: Tensor | None) -> Tensor:
    """The buffer that `LossHead.prepare` makes.

    Raises:
        RuntimeError: `prepare` was not called.
    """
    if buffer is None:
        raise RuntimeError(
            "the loss depends on the numbers of training images of the classes: call "
            "prepare(TrainingFacts(class_counts, epochs)) first"
        )
    return buffer


ClassWeights = (
    Literal["balanced", "class_balanced"] | list[Annotated[float, Field(gt=0, le=1e6)]] | None
)
"""Names of class weights, or the weights of all classes."""
EffectiveNumberBeta = Annotated[float, Field(ge=0, lt=1)]
"""beta of `class_balanced_weights`."""
DEFAULT_BETA = 0.9999


class WeightedLinearHead(LinearHead):
    """Base of losses with a linear layer that can weight images by their class.

    Args:
        num_classes: K, at least 2.
        feature_dim: D, at least 1.
        name: Name of the loss, for messages.
        class_weights: `balanced` (`balanced_weights`), `class_balanced`
            (`class_balanced_weights`), the weights of the K classes, or None for equal weights.
        class_balanced_beta: beta of `class_balanced`.

    Raises:
        ParameterError: beta is given for other weights.
    """

    class_weight: Tensor | None

    def __init__(
        self,
        num_classes: int,
        feature_dim: int,
        name: str,
        *,
        class_weights: ClassWeights,
        class_balanced_beta: float,
    ) -> None:
        super().__init__(num_classes, feature_dim)
        if class_balanced_beta != DEFAULT_BETA and class_weights != "class_balanced":
            message = "has an effect only if class_weights is class_balanced"
            raise ParameterError(name, [Problem(("class_balanced_beta",), message)])
        self.name = name
        self.class_weights = class_weights
        self.class_balanced_beta = class_balanced_beta
        self.register_buffer("class_weight", None)
        if isinstance(class_weights, str):
            self.needs = frozenset({"class_counts"})
        elif class_weights is not None and len(class_weights) == num_classes:
            self.class_weight = torch.tensor(class_weights, dtype=torch.get_default_dtype())

    def prepare(self, facts: TrainingFacts) -> None:
        key = ("class_weights",)
        if isinstance(self.class_weights, list) and len(self.class_weights) != self.num_classes:
            message = f"should have {self.num_classes} weights, one for each class"
            raise ParameterError(self.name, [Problem(key, message)])
        if not isinstance(self.class_weights, str):
            return
        counts = facts.class_counts
        require_images_of_each_class(counts, self.name, key)
        weights = (
            balanced_weights(counts)
            if self.class_weights == "balanced"
            else class_balanced_weights(counts, self.class_balanced_beta)
        )
        self.class_weight = weights.to(self.linear.weight)

    def weight_of_classes(self) -> Tensor | None:
        """Weights (K,) of the classes; None for equal weights."""
        return None if self.class_weights is None else prepared(self.class_weight)
