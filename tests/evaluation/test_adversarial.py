from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from lossbench.evaluation import adversarial
from tests.evaluation.trained_model import (
    CLASSES,
    DIMENSIONS,
    SCALE,
    make_head,
    make_images,
    make_model,
)


def slow_fgsm(model: nn.Module, loss: object, pixels: Tensor, epsilon: float) -> Tensor:
    """One image after the other, in float64, by plain differentiation of the loss."""
    model = make_model().double()
    moved = []
    for index, image in enumerate(pixels.double()):
        image = image[None].clone().requires_grad_()
        value = loss(model((image - 100) / 50), index)  # type: ignore[operator]
        [gradient] = torch.autograd.grad(value, [image])
        moved.append((image + epsilon * 255 * gradient.sign()).clamp(0, 255).detach())
    return torch.cat(moved).float()


def test_fgsm_agrees_with_cross_entropy_one_image_at_a_time() -> None:
    model, head, (pixels, labels) = make_model(), make_head("softmax"), make_images()
    linear = make_head("softmax").double().linear
    objective = adversarial.classification_objective(model, head, SCALE, labels)
    found = adversarial.fgsm(objective, pixels, 0.1)
    expected = slow_fgsm(
        model, lambda x, i: F.cross_entropy(linear(x), labels[i : i + 1]), pixels, 0.1
    )
    torch.testing.assert_close(found, expected)
    assert float(found.min()) == 0
    assert float(found.max()) == 255


def test_fgsm_follows_the_classification_term_of_lgm_with_its_margin() -> None:
    model, (pixels, labels) = make_model(), make_images()
    head = make_head("lgm", alpha=2.0, lambda_=5.0)
    means = head.get_parameter("means").detach().double()

    def classification(x: Tensor, index: int) -> Tensor:
        distance = 0.5 * (x - means).square().sum(1)
        distance[labels[index]] *= 3.0
        return distance[labels[index]] + torch.logsumexp(-distance, 0)

    objective = adversarial.classification_objective(model, head, SCALE, labels)
    found = adversarial.fgsm(objective, pixels, 0.05)
    torch.testing.assert_close(found, slow_fgsm(model, classification, pixels, 0.05))


@pytest.mark.parametrize(
    ("name", "params", "term"),
    [
        ("softmax", {}, "cross_entropy"),
        ("center", {}, "cross_entropy"),
        ("lgm", {"alpha": 0.7, "covariance": "diagonal"}, "classification"),
    ],
)
def test_log_odds_and_scores_with_margin_give_the_classification_term(
    name: str, params: dict[str, object], term: str
) -> None:
    head, features = make_head(name, **params), 2 * torch.randn(30, DIMENSIONS)
    labels = torch.arange(30) % CLASSES
    log_odds = head.log_odds(features, labels)
    torch.testing.assert_close(F.softplus(-log_odds).mean(), head.terms(features, labels)[term])
    scores = head.margin_scores(features, labels)
    torch.testing.assert_close(F.cross_entropy(scores, labels), head.terms(features, labels)[term])


def test_fgsm_moves_images_of_a_confident_model() -> None:
    """Cross-entropy of a posterior that rounds to 1 has no gradient; the log-odds have one."""
    model, (pixels, _) = make_model(), make_images()
    head = make_head("softmax")
    with torch.no_grad():
        head.linear.weight *= 1000
        labels = head.logits(model(SCALE(pixels))).argmax(1)
        posterior = head.logits(model(SCALE(pixels))).softmax(1).amax(1)
    variable = pixels.float().requires_grad_()
    [plain] = torch.autograd.grad(head(model(SCALE(variable)), labels), [variable])
    gone = (plain.flatten(1) == 0).all(1)
    assert int(gone.sum()) > 5
    assert bool((posterior[gone] == 1).all())
    objective = adversarial.classification_objective(model, head, SCALE, labels)
    moved = adversarial.fgsm(objective, pixels, 0.1) != pixels
    assert bool(moved.flatten(1).any(1).all())


@pytest.mark.parametrize(("name", "scale"), [("softmax", 30), ("lgm", 11)])
def test_float32_cross_entropy_loses_the_score_of_the_true_class_where_it_is_certain(
    name: str, scale: float
) -> None:
    """Compared with the product of softmax minus one-hot, in float32, and each score's gradient."""
    model, (pixels, labels) = make_model(), make_images(100)
    alpha = 0.5
    head = make_head(name, **({"alpha": alpha} if name == "lgm" else {}))
    with torch.no_grad():
        for parameter in head.parameters():
            parameter *= scale
        labels[:60] = head.logits(model(SCALE(pixels[:60]))).argmax(1)
    weights = [p.detach().double() for p in head.parameters()]  # (K, D), and for softmax (K,)
    exact_model = make_model().double()
    moved, rest = [], []  # rest: 1 - p_z in float64
    for image, label in zip(pixels.double(), labels, strict=True):
        image = image[None].clone().requires_grad_()
        [feature] = exact_model((image - 100) / 50)  # (D,)
        if name == "softmax":
            scores = weights[0] @ feature + weights[1]  # (K,)
        else:
            scores = -0.5 * (feature - weights[0]).square().sum(1)
            scores = scores * (1 + alpha * F.one_hot(label, CLASSES))
        posterior = np.exp((scores - scores.max()).detach().numpy()).astype(np.float32)
        posterior /= posterior.sum(dtype=np.float32)
        total = torch.zeros_like(image)
        for k in range(CLASSES):
            factor = np.float32(posterior[k]) - np.float32(k == label)
            [own] = torch.autograd.grad(scores[k], [image], retain_graph=True)
            total += float(factor) * own
        rest.append(-math.expm1(scores.log_softmax(0)[label].item()))
        moved.append((image + 0.1 * 255 * total.sign()).clamp(0, 255).detach())
    objective = adversarial.float32_cross_entropy_objective(model, head, SCALE, labels)
    found = adversarial.fgsm(objective, pixels, 0.1)
    lost = torch.tensor(rest) < 1e-8
    kept = torch.tensor(rest) > 1e-3  # between, the last bit of p_z decides
    assert int(lost.sum()) > 10
    assert int(kept.sum()) > 10
    torch.testing.assert_close(found[lost | kept], torch.cat(moved).float()[lost | kept])
    exact = adversarial.classification_objective(model, head, SCALE, labels)
    differs = (adversarial.fgsm(exact, pixels, 0.1) != found).flatten(1).any(1)
    assert int(differs.sum()) > 10


def test_targeted_fgsm_descends_the_whole_loss_of_the_second_class() -> None:
    model, (pixels, _) = make_model(), make_images()
    head = make_head("lgm", alpha=0.5, lambda_=0.3)
    means = head.get_parameter("means").detach().double()
    with torch.no_grad():
        scores = head.logits(model(SCALE(pixels)))
    ranked = scores.argsort(1, descending=True)
    targets = adversarial.second_class(scores)
    assert torch.equal(targets, ranked[:, 1])

    def minus_whole_loss(x: Tensor, index: int) -> Tensor:
        distance = 0.5 * (x - means).square().sum(1)
        likelihood = 0.3 * distance[targets[index]]
        stretched = distance.clone()
        stretched[targets[index]] *= 1.5
        return -(stretched[targets[index]] + torch.logsumexp(-stretched, 0) + likelihood)

    objective = adversarial.target_objective(model, head, SCALE, targets)
    found = adversarial.fgsm(objective, pixels, 0.05)
    torch.testing.assert_close(found, slow_fgsm(model, minus_whole_loss, pixels, 0.05))


def test_pgd_stays_in_the_ball_and_beats_one_step() -> None:
    model, head, (pixels, labels) = make_model(), make_head("softmax"), make_images(200)
    objective = adversarial.classification_objective(model, head, SCALE, labels)

    def attack(seed: int) -> Tensor:
        return adversarial.pgd(
            objective, pixels, 0.2, steps=20, step_size=0.03,
            generator=Generator().manual_seed(seed),
        )  # fmt: skip

    found = attack(0)
    assert float((found - pixels).abs().max()) <= 0.2 * 255 + 1e-3
    assert float(found.min()) >= 0
    assert float(found.max()) <= 255
    assert torch.equal(found, attack(0))
    assert not torch.equal(found, attack(1))
    one_step = adversarial.fgsm(objective, pixels, 0.2)
    with torch.no_grad():
        assert objective(found) > objective(one_step) > objective(pixels.float())


def test_score_of_a_density_head_is_minus_half_the_squared_distance() -> None:
    head = make_head("lgm", covariance="diagonal")
    features = torch.randn(25, DIMENSIONS)
    found = adversarial.in_distribution_score(head, features)
    predicted = head.logits(features).argmax(1)
    for index in range(25):
        difference = features[index] - head.class_means[predicted[index]]
        assert float(found[index]) == pytest.approx(-0.5 * float(difference @ difference), rel=1e-5)
    [shown] = adversarial.plotted_likelihood(head, found)
    torch.testing.assert_close(shown, found.exp())


def test_score_of_other_heads_is_the_largest_class_score() -> None:
    head, features = make_head("softmax"), torch.randn(25, DIMENSIONS)
    found = adversarial.in_distribution_score(head, features)
    torch.testing.assert_close(found, head.logits(features).amax(1))
    first, second = adversarial.plotted_likelihood(head, found[:10], found[10:])
    together = torch.cat([first, second])
    assert float(together.min()) == 0
    assert float(together.max()) == 1
    assert torch.equal(together.argsort(), found.argsort())
