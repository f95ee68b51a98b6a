"""Balanced softmax against its definition, in loops."""

import pytest
import torch
from torch.nn import functional as F

from lossbench import create_loss
from lossbench.errors import ParameterError
from lossbench.losses import TrainingFacts

COUNTS = [300, 40, 5, 1]


def make(counts=COUNTS):
    torch.manual_seed(0)
    head = create_loss("balanced_softmax", num_classes=len(counts), feature_dim=3).double()
    head.prepare(TrainingFacts(torch.tensor(counts), epochs=1))
    return head


def test_value_and_gradients(assert_same_as):
    head = make()

    def reference(features, labels):
        total = 0.0
        for x, z in zip(features, labels.tolist(), strict=True):
            scores = [w @ x + b for w, b in zip(head.linear.weight, head.linear.bias, strict=True)]
            parts = [n * f.exp() for n, f in zip(COUNTS, scores, strict=True)]
            total = total - torch.log(parts[z] / sum(parts))
        return total / len(labels)

    assert_same_as(head, torch.randn(7, 3).double(), torch.randint(4, (7,)), reference)


def test_gradcheck():
    head = make()
    features, labels = torch.randn(5, 3).double().requires_grad_(), torch.randint(4, (5,))

    def loss(features, weight, bias):
        params = {"linear.weight": weight, "linear.bias": bias}
        return torch.func.functional_call(head, params, (features, labels))

    assert torch.autograd.gradcheck(loss, (features, head.linear.weight, head.linear.bias))


def test_predictions_are_without_the_prior():
    head, features = make(), torch.randn(6, 3).double()
    assert torch.equal(head.logits(features), head.linear(features))


def test_equal_counts_give_softmax():
    head = make([7, 7, 7, 7])
    features, labels = torch.randn(6, 3).double(), torch.randint(4, (6,))
    expected = F.cross_entropy(head.logits(features), labels)
    torch.testing.assert_close(head(features, labels), expected, rtol=1e-12, atol=0)


def test_the_best_scores_are_the_posterior_of_equally_frequent_classes():
    """Trained on a distribution with known posteriors, from which the prior is divided out."""
    counts = [80, 20]
    head = make(counts)
    shown = [([1.0, 0.0, 0.0], [60, 5]), ([0.0, 1.0, 0.0], [20, 15])]  # features -> labels
    rows = [(x, z) for x, numbers in shown for z in (0, 1) for _ in range(numbers[z])]
    features = torch.tensor([x for x, _ in rows]).double()
    labels = torch.tensor([z for _, z in rows])
    optimizer = torch.optim.LBFGS(
        head.parameters(), lr=1.0, max_iter=200, tolerance_grad=1e-12, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        loss = head(features, labels)
        loss.backward()
        return loss

    optimizer.step(closure)
    found = head.logits(torch.tensor([x for x, _ in shown]).double()).softmax(1)
    balanced = [[60 / 80, 5 / 20], [20 / 80, 15 / 20]]  # P(x | z)
    expected = torch.tensor([[p / sum(row) for p in row] for row in balanced]).double()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_the_prior_is_state_of_the_head():
    head = make()
    other = make([1, 1, 1, 1])
    other.load_state_dict(head.state_dict())
    features, labels = torch.randn(6, 3).double(), torch.randint(4, (6,))
    assert torch.equal(other(features, labels), head(features, labels))


@pytest.mark.parametrize("name", ["balanced_softmax", "logit_adjustment"])
def test_a_class_without_images_is_refused(name):
    head = create_loss(name, num_classes=4, feature_dim=3)
    with pytest.raises(ParameterError, match=r"each class, but class 2 has none"):
        head.prepare(TrainingFacts(torch.tensor([3, 1, 0, 9]), epochs=1))
    head = create_loss(name, num_classes=40, feature_dim=3)
    with pytest.raises(ParameterError, match=r"classes 0, 1, .*, 8, 9 and 29 more have none"):
        head.prepare(TrainingFacts(torch.tensor([0] * 39 + [1]), epochs=1))


@pytest.mark.parametrize("name", ["balanced_softmax", "logit_adjustment"])
def test_without_counts_there_is_no_loss(name):
    head = create_loss(name, num_classes=4, feature_dim=3)
    with pytest.raises(RuntimeError, match="call prepare"):
        head(torch.randn(2, 3), torch.tensor([0, 1]))
    assert head.logits(torch.randn(2, 3)).shape == (2, 4)
