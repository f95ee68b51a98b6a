"""Terms of the loss in `lgm`, with closed-form gradients.

Names grad_X are gradients of the loss with respect to X.

The scores use the expanded square, |x - mu|^2 = |x|^2 - 2 x.mu + |mu|^2, for diagonal covariance
with a weight per dimension. Autograd would store and process every intermediate (K, D) and (N, K)
tensor of it. Written out, a forward pass costs little more than its matrix products of (N, D) by
(D, K): one for identity covariance, because the square of x is common to all classes, and two for
diagonal covariance.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable
from torch.nn import functional as F

from lossbench.losses.functional import true_class_log_odds
from lossbench.losses.gaussian import FEW_DIMENSIONS, labelled_scores, true_class_distance

BLOCK = 2**18
"""Number of elements of a (K, D) tensor to process at a time, so that they fit a core's cache."""


def mixture_terms(
    features: Tensor,
    labels: Tensor,
    means: Tensor,
    log_variance: Tensor | None,
    alpha: Tensor,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Classification and likelihood terms, averaged over the batch, without lambda.

    Wan et al., CVPR 2018, Eq. 17:

    log-odds = s_z - log sum_{k != z} e^{s_k},  s_k = log N(x; mu_k, Lambda_k)
    d_z = 1/2 (x - mu_z)^T Lambda_z^-1 (x - mu_z)
    classification = mean of softplus(alpha d_z - log-odds)
    likelihood = mean of d_z + 1/2 log|Lambda_z|

    Plain cross-entropy would compute 1 - p_z as a difference, which is mostly rounding where p_z
    is near 1, and there it would disturb the gradient of the likelihood, which is also small. The
    distance is computed from differences: as exact as the features.

    Args:
        features: (N, D)
        labels: (N,), in [0, K).
        means: (K, D)
        log_variance: (K, D) Logarithm of the diagonal of Lambda_k; None: Lambda_k = I.
        alpha: Margin, a scalar >= 0; receives no gradient.

    Returns:
        Classification and likelihood, scalars, differentiable once; and the scores without margin,
        (N, K), or None in few dimensions, where the scores differ from `class_scores`.
    """
    if features.shape[1] > FEW_DIMENSIONS:
        kind: Any = _Identity if log_variance is None else _Diagonal
        given = (means,) if log_variance is None else (means, log_variance)
        classification, likelihood, *_, scores = kind.apply(features, labels, alpha, *given)
        return classification, likelihood, scores
    scores = labelled_scores(features, labels, means, log_variance)  # (N, K), by differences
    distance = true_class_distance(features, labels, means, log_variance)  # (N,)
    classification = -F.logsigmoid(true_class_log_odds(scores, labels) - alpha * distance).mean()
    if log_variance is not None:
        distance = distance + 0.5 * log_variance.sum(1)[labels]
    return classification, distance.mean(), None


def _difference_to_mean(features: Tensor, labels: Tensor, means: Tensor) -> Tensor:
    """x - mu_z, (N, D)."""
    return means.index_select(0, labels).neg_().add_(features)


def _squares(vectors: Tensor) -> Tensor:
    """||v||^2 of each row, without another tensor of the size of `vectors`."""
    norms: Tensor = torch.linalg.vector_norm(vectors, dim=1)
    return norms.square_()


def _blocks(like: Tensor) -> Iterator[slice]:
    """Slices of the classes; under torch.compile, which fuses the passes itself, a single slice."""
    classes, dimensions = like.shape
    step = classes if torch.compiler.is_compiling() else max(1, BLOCK // dimensions)
    for start in range(0, classes, step):
        yield slice(start, min(start + step, classes))


def _classification(
    scores: Tensor, labels: Tensor, margin_term: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean cross-entropy after the margin term is subtracted from the scores of the true classes.

    Args:
        scores: (N, K); overwritten in between.
        labels: (N,), in [0, K).
        margin_term: (N,) alpha d_z, subtracted from s_z.

    Returns:
        Mean cross-entropy; its gradient with respect to the scores, times N, (N, K); and 1 - p_z,
        (N,), computed as the sum of the other posteriors.
    """
    index = labels[:, None]  # (N, 1)
    without_margin = scores.gather(1, index)  # (N, 1)
    scores.scatter_add_(1, index, margin_term.neg()[:, None])
    log_posterior = scores.log_softmax(1)  # (N, K)
    scores.scatter_(1, index, without_margin)
    own = log_posterior.gather(1, index)  # (N, 1)
    others = log_posterior.exp_().scatter_(1, index, 0.0)  # (N, K)
    error_prob = others.sum(1, keepdim=True)  # (N, 1)
    own = torch.where(error_prob < 0.5, torch.log1p(-error_prob), own)
    return own.mean().neg_(), others.scatter_(1, index, -error_prob), error_prob.squeeze(1)


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
    """Save tensors for `backward`: all outputs but the two terms and, last, the scores."""
    ctx.set_materialize_grads(False)  # no zero gradients of the size of the other outputs
    ctx.mark_non_differentiable(*output[2:])
    ctx.save_for_backward(*inputs, *output[2:-1])


def _or_zero(gradient: Tensor | None, alpha: Tensor) -> Tensor:
    """Gradient of the loss with respect to a term; 0 for a term that is not used."""
    return torch.zeros_like(alpha) if gradient is None else gradient


class _Identity(Function):
    """Terms and gradients for Lambda_k = I."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        features: Tensor, labels: Tensor, alpha: Tensor, means: Tensor
    ) -> tuple[Tensor, ...]:
        centre = means.mean(0)
        mu = means - centre  # (K, D)
        scores = torch.addmm(_squares(mu), features - centre, mu.T, beta=-0.5)  # (N, K)
        distance = 0.5 * _squares(_difference_to_mean(features, labels, means))  # (N,)
        value, gradient, error_prob = _classification(scores, labels, alpha * distance)
        return value, distance.mean(), gradient, error_prob, centre, mu, scores

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        _keep(ctx, inputs, output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_value: Any, grad_distance: Any, *_: Any) -> Any:
        features, labels, alpha, means, gradient, error_prob, centre, mu = ctx.saved_tensors
        grad_value, grad_distance = _or_zero(grad_value, alpha), _or_zero(grad_distance, alpha)
        grad_scores = gradient * (grad_value / len(labels))  # (N, K)
        grad_means = grad_scores.T @ (features - centre)
        grad_means.addcmul_(grad_scores.sum(0)[:, None], mu, value=-1)
        grad_difference = _difference_to_mean(features, labels, means)  # (N, D)
        grad_difference *= torch.addcmul(grad_distance, alpha * grad_value, error_prob)[
            :, None
        ] / len(labels)
        grad_means.index_add_(0, labels, grad_difference, alpha=-1)
        grad_features = grad_difference.addmm_(grad_scores, mu)
        return grad_features, None, None, grad_means


class _Diagonal(Function):
    """Terms and gradients for diagonal Lambda_k."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        features: Tensor, labels: Tensor, alpha: Tensor, means: Tensor, log_variance: Tensor
    ) -> tuple[Tensor, ...]:
        centre = means.mean(0)
        # (D,) geometric mean of the precisions; its x^2 term is common to all classes and left out
        common = torch.exp(-log_variance.mean(0))
        x = features - centre  # (N, D)
        square = x.square()
        log_determinant = log_variance.sum(1)  # (K,)
        precision = torch.empty_like(log_variance)  # (K, D)
        scores = features.new_empty((len(means), len(features))).T  # (N, K), contiguous per class
        for block in _blocks(means):
            mu = means[block] - centre
            p = log_variance[block].neg().exp_()
            weighted = p * mu
            constant = mu.mul_(weighted).sum(1).add_(log_determinant[block])
            block_scores = torch.addmm(constant, x, weighted.T, beta=-0.5)
            block_scores.addmm_(square, (p - common).T, alpha=-0.5)
            scores[:, block] = block_scores
            precision[block] = p
        del x, square, mu, weighted, p
        square = _difference_to_mean(features, labels, means).square_()  # (N, D)
        distance = 0.5 * torch.linalg.vecdot(precision.index_select(0, labels), square)  # (N,)
        del square
        value, gradient, error_prob = _classification(scores, labels, alpha * distance)
        likelihood = (distance + 0.5 * log_determinant[labels]).mean()
        return value, likelihood, gradient, error_prob, centre, common, precision, scores

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        _keep(ctx, inputs, output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_value: Any, grad_likelihood: Any, *_: Any) -> Any:
        features, labels, alpha, means, _, gradient, error_prob, centre, common, precision = (
            ctx.saved_tensors
        )
        grad_value, grad_likelihood = _or_zero(grad_value, alpha), _or_zero(grad_likelihood, alpha)
        grad_scores = gradient * (grad_value / len(labels))  # (N, K)
        total = grad_scores.sum(0)[:, None]  # (K, 1)
        x = features - centre  # (N, D)
        grad_means = grad_scores.T @ x  # first sum_i g_ik x_i
        grad_log_variance = grad_scores.T @ x.square()  # first sum_i g_ik x_i^2
        grad_features, grad_square = torch.zeros_like(x), torch.zeros_like(x)
        for block in _blocks(means):
            mu, p, g = means[block] - centre, precision[block], grad_scores[:, block]
            first, second = grad_means[block], grad_log_variance[block]  # changed in place
            second.addcmul_(mu, first, value=-1)
            first.addcmul_(total[block], mu, value=-1)  # sum_i g_ik (x_i - mu_k)
            second.addcmul_(mu, first, value=-1)  # sum_i g_ik (x_i - mu_k)^2
            first.mul_(p)
            second.mul_(p).sub_(total[block]).mul_(0.5)
            grad_features.addmm_(g, p * mu)
            grad_square.addmm_(g, p - common)
        grad_features.addcmul_(x, grad_square, value=-1)
        del x, grad_square, mu, first, second
        difference = _difference_to_mean(features, labels, means)  # (N, D)
        grad_difference = precision.index_select(0, labels).mul_(difference)
        grad_difference *= torch.addcmul(grad_likelihood, alpha * grad_value, error_prob)[
            :, None
        ] / len(labels)
        grad_features += grad_difference
        grad_means.index_add_(0, labels, grad_difference, alpha=-1)
        difference.mul_(grad_difference).sub_(grad_likelihood / len(labels))
        grad_log_variance.index_add_(0, labels, difference, alpha=-0.5)
        return grad_features, None, None, grad_means, grad_log_variance
