"""Check of an optimizer whose code is not part of lossbench, on a small network."""

from __future__ import annotations

import copy
from numbers import Real
from typing import Any

import torch
from torch import Generator, Tensor, nn, optim

from lossbench.assembly.user_components import described, restored_random_states
from lossbench.errors import UnusableComponentError


def check_optimizer(build: Any) -> None:
    """Train a small layer for two steps with an optimizer.

    Args:
        build: Result of the optimizer's factory: a function from parameter groups to an optimizer.

    Raises:
        UnusableComponentError: It is no such function, or the optimizer cannot be used.
    """
    if isinstance(build, optim.Optimizer) or not callable(build):
        raise UnusableComponentError(
            f"gives {described(build)}; should give a function: parameter groups -> optimizer"
        )
    steps, ends = [], []
    with restored_random_states():
        for scale, resumed in ((1.0, False), (0.5, False), (1.0, True)):
            torch.manual_seed(0)
            layers = _layers()
            optimizer = build(_groups(layers))
            _require_optimizer(optimizer, layers)
            steps.append(_step(optimizer, layers, scale))
            if resumed:  # as a training that is resumed from a checkpoint
                state = copy.deepcopy(optimizer.state_dict())
                optimizer = build(_groups(layers))
                optimizer.load_state_dict(state)
            ends.append(_step(optimizer, layers, scale))
    if not all(torch.isfinite(values).all() for values in steps):
        raise UnusableComponentError("a step makes parameters that are not finite")
    if torch.equal(ends[0], _flat(_layers())):
        raise UnusableComponentError("two steps change no parameter")
    if torch.equal(*steps[:2]) and not torch.equal(steps[0], _flat(_layers())):
        raise UnusableComponentError(
            "a step does not depend on the `lr` of the parameter groups, which the schedule sets; "
            "read it in step(), as in `for group in self.param_groups: ... group['lr']`"
        )
    if not torch.equal(ends[0], ends[2]):
        raise UnusableComponentError(
            "a step after its state_dict() was loaded into a new optimizer differs; keep all state "
            "in self.state or the parameter groups, which checkpoints have"
        )


def _layers() -> nn.ModuleList:
    """A layer of a model and one of a head, with the same weights in each call."""
    layers = nn.ModuleList([nn.Linear(4, 3), nn.Linear(3, 2)])
    generator = Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return layers


def _groups(layers: nn.ModuleList) -> list[dict[str, Any]]:
    """Groups like those of a model and of a head without weight decay."""
    body, head = layers
    return [
        {"params": list(body.parameters()), "lr_scale": 1.0},
        {"params": list(head.parameters()), "lr_scale": 1.0, "weight_decay": 0.0},
    ]


def _require_optimizer(optimizer: Any, layers: nn.ModuleList) -> None:
    if not isinstance(optimizer, optim.Optimizer):
        raise UnusableComponentError(
            f"gives {described(optimizer)}; should give a torch.optim.Optimizer"
        )
    if not isinstance(optimizer.defaults.get("lr"), Real):
        raise UnusableComponentError(
            "the optimizer has no learning rate: pass {'lr': lr, ...} as the defaults of "
            "torch.optim.Optimizer.__init__"
        )
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    if sorted(held) != sorted(map(id, layers.parameters())) or not all(
        "lr_scale" in group for group in optimizer.param_groups
    ):
        raise UnusableComponentError(
            "the optimizer does not keep the parameter groups that it is given; pass them to "
            "torch.optim.Optimizer.__init__"
        )


def _step(optimizer: optim.Optimizer, layers: nn.ModuleList, scale: float) -> Tensor:
    """Parameters after one step with the base learning rate times a scale."""
    for group in optimizer.param_groups:
        group["lr"] = optimizer.defaults["lr"] * scale
    body, head = layers
    loss = head(body(torch.arange(8.0).view(2, 4) / 8)).square().sum()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return _flat(layers)


def _flat(layers: nn.ModuleList) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in layers.parameters()])
