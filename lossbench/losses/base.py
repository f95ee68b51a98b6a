"""The contract of a loss: `LossHead`, and `DensityHead` for those that model a density."""

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
    """Run a head's method outside autocast, with features of at least float32.

    In bfloat16 every expansion of a distance fails; a float32 head on bfloat16 features is
    fine. float64 features stay float64.
    """

    @functools.wraps(method)
    def wrapped(self: LossHead, features: Tensor, *rest: Tensor) -> Any:
        if features.dtype in (torch.float16, torch.bfloat16):
            features = features.float()
        device = features.device.type
        if not torch.is_autocast_enabled(device):  # leaving it takes as long as a small loss
            return method(self, features, *rest)
        with torch.autocast(device, enabled=False):
            return method(self, features, *rest)

    return wrapped  # type: ignore[return-value]


def total(terms: Mapping[str, Tensor]) -> Tensor:
    """The loss of its weighted terms: their sum."""
    return functools.reduce(torch.add, terms.values())


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters of a head that want their own treatment by the optimizer.

    Attributes:
        parameters: Of the head.
        lr_scale: Multiplies the recipe's learning rate.
        decay: Whether the recipe's weight decay applies.
    """

    parameters: tuple[nn.Parameter, ...]
    lr_scale: float = 1.0
    decay: bool = True


class LossHead(nn.Module, ABC):
    """Owns the class parameters; maps features (N, D) and labels (N,) to a scalar.

    A new loss implements `terms` and `logits`, both under `@in_float32`, and overrides what it
    declares beside its parameters: `parameter_groups`, `schedules`, `after_step`,
    `fit_class_means`, `samples_per_class`.

    Args:
        num_classes: K.
        feature_dim: D.
    """

    samples_per_class: int | None = None
    """Batches are made of groups of this many images of one class; None: of single images."""

    wants_class_means: bool = False
    """Whether `fit_class_means` must see the training set before `logits` is used."""

    verification_distance: Literal["cosine", "mahalanobis"] = "cosine"
    """How two features are compared, to tell whether they show the same identity."""

    def __init__(self, num_classes: int, feature_dim: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.feature_dim = feature_dim

    @abstractmethod
    def terms(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Weighted scalars, by the paper's names. Pure: changes no state."""

    @abstractmethod
    def logits(self, features: Tensor) -> Tensor:
        """(N, K) class scores without margin; their softmax is the posterior."""

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """The sum of the terms."""
        return total(self.terms(features, labels))

    @in_float32
    def log_odds(self, features: Tensor, labels: Tensor) -> Tensor:
        """Log-odds (N,) of the true class against all others together.

        The classification loss is softplus(-log-odds). Default: computed from `logits`, without
        margin.
        """
        return true_class_log_odds(self.logits(features), labels)  # (N,)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Every learnable parameter, in groups. Default: one group, treated as the model is."""
        parameters = tuple(self.parameters())
        return [ParameterGroup(parameters)] if parameters else []

    def schedules(self) -> Mapping[str, Callable[[float], float]]:
        """Buffers that change during training: name -> value at a progress in [0, 1)."""
        return {}

    @torch.no_grad()
    def set_progress(self, progress: float) -> None:
        """Fill the scheduled buffers. The training loop calls this before each step.

        Args:
            progress: Steps done / steps in all, in [0, 1).
        """
        for name, value_at in self.schedules().items():
            self.get_buffer(name).fill_(value_at(progress))

    def after_step(self, features: Tensor, labels: Tensor) -> None:
        """Update what the optimizer does not, from the step's detached features."""

    def fit_class_means(self, features: Tensor, labels: Tensor) -> None:
        """Take class means from the training set's features; only if `wants_class_means`."""


class DensityHead(LossHead):
    """A head that also models the features' density (L-GM, center loss)."""

    @abstractmethod
    def class_log_density(self, features: Tensor) -> Tensor:
        """(N, K) log N(x; mu_k, Lambda_k)."""

    @property
    @abstractmethod
    def class_means(self) -> Tensor:
        """(K, D) mu_k, detached."""


LOSSES: Registry[LossHead] = Registry("loss", group="lossbench.losses")


def create_loss(name: str, *, num_classes: int, feature_dim: int, **params: Any) -> LossHead:
    """Build a loss head.

    Args:
        name: `softmax`, `center`, `l_softmax`, `contrastive`, `triplet`, `lgm`, `arcface`, ...
        num_classes: K, at least 2.
        feature_dim: D, at least 1.
        **params: Of the loss; `lossbench list losses` shows them. A name that Python
            reserves takes an underscore (`lambda_`) or comes in a dict.

    Raises:
        UnknownNameError: There is no such loss.
        ParameterError: A parameter is unknown, or its value has a wrong type or range.

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
