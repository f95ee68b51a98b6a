"""Several processes that train one model, each on its share of every batch."""

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
    """The processes of one training; `torch.distributed` joins them where they are several.

    Every process computes the loss of the whole batch from everybody's features, so that a loss
    over pairs, a batch's class counts or moving centers are those of a training by one process.
    What differs is batch normalisation, which sees one process's share, and augmentation, which
    every process draws for itself.

    Attributes:
        rank: Of this process, from 0.
        size: Number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def min_batch(self) -> int:
        """Images of a batch: batch normalisation cannot train on one."""
        return 2 * self.size

    def used(self, batch: Tensor) -> int:
        """How many images of a batch the group trains on."""
        return len(batch) // self.size * self.size

    @property
    def is_main_process(self) -> bool:
        """Whether this process measures and reports."""
        return self.rank == 0

    def share(self, batch: Tensor) -> Tensor:
        """This process's part; what does not divide evenly is left out."""
        each = len(batch) // self.size
        return batch[self.rank * each : (self.rank + 1) * each]

    def join(self, model: nn.Module) -> nn.Module:
        """A module with the same outputs whose gradients are averaged over all processes."""
        if self.size == 1 or not any(p.requires_grad for p in model.parameters()):
            return model
        return nn.parallel.DistributedDataParallel(model)

    def gather(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Everybody's features and labels, in the order of the ranks.

        The gradient of a loss that every process computes comes back to a process's own features
        once from each of them; the average over all processes divides by their number again.
        """
        if self.size == 1:
            return features, labels
        gathered = [torch.empty_like(labels) for _ in range(self.size)]
        dist.all_gather(gathered, labels.contiguous())
        return torch.cat(all_gather(features.contiguous())), torch.cat(gathered)

    def collect(self, own: Any) -> list[Any]:
        """What every process has, in the order of the ranks."""
        if self.size == 1:
            return [own]
        gathered: list[Any] = [None] * self.size
        dist.all_gather_object(gathered, own)
        return gathered

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Keep what every process computes the same from drifting apart by rounding."""
        if self.size == 1:
            return
        for parameter in parameters:
            if parameter.grad is not None:
                dist.all_reduce(parameter.grad)
                parameter.grad /= self.size
