"""Average of the weights of a model and its head, which is measured in place of the last weights.

The averages themselves are those of `torch.optim.swa_utils`.

- Parameters of model and head are averaged.
- Buffers of the head (centers, targets of single images, scheduled numbers) are those of the
  training: a loss updates them itself.
- Buffers of the model: with `ema`, those of real numbers, such as the statistics of batch
  normalisation, are averaged, too, as in timm and torchvision's reference training. With `swa`, the
  statistics of batch normalisation are computed anew with the averaged parameters, from the
  training images without augmentation, and other buffers are those of the training.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn, get_swa_multi_avg_fn

from lossbench.data.images import Images, Normaliser
from lossbench.data.sampling import split_into_batches
from lossbench.losses import LossHead
from lossbench.suite.weight_averaging import WeightAveraging
from lossbench.training.schedules import ROUNDING

BATCH_NORMALISATION = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class WeightAverage:
    """Averaged copies of a model and its head.

    Args:
        chosen: Kind of the average, and its parameter.
        model, head: Initialised model and head of the training.
        epochs: Number of epochs of the training.

    Attributes:
        model, head: Copies with the averaged parameters.
        count: Number of weights that were averaged so far.
    """

    def __init__(
        self, chosen: WeightAveraging, model: nn.Module, head: LossHead, epochs: int
    ) -> None:
        self._after_steps, self._epochs = chosen.name == "ema", epochs
        self._start = 0.0 if chosen.start is None else chosen.start
        self._average = (
            get_swa_multi_avg_fn() if chosen.decay is None else get_ema_multi_avg_fn(chosen.decay)
        )
        self.model, self.head = copy.deepcopy(model), copy.deepcopy(head)
        self.count = 0
        self._statistics_of = 0

    def after_step(self, model: nn.Module, head: LossHead) -> None:
        """Average the weights after a step of the training, with `ema`."""
        if self._after_steps:
            self._update(model, head)

    def after_epoch(self, model: nn.Module, head: LossHead, epochs_done: int) -> None:
        """Average the weights at the end of an epoch, with `swa` after its start."""
        if not self._after_steps and epochs_done + ROUNDING >= self._start * self._epochs:
            self._update(model, head)

    @torch.no_grad()
    def _update(self, model: nn.Module, head: LossHead) -> None:
        averaged = list(self._averaged(self.model, self.head))
        current = list(self._averaged(model, head))
        if self.count == 0:
            for own, value in zip(averaged, current, strict=True):
                own.copy_(value)
        else:
            for dtype in {tensor.dtype for tensor in averaged}:  # the functions need one type
                same = [i for i, tensor in enumerate(averaged) if tensor.dtype == dtype]
                self._average([averaged[i] for i in same], [current[i] for i in same], self.count)
        self.count += 1

    def _averaged(self, model: nn.Module, head: LossHead) -> Iterator[Tensor]:
        """Tensors that are averaged."""
        yield from (parameter.detach() for parameter in model.parameters())
        yield from (parameter.detach() for parameter in head.parameters())
        if self._after_steps:
            yield from (buffer for buffer in model.buffers() if buffer.is_floating_point())

    @torch.no_grad()
    def prepare_measurement(
        self,
        model: nn.Module,
        head: LossHead,
        images: Images,
        normalise: Normaliser,
        batch_size: int,
    ) -> None:
        """Bring the buffers of the copies to the state of the average, and both into eval mode.

        Args:
            model, head: Model and head of the training.
            images: Training images.
            normalise: Normaliser of the images.
            batch_size: Images per batch for the statistics of batch normalisation.
        """
        for own, value in zip(self.head.buffers(), head.buffers(), strict=True):
            own.copy_(value)
        self.model.eval()
        self.head.eval()
        if self._statistics_of == self.count:
            return
        for own, value in zip(self.model.buffers(), model.buffers(), strict=True):
            if not (self._after_steps and own.is_floating_point()):
                own.copy_(value)
        if not self._after_steps:
            recompute_statistics(self.model, images, normalise, batch_size)
        self._statistics_of = self.count

    def state(self) -> dict[str, Any]:
        """State for `load_state`."""
        tensors = [tensor.clone() for tensor in self._averaged(self.model, self.head)]
        return {"count": self.count, "tensors": tensors}

    @torch.no_grad()
    def load_state(self, state: dict[str, Any]) -> None:
        """Restore a state.

        Raises:
            KeyError, RuntimeError, ValueError: It is of another training.
        """
        averaged = self._averaged(self.model, self.head)
        for own, value in zip(averaged, state["tensors"], strict=True):
            own.copy_(value)
        self.count, self._statistics_of = state["count"], 0


def recompute_statistics(
    model: nn.Module, images: Images, normalise: Normaliser, batch_size: int
) -> None:
    """Set the statistics of batch normalisation to their means over batches of the images.

    As `torch.optim.swa_utils.update_bn`, but the other layers, such as dropout, are in eval mode,
    so that nothing is random. The order of the images is random and the same at every call: in the
    order of a data set, a batch may have images of a single class, and less variance.
    """
    layers = [each for each in model.modules() if isinstance(each, BATCH_NORMALISATION)]
    layers = [layer for layer in layers if layer.track_running_stats]
    if not layers:
        return
    before = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the mean over all batches
        layer.train()
    order = torch.randperm(len(images), generator=Generator().manual_seed(0))
    batches = split_into_batches(order, batch_size, 2)
    for batch, _ in images.augmented(batches, [], Generator()):
        model(normalise(batch))
    for layer, momentum in zip(layers, before, strict=True):
        layer.momentum = momentum
        layer.eval()
