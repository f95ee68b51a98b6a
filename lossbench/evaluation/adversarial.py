"""Adversarial examples, and how likely a model finds its inputs (L-GM paper, Sect. 4.3).

Pixels are floats in [0, 255] here, a perturbation's size `epsilon` a share of that range.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn

from lossbench.data.images import Normaliser
from lossbench.losses import DensityHead, LossHead

WHITE = 255.0
Objective = Callable[[Tensor], Tensor]
"""Pixels (B, C, H, W) -> a scalar to be made as large as possible; its gradient is per image."""


def classification_objective(
    model: nn.Module, head: LossHead, normalise: Normaliser, labels: Tensor
) -> Objective:
    """What an untargeted attack ascends: the classification loss.

    It is softplus(-lead) with the head's lead, and so has the gradient of -lead up to a positive
    factor. That factor underflows to 0 in float32 where the model is sure, and the sign of a
    gradient of 0 would leave the image as it is. So -lead itself is ascended: the sign that exact
    arithmetic would give.
    """
    return lambda pixels: -head.lead(model(normalise(pixels)), labels).sum()


def target_objective(
    model: nn.Module, head: LossHead, normalise: Normaliser, targets: Tensor
) -> Objective:
    """What a targeted attack ascends: minus the whole loss with the target as label.

    Mean over the images; a loss over pairs of images couples those of one batch.
    """
    return lambda pixels: -head(model(normalise(pixels)), targets)


def fgsm(objective: Objective, pixels: Tensor, epsilon: float) -> Tensor:
    """Fast gradient sign method: one step of full size.

    x' = clip(x + epsilon sign(grad_x L))

    Args:
        objective: L
        pixels: (B, C, H, W) in [0, 255].
        epsilon: Share of the pixel range, >= 0.

    Returns:
        (B, C, H, W), floats.

    Reference: Goodfellow, Shlens, Szegedy: Explaining and Harnessing Adversarial Examples.
        ICLR 2015.
    """
    pixels = pixels.float()
    return (pixels + epsilon * WHITE * _gradient(objective, pixels).sign()).clamp(0, WHITE)


def pgd(
    objective: Objective,
    pixels: Tensor,
    epsilon: float,
    *,
    steps: int,
    step_size: float,
    generator: Generator,
) -> Tensor:
    """Projected gradient descent in the L-infinity ball, from a random start.

    x_{t+1} = clip(project(x_t + step_size sign(grad L)))

    Args:
        objective: L
        pixels: (B, C, H, W) in [0, 255].
        epsilon: Radius of the ball, a share of the pixel range.
        steps: >= 1
        step_size: Likewise a share.
        generator: On the CPU, for the start.

    Returns:
        (B, C, H, W), floats.

    Reference: Madry et al.: Towards Deep Learning Models Resistant to Adversarial Attacks.
        ICLR 2018; 40 steps of 0.01 with epsilon 0.3 on MNIST.
    """
    pixels = pixels.float()
    start = 2 * torch.rand(pixels.shape, generator=generator).to(pixels.device) - 1
    low, high = (pixels - epsilon * WHITE).clamp_min(0), (pixels + epsilon * WHITE).clamp_max(WHITE)
    found = torch.clamp(pixels + epsilon * WHITE * start, low, high)
    for _ in range(steps):
        step = step_size * WHITE * _gradient(objective, found).sign()
        found = torch.clamp(found + step, low, high)
    return found


def _gradient(objective: Objective, pixels: Tensor) -> Tensor:
    with torch.enable_grad():
        variable = pixels.detach().requires_grad_()
        [gradient] = torch.autograd.grad(objective(variable), [variable])
    return gradient


def second_class(scores: Tensor) -> Tensor:
    """(N,) the class with the second largest posterior: the target of a targeted attack."""
    return scores.topk(2, dim=1).indices[:, 1]


def normality(head: LossHead, features: Tensor) -> Tensor:
    """How normal each input looks to the model: its likelihood for the predicted class.

    A head with a density: -1/2 ||x - mu_z||^2, the log-likelihood with identity covariance
    and equal priors, without its constant; z = arg max_k p(k|x). Others: the affinity
    w_z^T x + b_z.

    Args:
        head: Trained.
        features: (N, D)

    Returns:
        (N,), larger is more normal.

    Reference: Wan et al., CVPR 2018, Sect. 4.3, "Adversarial Verification".
    """
    best, predicted = head.logits(features).max(1)  # (N,), (N,)
    if not isinstance(head, DensityHead):
        return best
    return -0.5 * (features.double() - head.class_means[predicted].double()).square().sum(1)


def shown_likelihood(head: LossHead, *normality: Tensor) -> list[Tensor]:
    """Likelihoods in [0, 1] for histograms: e^normality, or affinities scaled over all of them."""
    if isinstance(head, DensityHead):
        return [scores.exp() for scores in normality]
    together = torch.cat(normality)
    low, span = together.min(), (together.max() - together.min()).clamp_min(1e-12)
    return [(scores - low) / span for scores in normality]
