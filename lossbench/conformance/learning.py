"""Checks that train a model, or integrate over a plane."""

from __future__ import annotations

import torch
from torch import nn

from lossbench.conformance.subject import (
    CheckFailedError,
    CheckSkippedError,
    K,
    Subject,
    set_sample_indices,
)
from lossbench.losses import DensityHead, LossHead

STEPS = 200
ATTEMPTS = 3


def densities(subject: Subject) -> None:
    """Class densities integrate to 1, and their means are class_means."""
    head = subject.partly_trained(feature_dim=2)
    if not isinstance(head, DensityHead):
        raise CheckSkippedError("it has no class densities")
    means = head.class_means
    if means.shape != (K, 2) or means.requires_grad:
        raise CheckFailedError(
            f"class_means should be ({K}, 2) and detached, not {tuple(means.shape)}"
        )
    axis, step = torch.linspace(-12, 12, 241), 0.1
    grid = means.mean(0) + torch.cartesian_prod(axis, axis)  # (241^2, 2)
    with torch.no_grad():
        density = head.class_log_density(grid).double().exp()  # (241^2, K)
    if density.shape != (len(grid), K):
        raise CheckFailedError(
            f"class_log_density of {len(grid)} points has shape {tuple(density.shape)}"
        )
    mass = density.sum(0) * step**2  # (K,)
    if not torch.allclose(mass, torch.ones(K).double(), rtol=1e-4, atol=0):
        raise CheckFailedError(
            f"a class's density integrates to {mass[(mass - 1).abs().argmax()]:.6g}"
        )
    centre = (density[:, :, None] * grid[:, None]).sum(0) * step**2  # (K, 2)
    if not torch.allclose(centre, means.double(), rtol=1e-3, atol=1e-3):
        distance = (centre - means).abs().max()
        raise CheckFailedError(
            f"the mean of a class's density is {distance:.3g} away from class_means"
        )


def learning(subject: Subject) -> None:
    """Training a linear map for 200 steps lowers the loss and separates three clusters."""
    reasons = []
    for seed in range(ATTEMPTS):  # a sound loss may fail once, from an unlucky start
        reason = _learn(subject.fresh(3, 2, seed), seed)
        if not reason:
            return
        reasons.append(reason)
    raise CheckFailedError(f"in {ATTEMPTS} of {ATTEMPTS} attempts; {reasons[0]}")


def _learn(head: LossHead, seed: int) -> str:
    """Train once; return why the training failed, or empty text."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(60) % 3
    corners = torch.tensor([[3.0, 0.0], [-2.0, 2.5], [-2.0, -2.5]])
    points = corners[labels] + 0.4 * torch.randn(60, 2, generator=generator)
    model = nn.Linear(2, 2)
    groups = [{"params": list(model.parameters()), "lr": 0.05}]
    for group in head.parameter_groups():
        groups.append({"params": list(group.parameters), "lr": 0.05 * group.lr_scale})
    optimizer = torch.optim.SGD(groups)
    set_sample_indices(head, torch.arange(len(labels)))

    def loss_at_the_end() -> float:
        head.set_progress(0.999)
        return float(head(model(points), labels).detach())

    first = loss_at_the_end()
    for step in range(STEPS):
        head.set_progress(step / STEPS)
        features = model(points)
        optimizer.zero_grad()
        head(features, labels).backward()
        head.before_step(features.detach(), labels)
        optimizer.step()
        head.after_step(features.detach(), labels)
    last = loss_at_the_end()
    if not last < 0.8 * first:
        return f"the loss went from {first:.4g} to {last:.4g}"
    with torch.no_grad():
        if head.needs_class_means:
            head.fit_class_means(model(points), labels)
        accuracy = float((head.logits(model(points)).argmax(1) == labels).float().mean())
    return (
        "" if accuracy > 0.95 else f"accuracy on three separate clusters is {100 * accuracy:.0f} %"
    )
