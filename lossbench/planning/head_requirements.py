"""Extra training requirements of a loss head, as plain data for plans and reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import Field

from lossbench.records import Strict
from lossbench.suite.schema import Component


class HeadRequirements(Strict):
    """Differences between the training of a row and plain steps of the recipe's optimizer.

    Attributes:
        parameters: Number of learnable scalars in the head.
        lr_scales: Parameter -> factor of the recipe's learning rate, if it is not 1.
        undecayed: Parameters without weight decay.
        samples_per_class: Batches consist of groups of this many images of one class; None if
            images are drawn individually.
        scheduled: Buffers that a schedule sets during the training.
        self_updated: Buffers that the head updates itself after each step.
        class_means: Whether the head classifies by the nearest class mean.
        verification_distance: Distance by which two faces are compared.
        needs: Facts about the training that the loss depends on, as in `LossHead.needs`.
    """

    parameters: int
    lr_scales: dict[str, float] = Field(default={})
    undecayed: tuple[str, ...] = ()
    samples_per_class: int | None = None
    scheduled: tuple[str, ...] = ()
    self_updated: tuple[str, ...] = ()
    class_means: bool = False
    verification_distance: Literal["cosine", "mahalanobis"] = "cosine"
    needs: tuple[str, ...] = ()


HeadKey = tuple[str, str]
"""Identity of a head: the variant, and the loss with all its parameters as JSON."""
DryRunHead = Callable[[str, Component], HeadRequirements]
"""Dry run of the head of a loss on the model of a variant; raises ParameterError if it fails."""


def head_key(variant: str, loss: Component) -> HeadKey:
    return variant, loss.model_dump_json()
