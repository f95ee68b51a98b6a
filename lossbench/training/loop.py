"""The training loop, the same for every loss."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor, nn, optim
from torch.nn.utils import clip_grad_norm_

from lossbench.data.images import Augment, Images, Normaliser
from lossbench.data.sampling import epoch_order, split_into_batches, steps_per_epoch
from lossbench.losses import LossHead, TermsAndScores, shares_scores, total
from lossbench.training.process_group import ProcessGroup
from lossbench.training.schedules import Schedule
from lossbench.training.seeding import stream
from lossbench.training.weight_averaging import WeightAverage

SMALL_BATCH = 8
"""Largest batch whose classes are listed if its loss was not finite."""


@dataclass
class Training:
    """Components and state of one training.

    Attributes:
        schedule: Function of the number of finished epochs that returns the factor of the base
            learning rate.
        epochs, batch_size, seed: Settings of the trial.
        clip_norm: Largest L2 norm of the gradient of all trained parameters together; None:
            gradients are not clipped.
        averaging: Average of the weights that is measured; None: the last weights are measured.
        autocast: Type of the model's computation; None: the type of its parameters.
        compiled: Whether model and head are compiled together; for a single process only.
        group: Processes that train the model together.
        epochs_done: Number of finished epochs.
        order_stream: Generator for the order of the images, the same in every process.
        augment_stream: Generator for the augmentations.
    """

    model: nn.Module
    head: LossHead
    optimizer: optim.Optimizer
    schedule: Schedule
    augmentations: list[Augment]
    normalise: Normaliser
    epochs: int
    batch_size: int
    seed: int
    clip_norm: float | None = None
    averaging: WeightAverage | None = None
    autocast: torch.dtype | None = None
    compiled: bool = False
    group: ProcessGroup = field(default_factory=ProcessGroup)
    epochs_done: int = 0
    order_stream: Generator = field(init=False)
    augment_stream: Generator = field(init=False)

    def __post_init__(self) -> None:
        rank = "" if self.group.is_main_process else f" {self.group.rank}"
        self.order_stream = stream(self.seed, "order")
        self.augment_stream = stream(self.seed, f"augment{rank}")

    def measured_network(self, data: Images) -> tuple[nn.Module, LossHead]:
        """Model and head that are measured and stored, in eval mode.

        They are those of the training, or their average as soon as there is one.

        Args:
            data: Training images.
        """
        average = self.averaging
        if average is None or average.count == 0:
            return self.model.eval(), self.head.eval()
        average.prepare_measurement(self.model, self.head, data, self.normalise, self.batch_size)
        return average.model, average.head


def train(
    training: Training,
    data: Images,
    on_epoch: Callable[[int, dict[str, float]], None],
    until: int | None = None,
) -> str:
    """Train the remaining epochs.

    After each epoch, `on_epoch(epoch, metrics)` is called with model and head in eval mode. The
    training ends after an epoch whose loss was not finite.

    With `clip_norm`, the gradient of the whole batch is scaled by min(1, clip_norm / its norm)
    before each step; to 0 if float32 cannot represent its norm (above 1.8e19). Updates by the loss
    itself (`LossHead.after_step`), such as those of the centers of center loss, are not gradients
    and are not clipped.

    Metrics: means over the epoch of `train_loss`, `train_<term>` and `train_error` (percent, of the
    augmented images, in training mode); `lr` of the last step; `train_time_sec`.

    Args:
        training: The training.
        data: Images to train on.
        on_epoch: Called after each epoch.
        until: Last epoch to train now; None: all epochs of the training.

    Returns:
        Location of the first loss that was not finite, with its terms; empty if all losses were
        finite.
    """
    model, head, optimizer = training.model, training.head, training.optimizer
    group = training.group
    wrapped = group.wrap(model)
    forward = _compiled(training, wrapped) if training.compiled else _forward(training, wrapped)
    base_lr = optimizer.defaults["lr"]
    trained = [p for param_group in optimizer.param_groups for p in param_group["params"]]
    labels_on_cpu = data.labels.cpu()
    min_batch = group.min_batch
    steps = steps_per_epoch(len(labels_on_cpu), training.batch_size, min_batch)

    for epoch in range(training.epochs_done, until or training.epochs):
        model.train()
        head.train()
        started = time.perf_counter()
        order = epoch_order(labels_on_cpu, head.samples_per_class, training.order_stream)
        sums: dict[str, Tensor] = {}
        values: list[dict[str, Tensor]] = []  # terms of each step, to find those not finite
        whole = list(split_into_batches(order, training.batch_size, min_batch))
        used = sum(group.used(batch) for batch in whole)
        shares = [group.share(batch) for batch in whole]
        augmented = data.augmented(shares, training.augmentations, training.augment_stream)
        for step, (images, labels) in enumerate(augmented):
            epochs_done = epoch + step / steps
            head.set_progress(epochs_done / training.epochs)
            lr = base_lr * training.schedule(epochs_done)
            for param_group in optimizer.param_groups:
                param_group["lr"] = lr * param_group["lr_scale"]

            if "sample_indices" in head.needs:
                used_indices = whole[step][: group.used(whole[step])]
                head.sample_indices = used_indices.to(labels.device)
            features, labels, (terms, scores) = forward(images, labels)
            loss = total(terms)
            with torch.no_grad():  # before the step, with the parameters used for the features
                if scores is None:
                    scores = head.logits(features.detach())
                wrong = misclassified(scores, labels).float().mean()
            del scores  # (N, K), which the backward pass would keep in memory
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            head.before_step(features.detach(), labels)
            group.average_gradients(head.parameters())
            if training.clip_norm is not None:
                clip_grad_norm_(trained, training.clip_norm)
            optimizer.step()
            head.after_step(features.detach(), labels)
            if training.averaging is not None:
                training.averaging.after_step(model, head)

            for name, value in {"loss": loss, **terms, "error": 100 * wrong}.items():
                sums[name] = sums.get(name, 0.0) + value.detach() * (len(labels) / used)
            values.append({name: value.detach() for name, value in terms.items()})

        metrics = {f"train_{name}": float(value) for name, value in sums.items()}
        metrics["lr"] = base_lr * training.schedule(epoch + (steps - 1) / steps)
        metrics["train_time_sec"] = time.perf_counter() - started
        model.eval()
        head.eval()
        head.sample_indices = None
        training.epochs_done = epoch + 1
        if training.averaging is not None:
            training.averaging.after_epoch(model, head, epoch + 1)
        on_epoch(epoch + 1, metrics)
        if not math.isfinite(metrics["train_loss"]):
            step_labels = [labels_on_cpu[batch] for batch in whole]
            return f"the loss was not finite in epoch {epoch + 1}{_where(values, step_labels)}"
    return ""


def misclassified(scores: Tensor, labels: Tensor) -> Tensor:
    """(N,) True where the largest score is not the label's or a score is NaN; scores are (N, K)."""
    best, predicted = scores.max(1)  # NaN if any score is NaN
    return (predicted != labels) | best.isnan()


def _where(values: Sequence[Mapping[str, Tensor]], step_labels: Sequence[Tensor]) -> str:
    """First step whose loss was not finite, with its terms, and the classes of a small batch."""
    for step, (terms, labels) in enumerate(zip(values, step_labels, strict=True)):
        numbers = {name: float(value) for name, value in terms.items()}
        broken = [
            f"{name} {value:g}" for name, value in numbers.items() if not math.isfinite(value)
        ]
        if math.isfinite(sum(numbers.values())):
            continue
        text = f", step {step + 1} of {len(values)}: {', '.join(broken) or 'the sum of its terms'}"
        if len(labels) <= SMALL_BATCH:
            listed = ", ".join(map(str, labels.tolist()))
            text += f"; the batch had {len(labels)} images, of class {listed}"
        return text
    return ""


Forward = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, TermsAndScores]]
"""Images and labels of one process -> features and labels of the whole batch, terms and scores."""


def _forward(training: Training, wrapped: nn.Module) -> Forward:
    head = training.head
    shared = shares_scores(head)

    def forward(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, TermsAndScores]:
        used = training.autocast is not None
        with torch.autocast(images.device.type, training.autocast, used):
            features = wrapped(training.normalise(images))  # (B, D)
        features, labels = training.group.gather(features, labels)
        if not shared:
            return features, labels, (head.terms(features, labels), None)
        terms, scores = head.terms_and_scores(features, labels)
        # detached, or a compiled function would compute a gradient of zeros for them
        return features, labels, (terms, None if scores is None else scores.detach())

    return forward


def _compiled(training: Training, wrapped: nn.Module) -> Forward:
    """Compile for fixed shapes: only the last batch of an epoch may have another size.

    A process compiles this function for eight shapes and modules in all, and runs further ones
    uncompiled, with other roundings. So what earlier trainings of it compiled is removed.
    """
    torch.compiler.reset()
    compiled: Forward = torch.compile(_forward(training, wrapped), dynamic=False)
    return compiled
