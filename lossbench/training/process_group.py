"""Group of processes that train one model, each on its share of every batch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_gather


@dataclass(frozen=True)
class ProcessGroup:
    """Processes of one training, connected by `torch.distributed` if there are several.

    Every process computes the loss of the whole batch from the features of all processes, so that
    losses over pairs, class counts of a batch and moving centers equal those of a training with one
    process. Batch normalisation, which sees the share of one process, and augmentation, which every
    process draws independently, differ.

    Attributes:
        rank: Rank of this process, from 0.
        size: Number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def min_batch(self) -> int:
        """Smallest batch: two images per process, as batch normalisation cannot train on one."""
        return 2 * self.size

    def used(self, batch: Tensor) -> int:
        """Number of images of a batch that the group trains on."""
        return len(batch) // self.size * self.size

    @property
    def is_main_process(self) -> bool:
        """Whether this process measures and reports."""
        return self.rank == 0

    def share(self, batch: Tensor) -> Tensor:
        """Images of this process; the remainder of the division is not used."""
        each = len(batch) // self.size
        return batch[self.rank * each : (self.rank + 1) * each]

    def wrap(self, model: nn.Module) -> nn.Module:
        """Module with the same outputs, whose gradients are averaged over all processes."""
        if self.size == 1 or not any(p.requires_grad for p in model.parameters()):
            return model
        return nn.parallel.DistributedDataParallel(model)

    def gather(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Features and labels of all processes, in the order of the ranks.

        Since every process computes the whole loss, the gradient of a process's own features
        arrives once from each process; averaging the gradients divides by their number again.
        """
        if self.size == 1:
            return features, labels
        gathered = [torch.empty_like(labels) for _ in range(self.size)]
        dist.all_gather(gathered, labels.contiguous())
        return torch.cat(all_gather(features.contiguous())), torch.cat(gathered)

    def collect(self, own: Any) -> list[Any]:
        """Objects of all processes, in the order of the ranks."""
        if self.size == 1:
            return [own]
        gathered: list[Any] = [None] * self.size
        dist.all_gather_object(gathered, own)
        return gathered

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Average gradients over all processes, so that parameters of the head do not drift apart.

        Every process computes these gradients from the same batch, but rounding may differ.
        """
        if self.size == 1:
            return
        for parameter in parameters:
            if parameter.grad is not None:
                dist.all_reduce(parameter.grad)
                parameter.grad /= self.size
