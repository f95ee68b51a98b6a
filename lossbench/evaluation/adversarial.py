"""Functions for adversarial examples and scores that detect them (L-GM paper, Sect. 4.3).

The evaluations that use them are in `attacks` and `ood_detection`.

Pixels are floats in [0, 255]; the size `epsilon` of a perturbation is a share of that range.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from lossbench.data.images import Normaliser
from lossbench.losses import DensityHead, LossHead

WHITE = 255.0
"""Largest pixel value."""
Objective = Callable[[Tensor], Tensor]
"""Function from pixels (B, C, H, W) to the scalar that an attack maximises."""


def classification_objective(
    model: nn.Module, head: LossHead, normalise: Normaliser, labels: Tensor
) -> Objective:
    """Objective of an untargeted attack: the classification loss of the true labels.

    The loss is softplus(-log-odds), so its gradient is that of -log-odds times a positive factor
    per image. In float32 this factor underflows to 0 for confident predictions, and the sign of a
    zero gradient would leave the image unchanged. The objective is therefore -log-odds, whose
    gradient has the sign that exact arithmetic would give.

    Args:
        model: Network in eval mode.
        head: Trained head.
        normalise: Map from pixels to the input of the model.
        labels: (B,) True classes.
    """
    return lambda pixels: -head.log_odds(model(normalise(pixels)), labels).sum()


def float32_cross_entropy_objective(
    model: nn.Module, head: LossHead, normalise: Normaliser, labels: Tensor
) -> Objective:
    """Objective of an untargeted attack: cross-entropy of the true labels, in float32.

    Its gradient with respect to the scores is p - one_hot(z), with a softmax p in float32, as deep
    learning frameworks compute it. Where 1 - p_z is less than 6e-8, p_z rounds to 1, and the part
    of the gradient that comes from the score of the true class is 0. The attack is weaker by that:
    numerical gradient masking.

    Args:
        model: Network in eval mode.
        head: Trained head.
        normalise: Map from pixels to the input of the model.
        labels: (B,) True classes.

    Reference: Carlini, Wagner: Towards Evaluating the Robustness of Neural Networks. IEEE S&P 2017.
        Athalye, Carlini, Wagner: Obfuscated Gradients Give a False Sense of Security. ICML 2018.
    """

    def objective(pixels: Tensor) -> Tensor:
        scores = head.margin_scores(model(normalise(pixels)), labels)  # (B, K)
        return F.cross_entropy(scores.float(), labels, reduction="sum")

    return objective


def target_objective(
    model: nn.Module, head: LossHead, normalise: Normaliser, targets: Tensor
) -> Objective:
    """Objective of a targeted attack: minus the full loss with the targets as labels.

    The loss is averaged over the images; a loss on pairs couples the images of a batch.

    Args:
        model: Network in eval mode.
        head: Trained head.
        normalise: Map from pixels to the input of the model.
        targets: (B,) Classes to attack towards.
    """
    return lambda pixels: -head(model(normalise(pixels)), targets)


def fgsm(objective: Objective, pixels: Tensor, epsilon: float) -> Tensor:
    """Fast gradient sign method: one step of full size.

    x' = clip(x + epsilon sign(grad_x L))

    Args:
        objective: Function L to maximise.
        pixels: (B, C, H, W) in [0, 255].
        epsilon: Size of the step as a share of the pixel range, >= 0.

    Returns:
        Adversarial examples (B, C, H, W), floats.

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
        objective: Function L to maximise.
        pixels: (B, C, H, W) in [0, 255].
        epsilon: Radius of the ball as a share of the pixel range, >= 0.
        steps: Number of gradient steps, >= 1.
        step_size: Size of a step as a share of the pixel range, > 0.
        generator: CPU generator for the random start.

    Returns:
        Adversarial examples (B, C, H, W), floats.

    Reference: Madry et al.: Towards Deep Learning Models Resistant to Adversarial Attacks.
        ICLR 2018; 40 steps of 0.01 with epsilon 0.3 on MNIST.
    """
    pixels = pixels.float()  # (B, C, H, W)
    start = 2 * torch.rand(pixels.shape, generator=generator).to(pixels.device) - 1
    low, high = (pixels - epsilon * WHITE).clamp_min(0), (pixels + epsilon * WHITE).clamp_max(WHITE)
    attacked = torch.clamp(pixels + epsilon * WHITE * start, low, high)
    for _ in range(steps):
        step = step_size * WHITE * _gradient(objective, attacked).sign()
        attacked = torch.clamp(attacked + step, low, high)
    return attacked


def _gradient(objective: Objective, pixels: Tensor) -> Tensor:
    with torch.enable_grad():
        variable = pixels.detach().requires_grad_()
        [gradient] = torch.autograd.grad(objective(variable), [variable])
    return gradient


def second_class(scores: Tensor) -> Tensor:
    """Class (N,) with the second largest posterior: the target of a targeted attack.

    Args:
        scores: (N, K)
    """
    return scores.topk(2, dim=1).indices[:, 1]


def in_distribution_score(head: LossHead, features: Tensor) -> Tensor:
    """Score for out-of-distribution detection: plausibility of each input under the model.

    For a head with a density: -1/2 ||x - mu_z||^2, the log-likelihood of the predicted class z =
    arg max_k p(k|x) with identity covariance and equal priors, without its constant. For other
    heads: the class score w_z^T x + b_z.

    Args:
        head: Trained head.
        features: (N, D)

    Returns:
        (N,); larger means more likely in-distribution.

    Reference: Wan et al., CVPR 2018, Sect. 4.3, "Adversarial Verification".
    """
    best, predicted = head.logits(features).max(1)  # (N,), (N,)
    if not isinstance(head, DensityHead):
        return best
    return -0.5 * (features.double() - head.class_means[predicted].double()).square().sum(1)  # (N,)


def plotted_likelihood(head: LossHead, *scores: Tensor) -> list[Tensor]:
    """In-distribution scores as values in [0, 1] for histograms.

    For a head with a density: e^score. For other heads: the scores, scaled linearly to [0, 1] over
    all arguments.

    Args:
        head: Trained head.
        *scores: (N_i,) As returned by `in_distribution_score`.

    Returns:
        (N_i,) for each argument.
    """
    if isinstance(head, DensityHead):
        return [score.exp() for score in scores]
    pooled = torch.cat(scores)
    low, span = pooled.min(), (pooled.max() - pooled.min()).clamp_min(1e-12)
    return [(score - low) / span for score in scores]
