"""What a head needs beside a gradient step, as plain data for plans and reports."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lossbench.records import Strict


class Needs(Strict):
    """How the training of a row differs from plain steps of the recipe's optimizer.

    Attributes:
        parameters: Number of learnable numbers in the head.
        lr_scales: Parameter -> factor of the recipe's learning rate, where that is not 1.
        undecayed: Parameters without weight decay.
        samples_per_class: Images of one class that a batch has together; None: drawn singly.
        scheduled: Buffers that change with the training's progress.
        self_updated: Buffers that the head moves itself after each step.
        class_means: Whether it classifies by the nearest mean of a class.
        verification_distance: How two faces are compared.
    """

    parameters: int
    lr_scales: dict[str, float] = Field(default={})
    undecayed: tuple[str, ...] = ()
    samples_per_class: int | None = None
    scheduled: tuple[str, ...] = ()
    self_updated: tuple[str, ...] = ()
    class_means: bool = False
    verification_distance: Literal["cosine", "mahalanobis"] = "cosine"
