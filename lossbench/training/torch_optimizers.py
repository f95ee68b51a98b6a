"""Optimizers of torch, available as `torch.optim.NAME`: `torch.optim.RMSprop`, `torch.optim.NAdam`.

Parameters are those of the class, pairs such as `betas` as lists. Switches that only choose an
implementation are left out, and so is `maximize`, since a loss is minimised.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn, optim

from lossbench.errors import ParameterError, Problem, first_line
from lossbench.registry import Entry, make_entry
from lossbench.training.optimizer_classes import Groups, optimizer_factory

PREFIX = "torch.optim"
LEFT_OUT = frozenset({"foreach", "fused", "capturable", "differentiable", "maximize"})
"""Arguments that a suite cannot set."""
UNSUPPORTED = {
    "LBFGS": "it evaluates the loss several times in a step; the training loop does so once",
    "Muon": "it accepts matrices only; biases and the weights of convolutions are none",
    "SparseAdam": "it accepts sparse gradients only; those of a network are dense",
}
"""Optimizers that cannot be used, and why."""
Positive = Annotated[float, Field(gt=0)]
_KEYS = {"learning rate": "lr", "epsilon": "eps", "beta parameter": "betas"}
"""Words in messages of torch -> argument."""


def optimizer_names() -> list[str]:
    """Names of the optimizers that can be used."""
    found = [
        name
        for name, each in vars(optim).items()
        if inspect.isclass(each) and issubclass(each, optim.Optimizer)
    ]
    return sorted(set(found) - UNSUPPORTED.keys() - {"Optimizer"})


def torch_optimizer_entry(name: str) -> Entry[Callable[[Groups], optim.Optimizer]]:
    """Registry entry of an optimizer.

    Args:
        name: Name of its class in `torch.optim`.
    """
    library_class = getattr(optim, name)
    full_name = f"{PREFIX}.{name}"
    plain = optimizer_factory(library_class, {"lr": Positive}, LEFT_OUT)
    signature = inspect.signature(plain)
    defaults = {each.name: each.default for each in signature.parameters.values()}

    def create(**params: Any) -> Callable[[Groups], optim.Optimizer]:
        build: Callable[[Groups], optim.Optimizer] = plain(**params)
        changed = {key for key, value in params.items() if value != defaults[key]}
        if changed - {"lr"}:  # torch checks them; the first optimizer takes it some seconds
            _require_valid(full_name, build, sorted(params, key=lambda key: key not in changed))
        return build

    functools.update_wrapper(create, plain, updated=())
    create.__signature__ = signature  # type: ignore[attr-defined]
    first = (inspect.getdoc(library_class) or name).partition("\n")[0]
    create.__doc__ = (
        f"{first.removeprefix('Implements ').strip().capitalize()}\n\n"
        f"Parameters and defaults are those of {full_name}."
    )
    return replace(make_entry("optimizer", full_name, create), distribution="torch")


def placeholder_entry() -> Entry[Callable[[Groups], optim.Optimizer]]:
    """Entry that represents all optimizers in a list."""

    def optimizer(*, lr: Positive | None = None) -> Callable[[Groups], optim.Optimizer]:
        """Optimizer of torch, with the parameters of its class.

        Args:
            lr: Learning rate, > 0; by default that of the class.
        """
        raise NotImplementedError

    return replace(make_entry("optimizer", f"{PREFIX}.NAME", optimizer), distribution="torch")


def _require_valid(
    name: str, build: Callable[[Groups], optim.Optimizer], params: Sequence[str]
) -> None:
    """Require that the optimizer accepts its parameters.

    Args:
        name: Name of the optimizer.
        build: Function that creates it.
        params: Names of its parameters, the most suspicious first.

    Raises:
        ParameterError: It does not.
    """
    try:
        build([{"params": [nn.Parameter(torch.zeros(1))]}])
    except (ValueError, TypeError, RuntimeError, AssertionError) as error:
        message = first_line(error)
        words = re.findall(r"\w+", message.lower())
        keys = [key for text, key in _KEYS.items() if text in message.lower() and key in params]
        keys += [key for key in params if key in words or key.removesuffix("s") in words]
        raise ParameterError(name, [Problem(tuple(keys[:1]), message)]) from None
