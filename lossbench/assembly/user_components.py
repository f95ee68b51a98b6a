"""Checks of components whose code is not part of lossbench, with messages for their authors.

Before anything is trained, each component of a plugin or of an installed package is created and
used on a few random images or parameters. This finds faults that would end the training, and those
that would silently spoil its numbers.
"""

from __future__ import annotations

import inspect
import math
import sys
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lossbench.errors import (
    LossbenchError,
    ParameterError,
    Problem,
    UnusableComponentError,
    did_you_mean,
    format_exception,
)
from lossbench.losses import LossHead
from lossbench.losses.base import Need
from lossbench.models import Backbone
from lossbench.registry import Entry, Registry
from lossbench.suite.schema import Component
from lossbench.training.seeding import random_states, restore_random_states

POINTS = 50
"""Number of intervals of a training at whose limits a schedule is tried."""


def component_problems(
    registry: Registry[Any],
    chosen: Component,
    *context: Any,
    check: Callable[[Any], None] | None = None,
) -> list[Problem]:
    """Problems of creating a component, located at its parameters.

    Args:
        registry: Registry of its kind.
        chosen: The component.
        *context: Arguments of its factory that are not parameters.
        check: Uses the created object, unless it is lossbench's own, and raises an exception if it
            is not as its kind requires.
    """
    entry = registry[chosen.name]
    try:
        with exit_as_error():
            made = entry.create(*context, **chosen.params)
            if check is not None and entry.external:
                check(made)
    except ParameterError as error:
        return list(error.problems)
    except Exception as error:
        if not entry.external:
            raise
        return [Problem((), failure_reason(entry, error))]
    return []


@contextmanager
def exit_as_error() -> Iterator[None]:
    """Turn `sys.exit` in a component's code into an error, so that it does not end lossbench."""
    try:
        yield
    except SystemExit as error:
        raise UnusableComponentError("calls sys.exit; raise an exception instead") from error


def failure_reason(entry: Entry[Any], error: Exception) -> str:
    """Message on an exception of a component's code, with its place in the component's file."""
    if isinstance(error, UnusableComponentError | LossbenchError):
        return str(error)
    return f"cannot be used: {format_exception(error, component_file(entry))}"


def component_file(entry: Entry[Any]) -> Path | None:
    """File in which a component is defined; None if it is unknown."""
    module = sys.modules.get(getattr(entry.factory, "__module__", ""))
    file = getattr(module, "__file__", None)
    return Path(file) if file else None


def check_model(model: Backbone, shape: tuple[int, int, int]) -> None:
    """Compute features of two random images, in training and in evaluation.

    Args:
        model: The model, whose buffers may change.
        shape: (C, H, W)

    Raises:
        UnusableComponentError: The features are no finite vectors, random in evaluation, or without
            a gradient.
    """
    images = torch.rand(2, *shape)
    found = []
    with torch.no_grad():
        for training in (True, False, False):
            features: Any = model.train(training)(images)
            if not isinstance(features, Tensor):
                raise UnusableComponentError(
                    f"returns {described(features)}; should return a tensor of features (N, D)"
                )
            if features.shape != (2, model.feature_dim):
                raise UnusableComponentError(
                    f"returns features of shape {tuple(features.shape)} for 2 images; should be "
                    f"(2, {model.feature_dim}), as its feature_dim says"
                )
            if not features.is_floating_point() or not features.isfinite().all():
                raise UnusableComponentError("returns features that are not finite numbers")
            if features.dtype != torch.float32:
                given = str(features.dtype).removeprefix("torch.")
                raise UnusableComponentError(f"returns features in {given}; should be float32")
            found.append(features)
    if not torch.equal(*found[1:]):
        raise UnusableComponentError(
            "gives other features for the same images in eval mode; use nn.Dropout, or "
            "functional.dropout with training=self.training"
        )
    if any(p.requires_grad for p in model.parameters()) and not model(images).requires_grad:
        raise UnusableComponentError(
            "returns features without a gradient, so the model would not be trained; remove "
            "detach() or no_grad()"
        )


def check_initialisation(create: Callable[[], object]) -> None:
    """Create a model with two seeds.

    Raises:
        UnusableComponentError: It seeds torch's global generator, from which all seeds of the suite
            would get the same initial weights.
    """
    states = []
    with restored_random_states():
        for seed in (1, 2):
            torch.manual_seed(seed)
            create()
            states.append(torch.get_rng_state())
    if torch.equal(*states):
        raise UnusableComponentError(
            "seeds torch's global random generator when it is created, so that all seeds have the "
            "same initial weights; remove torch.manual_seed"
        )


def check_head(head: LossHead, features: Tensor) -> None:
    """Compute the terms and the scores of a loss head.

    Args:
        head: The head.
        features: Features of two images, (2, D).

    Raises:
        UnusableComponentError: They have a wrong form, or it needs unknown facts.
    """
    known = typing.get_args(Need)
    for need in head.needs:
        if need not in known:
            hint = did_you_mean(str(need), known)
            raise UnusableComponentError(f"needs {need!r}, which does not exist{hint}")
    terms: Any = head.terms(features, torch.tensor([0, 1]))
    if not isinstance(terms, dict) or not terms:
        raise UnusableComponentError(
            f"terms() returns {described(terms)}; should return a dictionary: name -> scalar"
        )
    for name, term in terms.items():
        if not isinstance(term, Tensor) or term.shape != ():
            shape = f"shape {tuple(term.shape)}" if isinstance(term, Tensor) else described(term)
            raise UnusableComponentError(f"terms() returns {shape} for {name!r}, not a scalar")
    scores: Any = head.logits(features)
    if not isinstance(scores, Tensor) or scores.shape != (2, head.num_classes):
        shape = f"shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else described(scores)
        raise UnusableComponentError(
            f"logits() returns {shape} for 2 images; should be (2, {head.num_classes})"
        )


def check_schedule(schedule: Any, epochs: int) -> None:
    """Evaluate a schedule during a training of a number of epochs.

    Raises:
        UnusableComponentError: It is no function of the finished epochs that returns a factor.
    """
    if not callable(schedule):
        raise UnusableComponentError(
            f"gives {described(schedule)}; should give a function: finished epochs -> factor of "
            "the learning rate"
        )
    times = [epochs * step / POINTS for step in range(POINTS)]
    factors = []
    for time in times:
        factor = schedule(time)
        where = f"after {time:g} of {epochs} epochs"
        if isinstance(factor, bool) or not isinstance(factor, Real | np.number):
            raise UnusableComponentError(
                f"the factor of the learning rate should be a number, not {described(factor)} "
                f"{where}"
            )
        if not math.isfinite(factor) or factor < 0:
            raise UnusableComponentError(
                f"the factor of the learning rate should be finite and >= 0, not {factor:g} {where}"
            )
        factors.append(float(factor))
    if factors != [float(schedule(time)) for time in times]:
        raise UnusableComponentError(
            "the factor of the learning rate differs between two calls for the same epoch; it "
            "should depend on the finished epochs only"
        )


@contextmanager
def restored_random_states() -> Iterator[None]:
    """Restore the states of the global random generators afterwards."""
    before = random_states()
    try:
        yield
    finally:
        restore_random_states(before)


def described(value: object) -> str:
    """A value in a message: `None`, `a Tensor`, `the class Adam`."""
    if value is None:
        return "None"
    if inspect.isclass(value):
        return f"the class {value.__name__}"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"
