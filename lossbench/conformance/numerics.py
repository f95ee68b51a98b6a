"""Checks of gradients, difficult batches and low precision."""

from __future__ import annotations

import torch
from torch import Tensor

from lossbench.conformance.subject import (
    CheckFailedError,
    CheckSkippedError,
    D,
    N,
    Subject,
    batch,
    format_scalar,
    seeded_loss,
)
from lossbench.losses import DensityHead, LossHead

STEP = 1e-6
"""Step of finite differences in float64."""
REMEDY = "put @in_float32 of lossbench.losses.base above terms and logits"


def gradient(subject: Subject) -> None:
    """Gradients agree with finite differences in float64."""
    head = subject.partly_trained().double()
    if head.stops_gradients:
        raise CheckSkippedError("it treats values that depend on the features as constants")
    wrong: dict[str, list[str]] = {}
    # a correct gradient may differ at a kink, but hardly with two of three seeds
    for seed in (1, 2, 3):
        features, labels = batch(seed=seed)
        leaves = {"features": features.double().requires_grad_(), **_learnable(head)}
        loss = seeded_loss(head, leaves["features"], labels)
        if loss.dtype != torch.float64:
            raise CheckFailedError(f"the loss of float64 features is {_name(loss.dtype)}")
        _require_graph(loss)
        found = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
        generator = torch.Generator().manual_seed(seed)
        for (name, leaf), grad in zip(leaves.items(), found, strict=True):
            direction = torch.randn(leaf.shape, generator=generator, dtype=torch.float64)
            direction /= direction.norm()
            numeric = _directional_derivative(head, leaves["features"], labels, leaf, direction)
            own = float((grad * direction).sum())
            if abs(own - numeric) > 1e-6 * max(1.0, abs(loss.item())) + 1e-4 * abs(numeric):
                line = f"{own:.6g} in a direction where finite differences give {numeric:.6g}"
                wrong.setdefault(name, []).append(line)
    wrong = {name: lines for name, lines in wrong.items() if len(lines) > 1}
    if wrong:
        found_for = "; ".join(f"of {name}: {lines[0]}" for name, lines in wrong.items())
        raise CheckFailedError(
            f"gradient {found_for} (a deliberate detach has the same effect: declare it with "
            "stops_gradients = True)"
        )


def _directional_derivative(
    head: LossHead, features: Tensor, labels: Tensor, leaf: Tensor, direction: Tensor
) -> float:
    values = []
    with torch.no_grad():
        kept = leaf.clone()
        for sign in (1, -1):
            leaf.copy_(kept + sign * STEP * direction)
            values.append(seeded_loss(head, features, labels).item())
        leaf.copy_(kept)
    return (values[0] - values[1]) / (2 * STEP)


def reach(subject: Subject) -> None:
    """The gradient reaches every sample's features and every learnable parameter."""
    head = subject.partly_trained()
    features, labels = batch()
    _, gradients = _gradients(head, features, labels)
    without = int((gradients.pop("features").abs().sum(1) == 0).sum())
    if without:
        raise CheckFailedError(f"{without} of {N} samples get no gradient")
    unreached = [name for name, grad in gradients.items() if not grad.abs().sum() > 0]
    if unreached:
        raise CheckFailedError(
            f"{', '.join(unreached)} gets no gradient: it would never be trained"
        )


DIFFICULT_BATCHES: dict[str, tuple[Tensor, Tensor]] = {
    "normal features": batch(),
    "one sample": (torch.ones(1, D), torch.tensor([2])),
    "one class, the others absent": (batch()[0], torch.full((N,), 1)),
    "coincident features": (torch.ones(N, D), batch()[1]),
    "zero features": (torch.zeros(N, D), batch()[1]),
    "large features, 1e4": (1e4 * batch()[0], batch()[1]),
    "small features, 1e-20": (1e-20 * batch()[0], batch()[1]),
    "features far away, at 1e4": (1e4 + batch()[0], batch()[1]),
}


def finite(subject: Subject) -> None:
    """Loss, gradients and state stay finite on difficult batches."""
    failures = []
    for kind, (features, labels) in DIFFICULT_BATCHES.items():
        head = subject.partly_trained()
        loss, gradients = _gradients(head, features, labels)
        if not torch.isfinite(loss).all():
            failures.append(f"{kind}: the loss is {format_scalar(loss)}")
        else:
            names = [name for name, grad in gradients.items() if not torch.isfinite(grad).all()]
            failures += [f"{kind}: the gradient of {', '.join(names)} is not finite"] * bool(names)
        for update in (head.before_step, head.after_step):
            update(features, labels)
            values = head.state_dict().items()
            broken = [name for name, value in values if not torch.isfinite(value).all()]
            if broken:
                name = update.__name__
                failures.append(f"{kind}: {name} makes {', '.join(broken)} not finite")
                break
    if failures:
        raise CheckFailedError("; ".join(failures))


def autocast(subject: Subject) -> None:
    """Autocast changes no result, even where half precision would overflow."""
    head = subject.partly_trained()
    features, labels = batch()
    for dtype, scale in ((torch.float16, 200.0), (torch.bfloat16, 1.0)):
        low = (scale * features).to(dtype)
        with torch.autocast("cpu", dtype):
            found = _outputs(head, low, labels)
        for name, expected in _outputs(head, low.float(), labels).items():
            value = found[name]
            if value.dtype != torch.float32:
                raise CheckFailedError(
                    f"{name}: {_name(value.dtype)} under {_name(dtype)} autocast; {REMEDY}"
                )
            if not torch.equal(value, expected):
                at = (value - expected).abs().nan_to_num(torch.inf).flatten().argmax()
                raise CheckFailedError(
                    f"{name}: {format_scalar(value.flatten()[at])} under {_name(dtype)} autocast, "
                    f"{format_scalar(expected.flatten()[at])} in float32; {REMEDY}"
                )


def _outputs(head: LossHead, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
    found = {"the loss": seeded_loss(head, features, labels), "logits": head.logits(features)}
    if isinstance(head, DensityHead):
        found["class_log_density"] = head.class_log_density(features)
    return found


def _gradients(
    head: LossHead, features: Tensor, labels: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    leaves = {"features": features.detach().clone().requires_grad_(), **_learnable(head)}
    loss = seeded_loss(head, leaves["features"], labels)
    _require_graph(loss)
    found = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
    return loss, dict(zip(leaves, found, strict=True))


def _learnable(head: LossHead) -> dict[str, Tensor]:
    return {name: p for name, p in head.named_parameters() if p.requires_grad}


def _require_graph(loss: Tensor) -> None:
    if loss.shape != ():
        raise CheckFailedError(f"the loss should be a scalar, not of shape {tuple(loss.shape)}")
    if not loss.requires_grad:
        raise CheckFailedError(
            "the loss has no gradient: it does not depend on anything differentiable"
        )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
