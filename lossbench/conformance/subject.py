"""A loss under examination, and what is found of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from lossbench.errors import format_exception
from lossbench.losses import LossHead

K, D, N = 4, 6, 16
"""Classes, feature dimension and batch size of most checks."""


class Failure(Exception):
    """A check failed; the message says why, with the numbers."""


class NotApplicable(Exception):
    """A check has nothing to say of this loss; the message says why."""


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        check: Its name.
        status: `none` where the check does not apply.
        why: Empty if all is well.
    """

    check: str
    status: Literal["ok", "failed", "none"]
    why: str = ""


@dataclass(frozen=True)
class Subject:
    """A loss under examination.

    Attributes:
        create: (num_classes, feature_dim) -> a new head, with the parameters to be examined.
        file: Where it is written, for the place of an error; None: nowhere in particular.
    """

    create: Callable[[int, int], LossHead]
    file: Path | None = field(default=None, compare=False)

    def fresh(self, num_classes: int = K, feature_dim: int = D, seed: int = 0) -> LossHead:
        """A head as it is before training."""
        torch.manual_seed(seed)
        return self.create(num_classes, feature_dim)

    def midway(self, feature_dim: int = D, seed: int = 0) -> LossHead:
        """A head in the middle of its training: nothing in it is 0 or new any more."""
        head = self.fresh(K, feature_dim, seed)
        with torch.no_grad():
            for parameter in head.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
        features, labels = batch(feature_dim, seed)
        head.set_progress(0.1 + 0.2 * seed)
        head.after_step(features, labels)
        if head.wants_class_means:
            head.fit_class_means(features, labels)
        return head


Check = Callable[[Subject], None]
"""Raises `Failure`, or `NotApplicable`."""


def batch(feature_dim: int = D, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Features (N, D), normal, and labels (N,), every class equally often."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(N, feature_dim, generator=generator), torch.arange(N) % K


def seeded(head: LossHead, features: Tensor, labels: Tensor) -> Tensor:
    """The loss under a fixed seed: what a head draws at random is drawn again."""
    torch.manual_seed(0)
    loss: Tensor = head(features, labels)
    return loss


def close(a: Tensor, b: Tensor) -> bool:
    """Whether two results differ by rounding alone, at the tolerance of their type."""
    try:
        torch.testing.assert_close(a, b)
    except AssertionError:
        return False
    return True


def number(value: Tensor) -> str:
    """A scalar as a reader wants it; of anything else, its shape."""
    return f"{value.item():.6g}" if value.numel() == 1 else f"a tensor {tuple(value.shape)}"


def examine(subject: Subject, checks: Mapping[str, Check]) -> list[Finding]:
    """Run all checks; an exception inside one is its failure, with the place in the file."""
    torch.set_num_threads(1)  # of tensors this small a second thread only disturbs the first
    return [_examine(subject, name, check) for name, check in checks.items()]


def _examine(subject: Subject, name: str, check: Check) -> Finding:
    try:
        check(subject)
    except Failure as failure:
        return Finding(name, "failed", str(failure))
    except NotApplicable as reason:
        return Finding(name, "none", str(reason))
    except Exception as error:
        return Finding(name, "failed", format_exception(error, subject.file))
    return Finding(name, "ok")
