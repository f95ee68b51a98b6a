"""Quantities of imbalanced training sets: log-priors and class weights from class counts."""

from __future__ import annotations

import torch
from torch import Tensor

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
    message = f"needs training images of each class, but {which} none (numbers from 0)"
    raise ParameterError(loss, [Problem(key, message)])


def log_prior(counts: Tensor) -> Tensor:
    """Logarithms (K,) of the shares of the classes, log(n_k / n), in float64.

    Args:
        counts: (K,) Number of training images of each class, > 0.
    """
    return counts.double().log() - counts.double().sum().log()


class PriorHead(LinearHead):
    """Base of losses that add the log-prior of the training set to the class scores.

    The scores that the loss sees are W x + b plus the log-prior; those of `logits`, with which the
    model predicts, are without it.

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

    def prior_scores(self, features: Tensor, tau: float = 1.0) -> Tensor:
        """Class scores with the log-prior, (N, K).

        Args:
            features: (N, D)
            tau: Factor of the log-prior.
        """
        prior = prepared(self.log_prior)
        scores: Tensor = self.linear(features) + tau * prior  # (N, K)
        return scores


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
