"""Contract of a loss: `LossHead`, and `DensityHead` for losses that model a density."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from lossbench.losses.functional import true_class_log_odds
from lossbench.registry import Registry

Method = TypeVar("Method", bound=Callable[..., Any])


def in_float32(method: Method) -> Method:
    """Decorate a method of a head to run outside autocast, on features of at least float32.

    Features in float16 and bfloat16 are converted to float32, because expanded squared distances
    lose all digits in bfloat16. Features in float64 remain float64.
    """

    @functools.wraps(method)
    def wrapped(self: LossHead, features: Tensor, *rest: Tensor) -> Any:
        if features.dtype in (torch.float16, torch.bfloat16):
            features = features.float()
        device = features.device.type
        if not torch.is_autocast_enabled(device):  # leaving autocast takes as long as a small loss
            return method(self, features, *rest)
        with torch.autocast(device, enabled=False):
            return method(self, features, *rest)

    return wrapped  # type: ignore[return-value]


def total(terms: Mapping[str, Tensor]) -> Tensor:
    """Loss from its weighted terms: their sum."""
    return functools.reduce(torch.add, terms.values())


TermsAndScores = tuple[dict[str, Tensor], Tensor | None]
"""Weighted terms by name, and class scores (N, K), or None; see `LossHead.terms_and_scores`."""

Need = Literal["class_counts", "epochs", "sample_indices"]
"""Fact about a training that a loss may depend on; see `LossHead.needs`."""


@dataclass(frozen=True)
class TrainingFacts:
    """Facts about a training, for losses that depend on them.

    Attributes:
        class_counts: int64 (K,), number of training images of each class, by the labels that the
            training sees.
        epochs: Number of epochs of the training.
    """

    class_counts: Tensor
    epochs: int

    @property
    def num_samples(self) -> int:
        """Number of training images."""
        return int(self.class_counts.sum())


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters of a head with the same optimizer settings.

    Attributes:
        parameters: Parameters of the group.
        lr_scale: Factor of the recipe's learning rate, > 0.
        decay: Whether the recipe's weight decay applies.
    """

    parameters: tuple[nn.Parameter, ...]
    lr_scale: float = 1.0
    decay: bool = True


class LossHead(nn.Module, ABC):
    """Module that owns the class parameters and maps features and labels to a scalar loss.

    A new loss implements `terms` and `logits`, both decorated with `@in_float32`. If its training
    requires more than gradient steps on its parameters, it also overrides some of
    `parameter_groups`, `schedules`, `before_step`, `after_step`, `fit_class_means` and
    `samples_per_class`. If it depends on the training set or the number of epochs, it declares that
    in `needs` and overrides `prepare`.

    A loss with random draws, such as dropout, draws them from torch's global generator, whose state
    is in the checkpoints, and only in training mode: the model is measured in eval mode.

    Args:
        num_classes: K, at least 2.
        feature_dim: D, at least 1.
    """

    samples_per_class: int | None = None
    """Size of the groups that batches consist of, each of images of one class; None: no groups."""

    needs: frozenset[Need] = frozenset()
    """Facts about the training that the loss depends on.

    - `class_counts`, `epochs`: passed to `prepare` before the training.
    - `sample_indices`: `sample_indices` has the indices of the images of each batch, and `prepare`
      receives the number of images.
    """

    sample_indices: Tensor | None = None
    """(N,) Indices in the training set of the images of the current batch, for losses that declare
    the need; set by the training loop before `terms` is called. None in eval mode, in which the
    images need not be those of the training set."""

    stops_gradients: bool = False
    """Whether `terms` deliberately treats values that depend on the features as constants, such as
    targets made of the network's own predictions. Its gradient is then not that of its value."""

    needs_class_means: bool = False
    """Whether `logits` requires a call of `fit_class_means` with the training set."""

    verification_distance: Literal["cosine", "mahalanobis"] = "cosine"
    """Distance between two features in face verification."""

    def __init__(self, num_classes: int, feature_dim: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.feature_dim = feature_dim

    @abstractmethod
    def terms(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Weighted scalar terms under the names of the paper. Pure: changes no state.

        Args:
            features: (N, D)
            labels: (N,), in [0, K).
        """

    @abstractmethod
    def logits(self, features: Tensor) -> Tensor:
        """Class scores (N, K) without margin; their softmax is the posterior.

        Args:
            features: (N, D)
        """

    def terms_and_scores(self, features: Tensor, labels: Tensor) -> TermsAndScores:
        """The terms, and class scores if they were computed for the terms anyway.

        The training loop computes the training error from these scores, and calls `logits` only if
        they are None. Only their values are used, not their gradients. Default: None.

        Args:
            features: (N, D)
            labels: (N,), in [0, K).

        Returns:
            The terms, and None or class scores (N, K) without margin: those of `logits`, up to
            rounding and a number for each sample, on which their softmax does not depend.
        """
        return self.terms(features, labels), None

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Loss of a batch: the sum of the terms."""
        return total(self.terms(features, labels))

    @in_float32
    def log_odds(self, features: Tensor, labels: Tensor) -> Tensor:
        """Log-odds (N,) of the true class against all others together.

        The classification loss is softplus(-log-odds). Default: computed from `logits`, without
        margin.
        """
        return true_class_log_odds(self.logits(features), labels)  # (N,)

    @in_float32
    def margin_scores(self, features: Tensor, labels: Tensor) -> Tensor:
        """Class scores (N, K) as in the paper; their cross-entropy is the classification loss.

        They include the margin. Scores from `logits` may differ from those of the paper by a number
        for each sample; these do not. Default: `logits`.
        """
        return self.logits(features)  # (N, K)

    def parameter_groups(self) -> list[ParameterGroup]:
        """All learnable parameters, in groups.

        Default: one group with the optimizer settings of the model.
        """
        parameters = tuple(self.parameters())
        return [ParameterGroup(parameters)] if parameters else []

    def schedules(self) -> Mapping[str, Callable[[float], float]]:
        """Buffers that change during training, as functions of the progress in [0, 1), by name."""
        return {}

    def prepare(self, facts: TrainingFacts) -> None:
        """Receive the facts about the training that the loss has declared in `needs`.

        Called once, before weights or a checkpoint are loaded. State that is made of the facts is
        registered as a buffer.

        Args:
            facts: Facts about the training.

        Raises:
            ParameterError: The loss cannot be trained on these classes.
        """

    @torch.no_grad()
    def set_progress(self, progress: float) -> None:
        """Set the scheduled buffers. The training loop calls this before each step.

        Args:
            progress: Completed steps divided by all steps, in [0, 1).
        """
        for name, value_at in self.schedules().items():
            self.get_buffer(name).fill_(value_at(progress))

    def before_step(self, features: Tensor, labels: Tensor) -> None:
        """Update buffers with the parameters that the loss of the step was computed with.

        The training loop calls this after the gradient was computed, before the optimizer's step.

        Args:
            features: (N, D) Features of the step's batch, detached.
            labels: (N,)
        """

    def after_step(self, features: Tensor, labels: Tensor) -> None:
        """Update buffers that the optimizer does not, such as class centers.

        The training loop calls this after each step of the optimizer.

        Args:
            features: (N, D) Features of the step's batch, detached.
            labels: (N,)
        """

    def fit_class_means(self, features: Tensor, labels: Tensor) -> None:
        """Compute class means from the training set; called only if `needs_class_means`.

        Args:
            features: (N, D) Features of the training set, without augmentation.
            labels: (N,)
        """


class ScoreHead(LossHead):
    """Base of losses that implement `terms_and_scores`, from which `terms` follows."""

    @abstractmethod
    def terms_and_scores(self, features: Tensor, labels: Tensor) -> TermsAndScores: ...

    def terms(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return self.terms_and_scores(features, labels)[0]


def shares_scores(head: LossHead) -> bool:
    """Whether `terms_and_scores` belongs to the `terms` and `logits` of a head.

    It does not if a class derived from the one that implements it, or the object itself, has other
    `terms` or `logits`.
    """
    for namespace in (vars(head), *map(vars, type(head).__mro__)):
        if "terms_and_scores" in namespace:
            return True
        if "terms" in namespace or "logits" in namespace:
            return False
    raise AssertionError("LossHead has all of them")


class DensityHead(LossHead):
    """Head that also models the density of the features (L-GM, center loss)."""

    @abstractmethod
    def class_log_density(self, features: Tensor) -> Tensor:
        """Log-density (N, K) of each class, log N(x; mu_k, Lambda_k).

        Args:
            features: (N, D)
        """

    @property
    @abstractmethod
    def class_means(self) -> Tensor:
        """Class means (K, D), mu_k, detached."""


LOSSES: Registry[LossHead] = Registry("loss", group="lossbench.losses")


def create_loss(name: str, *, num_classes: int, feature_dim: int, **params: Any) -> LossHead:
    """Create a loss head by name.

    Args:
        name: `softmax`, `center`, `l_softmax`, `contrastive`, `triplet`, `lgm`, `arcface`, ...
        num_classes: K, at least 2.
        feature_dim: D, at least 1.
        **params: Parameters of the loss; `lossbench list losses` lists them. For a keyword of
            Python, append an underscore (`lambda_`) or unpack a dict.

    Raises:
        UnknownNameError: There is no loss of this name.
        ParameterError: A parameter is unknown, or its value has a wrong type or range.
        ValueError: `num_classes` or `feature_dim` is too small.

    Example:
        >>> import torch
        >>> head = create_loss("lgm", num_classes=10, feature_dim=2, alpha=0.3)
        >>> loss = head(torch.randn(4, 2), torch.tensor([0, 1, 2, 3]))
        >>> loss.shape, head.logits(torch.randn(4, 2)).shape
        (torch.Size([]), torch.Size([4, 10]))
    """
    entry = LOSSES[name]
    if num_classes < 2 or feature_dim < 1:
        raise ValueError(f"num_classes={num_classes}, feature_dim={feature_dim}: too small")
    return entry.create(num_classes, feature_dim, **params)
