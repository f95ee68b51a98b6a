"""How a loss is held against its slow reference, and how its largest tensor is found."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

torch.set_num_threads(1)


class LargestTensor(TorchDispatchMode):
    """Remembers the most numbers that one operation returned, and the sum over all."""

    numel = 0
    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        self.numel = max([self.numel, *sizes])
        self.total += sum(sizes)
        return out


@pytest.fixture
def largest_tensor() -> LargestTensor:
    return LargestTensor()


@pytest.fixture
def assert_same_as() -> Callable[..., None]:
    """Compare a head's value and all its gradients with a reference of the same arguments."""

    def compare(
        head: nn.Module,
        features: Tensor,
        labels: Tensor,
        reference: Callable[[Tensor, Tensor], Tensor],
        rtol: float = 1e-10,
    ) -> None:
        inputs = [features.requires_grad_(), *head.parameters()]
        assert all(tensor.dtype == torch.float64 for tensor in inputs)
        value, expected = head(features, labels), reference(features, labels)
        torch.testing.assert_close(value, expected, rtol=rtol, atol=1e-12)
        _assert_same(_gradients(value, inputs), _gradients(expected, inputs), rtol)

    return compare


def _gradients(value: Tensor, inputs: Iterable[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(value, list(inputs), materialize_grads=True))


def _assert_same(actual: list[Tensor], expected: list[Tensor], rtol: float) -> None:
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e, rtol=rtol, atol=1e-12)
