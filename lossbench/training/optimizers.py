"""Optimizers by name. A factory checks parameters and returns a function: groups -> optimizer.

This way parameters can be checked without creating an optimizer: for the first one, torch imports
its compiler, which takes two seconds. A subclass of `torch.optim.Optimizer` can be registered as it
is; see `optimizer_classes.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated

from pydantic import Field
from torch import nn, optim

from lossbench.errors import ParameterError, Problem
from lossbench.losses import LossHead
from lossbench.registry import Registry
from lossbench.suite.schema import Component
from lossbench.training.optimizer_classes import Groups, optimizer_factory
from lossbench.training.torch_optimizers import (
    PREFIX,
    UNSUPPORTED,
    optimizer_names,
    placeholder_entry,
    torch_optimizer_entry,
)

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
DecayRate = Annotated[float, Field(ge=0, lt=1)]

OPTIMIZERS: Registry[Callable[[Groups], optim.Optimizer]] = Registry(
    "optimizer", group="lossbench.optimizers", adapt=optimizer_factory
)
OPTIMIZERS.register_prefix(
    PREFIX, torch_optimizer_entry, optimizer_names, placeholder_entry(), UNSUPPORTED
)


@OPTIMIZERS.register("sgd", reference="Sutskever et al., ICML 2013")
def sgd(
    *,
    lr: Positive,
    momentum: DecayRate = 0.0,
    nesterov: bool = False,
    weight_decay: NonNegative = 0.0,
) -> Callable[[Groups], optim.Optimizer]:
    """Stochastic gradient descent with momentum.

    Args:
        lr: Learning rate, > 0.
        momentum: Momentum, in [0, 1).
        nesterov: Whether the momentum is Nesterov's.
        weight_decay: Weight decay (L2), added to the gradient, >= 0.
    """
    if nesterov and not momentum:
        problem = Problem(("nesterov",), "needs a momentum greater than 0")
        raise ParameterError("sgd", [problem])
    return partial(
        optim.SGD, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay
    )


@OPTIMIZERS.register("adamw", reference="Loshchilov & Hutter, ICLR 2019")
def adamw(
    *,
    lr: Positive = 1e-3,
    beta1: DecayRate = 0.9,
    beta2: DecayRate = 0.999,
    weight_decay: NonNegative = 0.01,
) -> Callable[[Groups], optim.Optimizer]:
    """Adam with decoupled weight decay.

    Args:
        lr: Learning rate, > 0.
        beta1: Decay rate of the mean of the gradients, in [0, 1).
        beta2: Decay rate of the mean of their squares, in [0, 1).
        weight_decay: Decoupled weight decay, >= 0.
    """
    return partial(optim.AdamW, lr=lr, betas=(beta1, beta2), weight_decay=weight_decay)


def build_optimizer(chosen: Component, model: nn.Module, head: LossHead) -> optim.Optimizer:
    """Optimizer for the parameters of the model and the parameter groups of the head.

    Each group has a `lr_scale`; the training loop sets lr = base * schedule * lr_scale. Groups
    without decay have a `weight_decay` of 0 if the optimizer has one, and a `lambd` of 0 in ASGD.
    """
    groups: Groups = [{"params": list(model.parameters()), "lr_scale": 1.0}]
    declared = head.parameter_groups()
    for each in declared:
        group = {"params": list(each.parameters), "lr_scale": each.lr_scale}
        groups.append(group if each.decay else {**group, "weight_decay": 0.0})
    optimizer = OPTIMIZERS[chosen.name].create(**chosen.params)(groups)
    for group, own in zip(optimizer.param_groups[1:], declared, strict=True):
        if not own.decay and "weight_decay" not in optimizer.defaults:
            del group["weight_decay"]
        if not own.decay and isinstance(optimizer, optim.ASGD):
            group["lambd"] = 0.0
    return optimizer
