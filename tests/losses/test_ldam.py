"""LDAM against the paper's definition, in loops."""

import math

import pytest
import torch
from torch.nn import functional as F

from lossbench import create_loss
from lossbench.errors import ParameterError
from lossbench.losses import TrainingFacts

COUNTS = [300, 40, 5, 2]


def make(counts=COUNTS, dtype=torch.float64, **params):
    torch.manual_seed(0)
    head = create_loss("ldam", num_classes=len(counts), feature_dim=3, **params).to(dtype)
    head.prepare(TrainingFacts(torch.tensor(counts), epochs=200))
    return head


def loop_loss(features, labels, weight, scale, max_margin, class_weights):
    margins = [n**-0.25 for n in COUNTS]
    margins = [max_margin * m / max(margins) for m in margins]
    total, divisor = 0.0, 0.0
    for x, z in zip(features, labels.tolist(), strict=True):
        cosines = [w @ x / (torch.sqrt(w @ w) * torch.sqrt(x @ x)) for w in weight]
        scores = [scale * (c - margins[z] * (k == z)) for k, c in enumerate(cosines)]
        posterior = scores[z].exp() / sum(s.exp() for s in scores)
        total = total - class_weights[z] * torch.log(posterior)
        divisor += class_weights[z]
    return total / divisor


@pytest.mark.parametrize("progress", [0.0, 0.9])
@pytest.mark.parametrize(("max_margin", "scale"), [(0.5, 5.0), (0.0, 1.0), (1.5, 10.0)])
def test_value_and_gradients(assert_same_as, max_margin, scale, progress):
    head = make(max_margin=max_margin, scale=scale, reweight_beta=0.99)
    with torch.no_grad():
        head.weight.mul_(torch.tensor([[0.5], [1.0], [2.0], [3.0]]))
    head.set_progress(progress)
    weights = [1 / ((1 - 0.99**n) / 0.01) for n in COUNTS]
    weights = [4 * w / sum(weights) for w in weights] if progress else [1.0] * 4
    features, labels = torch.randn(20, 3).double(), torch.randint(4, (20,))
    assert_same_as(
        head,
        features,
        labels,
        lambda x, z: loop_loss(x, z, head.weight, scale, max_margin, weights),
        1e-9,
    )


@pytest.mark.parametrize("progress", [0.0, 0.9])
def test_gradcheck(progress):
    head = make(scale=4.0)
    head.set_progress(progress)
    features, labels = torch.randn(5, 3).double().requires_grad_(), torch.randint(4, (5,))

    def loss(features, weight):
        return torch.func.functional_call(head, {"weight": weight}, (features, labels))

    assert torch.autograd.gradcheck(loss, (features, head.weight))


def test_margins_are_largest_for_the_rarest_class():
    margins = make().margins
    assert float(margins.max()) == float(margins[3]) == 0.5
    for n, margin in zip(COUNTS, margins.tolist(), strict=True):
        assert margin == pytest.approx(0.5 * (2 / n) ** 0.25, rel=1e-12)


def test_defaults_are_those_of_the_authors_code():
    head = make()
    assert (head.max_margin, head.scale) == (0.5, 30.0)
    assert (head.reweight_from, head.reweight_beta) == (0.8, 0.9999)
    torch.testing.assert_close(head.weight.norm(dim=1), torch.ones(4).double())


@pytest.mark.parametrize("steps", [1, 7, 96, 391])
def test_reweighting_starts_with_epoch_160_of_200(steps):
    """Epochs are numbered from 0, as in the authors' code; `steps` is the number per epoch."""
    head = make()
    for epoch, expected in [(0, 0.0), (159, 0.0), (160, 1.0), (199, 1.0)]:
        for step in {0, steps - 1}:
            head.set_progress((epoch * steps + step) / (200 * steps))
            assert float(head.reweighting) == expected, (epoch, step)


@pytest.mark.parametrize(("start", "at_start"), [(None, 0.0), (0.0, 1.0)])
def test_reweighting_never_or_always(start, at_start):
    head = make(reweight_from=start)
    assert float(head.reweighting) == at_start
    for progress in (0.0, 0.5, 0.99):
        head.set_progress(progress)
        assert float(head.reweighting) == at_start
    assert (head.schedules() == {}) is (start is None)


def test_predictions_are_without_margins():
    head, features = make(), torch.randn(6, 3).double()
    expected = 30 * F.normalize(features) @ F.normalize(head.weight).T
    torch.testing.assert_close(head.logits(features), expected, rtol=1e-12, atol=0)


def test_equal_margins_are_cosface():
    head = make([7, 7, 7, 7], max_margin=0.4, reweight_from=0.0)
    cosface = create_loss("cosface", num_classes=4, feature_dim=3, margin=0.4, scale=30.0).double()
    cosface.load_state_dict({"weight": head.weight.detach()})
    features, labels = torch.randn(6, 3).double(), torch.randint(4, (6,))
    torch.testing.assert_close(
        head(features, labels), cosface(features, labels), rtol=1e-10, atol=0
    )


def test_a_class_without_images_is_refused():
    head = create_loss("ldam", num_classes=3, feature_dim=3)
    with pytest.raises(ParameterError, match=r"ldam: .*classes 0, 2 have none"):
        head.prepare(TrainingFacts(torch.tensor([0, 4, 0]), epochs=1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loss_is_finite_at_0_and_at_angles_of_0_and_pi(dtype):
    head = make(dtype=dtype)
    weight = head.weight.detach()
    for scale in (0.0, 1e-20, 1.0, -1.0, -1e-20):
        features = (scale * weight).requires_grad_()
        loss = head(features, torch.arange(4))
        gradients = torch.autograd.grad(loss, [features, head.weight])
        assert all(torch.isfinite(t).all() for t in (loss, *gradients)), scale


def test_margin_is_at_most_that_of_the_rarest_class_for_a_single_class():
    assert make([5, 5]).margins.tolist() == [0.5, 0.5]
    assert math.isclose(float(make([16, 1]).margins[0]), 0.25)
