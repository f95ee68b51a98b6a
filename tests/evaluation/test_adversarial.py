from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from lossbench.data.images import ArrayImages, View, normaliser
from lossbench.data.sources import load_dataset
from lossbench.errors import ParameterError
from lossbench.evaluation import EVALUATIONS, adversarial
from lossbench.evaluation.base import Trained
from lossbench.evaluation.robustness import Fgsm, OtherImages, Pgd, TargetedFgsm
from lossbench.losses import LossHead, create_loss

PIXELS, CLASSES, DIMENSIONS = 12, 4, 3
SCALE = normaliser(100.0, 50.0, torch.device("cpu"))


def make_model(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, 16), nn.Tanh(), nn.Linear(16, DIMENSIONS))


def make_head(name: str, **params: object) -> LossHead:
    torch.manual_seed(1)
    head = create_loss(name, num_classes=CLASSES, feature_dim=DIMENSIONS, **params)
    with torch.no_grad():
        for parameter in [*head.parameters(), *head.buffers()]:
            if parameter.ndim == 2:
                parameter.copy_(torch.randn_like(parameter))
    return head.eval()


def make_images(count: int = 20) -> tuple[Tensor, Tensor]:
    generator = Generator().manual_seed(2)
    pixels = torch.randint(0, 256, (count, 1, 3, 4), generator=generator, dtype=torch.uint8)
    return pixels, torch.randint(0, CLASSES, (count,), generator=generator)


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


def test_fgsm_against_cross_entropy_one_image_at_a_time() -> None:
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
def test_the_lead_is_that_of_the_classification_term(
    name: str, params: dict[str, object], term: str
) -> None:
    head, features = make_head(name, **params), 2 * torch.randn(30, DIMENSIONS)
    labels = torch.arange(30) % CLASSES
    lead = head.lead(features, labels)
    torch.testing.assert_close(F.softplus(-lead).mean(), head.terms(features, labels)[term])


def test_a_sure_model_is_attacked_all_the_same() -> None:
    """Cross-entropy of a posterior that rounds to 1 has no gradient; the lead has one."""
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


def test_normality_of_a_density_head_is_minus_half_the_squared_distance() -> None:
    head = make_head("lgm", covariance="diagonal")
    features = torch.randn(25, DIMENSIONS)
    found = adversarial.normality(head, features)
    predicted = head.logits(features).argmax(1)
    for index in range(25):
        difference = features[index] - head.class_means[predicted[index]]
        assert float(found[index]) == pytest.approx(-0.5 * float(difference @ difference), rel=1e-5)
    [shown] = adversarial.shown_likelihood(head, found)
    torch.testing.assert_close(shown, found.exp())


def test_normality_of_another_head_is_the_affinity_scaled_over_all_inputs() -> None:
    head, features = make_head("softmax"), torch.randn(25, DIMENSIONS)
    found = adversarial.normality(head, features)
    torch.testing.assert_close(found, head.logits(features).amax(1))
    first, second = adversarial.shown_likelihood(head, found[:10], found[10:])
    together = torch.cat([first, second])
    assert float(together.min()) == 0
    assert float(together.max()) == 1
    assert torch.equal(together.argsort(), found.argsort())


def make_trained(head: LossHead) -> Trained:
    pixels, labels = make_images(60)
    images = ArrayImages(pixels.permute(0, 2, 3, 1), labels, View())
    return Trained(make_model(), head, SCALE, images, images, Path(), seed=3)


@pytest.mark.parametrize(
    "attack", [Fgsm(epsilons=[0.05, 0.3]), TargetedFgsm(), Pgd(steps=3)], ids=lambda a: a.name
)
def test_an_attack_measures_what_it_announces(attack: Fgsm | TargetedFgsm | Pgd) -> None:
    trained = make_trained(make_head("lgm"))
    before = {k: v.clone() for k, v in trained.model.state_dict().items()}
    found = attack(trained)
    assert set(found.values) == {metric.name for metric in attack.metrics()}
    assert set(found.arrays) == {artifact.name for artifact in attack.artifacts()}
    assert all(math.isfinite(v) and 0 <= v <= 100 for v in found.values.values())
    assert all(torch.equal(before[k], v) for k, v in trained.model.state_dict().items())
    assert all(parameter.grad is None for parameter in trained.model.parameters())
    arrays = next(iter(found.arrays.values()))
    assert {name: len(a) for name, a in arrays.items() if "accept" not in name} == {
        "posterior_normal": 60,
        "posterior_other": 60,
        "likelihood_normal": 60,
        "likelihood_other": 60,
        "log10_likelihood_normal": 60,
        "log10_likelihood_other": 60,
    }
    np.testing.assert_allclose(
        10.0 ** arrays["log10_likelihood_other"], arrays["likelihood_other"], rtol=1e-4, atol=1e-30
    )


def test_the_error_under_fgsm_is_that_of_the_attacked_images() -> None:
    trained = make_trained(make_head("center"))
    objective = adversarial.classification_objective(
        trained.model, trained.head, SCALE, trained.test.labels
    )
    [pixels] = trained.test.central()
    attacked = adversarial.fgsm(objective, pixels, 0.1)
    with torch.no_grad():
        predicted = trained.head.logits(trained.model(SCALE(attacked))).argmax(1)
    wrong = 100 * float((predicted != trained.test.labels).double().mean())
    assert Fgsm(epsilons=[0.1])(trained).values["fgsm_0.1_error"] == pytest.approx(wrong)


def test_other_images_are_brought_to_the_form_of_the_measured(tmp_path: Path) -> None:
    """Digits of 8x8 and one channel against images 3x4 of one channel."""
    trained = make_trained(make_head("lgm"))
    found = OtherImages(dataset="digits")(trained)
    assert len(found.arrays["detection_other_digits"]["posterior_other"]) == 597
    assert set(found.values) == {f"other_digits_{key}" for key in ("eer", "auroc", "fpr95")}


def test_a_likelihood_that_underflows_keeps_its_logarithm() -> None:
    head = make_head("lgm")
    trained = make_trained(head)
    with torch.no_grad():
        head.means.mul_(1000.0)  # far from every feature
    stored = Fgsm(epsilons=[0.1])(trained).arrays["detection_fgsm_0.1"]
    normality = adversarial.normality(head, trained.features).numpy()
    assert stored["likelihood_normal"].max() == 0
    np.testing.assert_allclose(stored["log10_likelihood_normal"], normality / np.log(10), rtol=1e-5)


def test_affinities_have_no_logarithm() -> None:
    stored = Fgsm(epsilons=[0.1])(make_trained(make_head("softmax"))).arrays["detection_fgsm_0.1"]
    assert not any(name.startswith("log10") for name in stored)


@pytest.mark.parametrize(
    ("own", "other", "message"),
    [
        (2, 3, "mine2: its images have 3 channels, those of mine1 2; only 1 and 3"),
        (3, 4, "mine2: its images have 4 channels, those of mine1 3; only 1 and 3"),
        (1, 4, "mine2: its images have 4 channels, those of mine1 1; only 1 and 3"),
        (1, 3, ""),
        (3, 1, ""),
        (4, 4, ""),
    ],
)
def test_other_images_of_odd_channels_are_refused_before_the_training(
    tmp_path: Path, make_folder: Callable[..., Path], own: int, other: int, message: str
) -> None:
    root = make_folder("mine1", channels=own).parent
    make_folder("mine2", channels=other, train=63)  # else two of the same digest
    dataset, evaluation = load_dataset("mine1", root), OtherImages(dataset="mine2")
    if message:
        with pytest.raises(ValueError, match=message):
            evaluation.check(dataset, View(), root)
        return
    assert evaluation.check(dataset, View(), root).keys() == {"mine2"}
    images = dataset.splits["test"].on(torch.device("cpu"), View())
    model = nn.Sequential(nn.Flatten(), nn.Linear(own * 64, DIMENSIONS))
    trained = Trained(model, make_head("softmax"), SCALE, images, images, root, 0)
    assert evaluation(trained).values.keys() == {
        f"other_mine2_{k}" for k in ("eer", "auroc", "fpr95")
    }


@pytest.mark.parametrize("name", ["fgsm", "targeted_fgsm", "pgd"])
def test_epsilons_of_the_same_name_are_refused_once(name: str) -> None:
    with pytest.raises(ParameterError) as caught:
        EVALUATIONS[name].resolve({"epsilons": [0.3, 0.1, 0.10000001, 0.1]})
    message = f"{name}: epsilons: 0.1 and 0.10000001 are the same to six digits"
    assert str(caught.value).startswith(message)
    assert EVALUATIONS[name].resolve({"epsilons": [0.1, 0.10001]})["epsilons"] == [0.1, 0.10001]
