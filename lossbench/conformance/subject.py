"""The loss under test, and the execution of checks on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from lossbench.errors import format_exception
from lossbench.losses import LossHead, TrainingFacts

K, D, N = 4, 6, 16
"""Classes, feature dimension and batch size of most checks."""


class CheckFailedError(Exception):
    """A check failed; the message has the reason and the numbers."""


class CheckSkippedError(Exception):
    """A check does not apply to this loss; the message has the reason."""


@dataclass(frozen=True)
class CheckResult:
    """Result of one check.

    Attributes:
        check: Name of the check.
        status: `ok`, `failed`, or `none` if the check does not apply.
        reason: Reason for the status; empty for `ok`.
    """

    check: str
    status: Literal["ok", "failed", "none"]
    reason: str = ""


@dataclass(frozen=True)
class Subject:
    """A loss to be checked.

    Attributes:
        create: Function from (num_classes, feature_dim) to a new head.
        file: File of the loss, for line numbers in messages; None if it is unknown.
    """

    create: Callable[[int, int], LossHead]
    file: Path | None = field(default=None, compare=False)

    def fresh(self, num_classes: int = K, feature_dim: int = D, seed: int = 0) -> LossHead:
        """Return a new head."""
        torch.manual_seed(seed)
        head = self.create(num_classes, feature_dim)
        head.prepare(TrainingFacts(torch.arange(num_classes, 0, -1) * N, epochs=10))
        set_sample_indices(head, torch.arange(N))
        return head

    def partly_trained(self, feature_dim: int = D, seed: int = 0) -> LossHead:
        """Return a head with random parameters, as in the middle of a training."""
        head = self.fresh(K, feature_dim, seed)
        with torch.no_grad():
            for parameter in head.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
        features, labels = batch(feature_dim, seed)
        head.set_progress(0.1 + 0.2 * seed)
        head.before_step(features, labels)
        head.after_step(features, labels)
        if head.needs_class_means:
            head.fit_class_means(features, labels)
        return head


Check = Callable[[Subject], None]
"""A check; it raises `CheckFailedError` or `CheckSkippedError`."""


def batch(feature_dim: int = D, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Return normal features (N, D) and labels (N,) with the same number of each class."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(N, feature_dim, generator=generator), torch.arange(N) % K


def set_sample_indices(head: LossHead, indices: Tensor) -> None:
    """Set the indices of the next batch, if the head needs them, as the training loop does."""
    if "sample_indices" in head.needs:
        head.sample_indices = indices


def seeded_loss(
    head: LossHead, features: Tensor, labels: Tensor, indices: Tensor | None = None
) -> Tensor:
    """Return the loss under a fixed seed, so that random draws of the head repeat.

    Args:
        head: The head.
        features: (N, D)
        labels: (N,)
        indices: (N,) Indices of the samples in the training set; by default the first ones.
    """
    torch.manual_seed(0)
    set_sample_indices(head, torch.arange(len(labels)) if indices is None else indices)
    loss: Tensor = head(features, labels)
    return loss


def is_close(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are equal up to rounding, by torch's tolerances for their dtype."""
    try:
        torch.testing.assert_close(a, b)
    except AssertionError:
        return False
    return True


def format_scalar(value: Tensor) -> str:
    """Format a scalar; for other tensors, their shape."""
    return f"{value.item():.6g}" if value.numel() == 1 else f"a tensor {tuple(value.shape)}"


def run_checks(subject: Subject, checks: Mapping[str, Check]) -> list[CheckResult]:
    """Run checks on a loss; an unexpected exception is a failure, with its line in the file."""
    torch.set_num_threads(1)  # tensors are so small that more threads cost time
    return [_run_check(subject, name, check) for name, check in checks.items()]


def _run_check(subject: Subject, name: str, check: Check) -> CheckResult:
    try:
        check(subject)
    except CheckFailedError as failure:
        return CheckResult(name, "failed", str(failure))
    except CheckSkippedError as reason:
        return CheckResult(name, "none", str(reason))
    except Exception as error:
        return CheckResult(name, "failed", format_exception(error, subject.file))
    return CheckResult(name, "ok")
