"""Early-learning regularisation against its definition, in loops, over several steps."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F

from lossbench import create_loss
from lossbench.losses import TrainingFacts
from lossbench.losses.elr import clamped_posterior, log_disagreement, updated_targets

N, K, D = 7, 4, 3


def make(n=20, **params):
    torch.manual_seed(0)
    head = create_loss("elr", num_classes=K, feature_dim=D, **params)
    head.prepare(TrainingFacts(torch.tensor([n - 6, 3, 2, 1]), epochs=10))
    return head.double()


def posterior_by_hand(head, x):
    scores = [w @ x + b for w, b in zip(head.linear.weight, head.linear.bias, strict=True)]
    whole = sum(s.exp() for s in scores)
    return [s.exp() / whole for s in scores]


def target_by_hand(earlier, posterior, beta):
    """beta t + (1 - beta) p / sum p, with p clamped to [1e-4, 1 - 1e-4]."""
    clamped = [min(max(float(p.detach()), 1e-4), 1 - 1e-4) for p in posterior]
    return [beta * t + (1 - beta) * p / sum(clamped) for t, p in zip(earlier, clamped, strict=True)]


@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize(("lambda_", "beta"), [(3.0, 0.7), (7.0, 0.9), (1.0, 0.0)])
def test_value_gradients_and_targets_over_several_epochs(assert_same_as, lambda_, beta, scale):
    head = make(lambda_=lambda_, beta=beta)
    features, labels = scale * torch.randn(3, N, D).double(), torch.randint(K, (N,))
    rows = [5, 19, 0, 3, 11, 12, 7]
    targets = {row: [0.0] * K for row in range(20)}
    head.sample_indices = torch.tensor(rows)
    for epoch in range(3):

        def reference(inputs, labels):
            total = 0.0
            for x, z, row in zip(inputs, labels.tolist(), rows, strict=True):
                posterior = posterior_by_hand(head, x)
                target = target_by_hand(targets[row], posterior, beta)
                agreement = sum(
                    t * p.clamp(1e-4, 1 - 1e-4) for t, p in zip(target, posterior, strict=True)
                )
                total = total - torch.log(posterior[z]) + lambda_ * torch.log(1 - agreement)
            return total / len(labels)

        assert_same_as(head, features[epoch].clone(), labels, reference, rtol=1e-9)
        head.before_step(features[epoch], labels)
        for x, row in zip(features[epoch], rows, strict=True):
            targets[row] = target_by_hand(targets[row], posterior_by_hand(head, x), beta)
        expected = torch.tensor([targets[row] for row in range(20)], dtype=torch.double)
        torch.testing.assert_close(head.targets, expected, rtol=1e-10, atol=0)


def test_gradcheck_with_constant_targets():
    torch.manual_seed(1)
    scores = torch.randn(N, K).double().requires_grad_()
    targets = torch.rand(N, K).double().softmax(1)
    assert torch.autograd.gradcheck(
        lambda s: log_disagreement(targets, clamped_posterior(s)), (scores,)
    )


def test_lambda_0_is_softmax():
    head = make(**{"lambda": 0.0})
    head.sample_indices = torch.arange(N)
    features, labels = torch.randn(N, D).double(), torch.randint(K, (N,))
    assert torch.equal(head(features, labels), F.cross_entropy(head.logits(features), labels))


def test_only_the_images_of_the_batch_get_new_targets_and_only_before_the_step():
    head = make()
    features, labels = torch.randn(3, D).double(), torch.tensor([0, 1, 2])
    head.sample_indices = torch.tensor([4, 2, 9])
    head(features, labels)
    assert not head.targets.any()  # computing the loss changes nothing
    head.before_step(features, labels)
    assert head.targets.any(1).nonzero().flatten().tolist() == [2, 4, 9]
    assert not head.targets.requires_grad
    before = head.logits(features)
    head.targets.normal_()
    assert torch.equal(head.logits(features), before)  # no part of the measurement


def test_the_term_of_a_correct_label_keeps_its_gradient_and_opposes_a_wrong_label():
    """Propositions of the paper: the sign of the gradient with certain targets."""
    posterior = torch.tensor([[0.9, 0.05, 0.05]]).double()
    scores = posterior.log().requires_grad_()
    target = torch.tensor([[0.9, 0.05, 0.05]]).double()  # earlier predictions: class 0
    [gradient] = torch.autograd.grad(log_disagreement(target, clamped_posterior(scores)), scores)
    assert gradient[0, 0] < 0  # descent raises the score of the earlier prediction
    assert (gradient[0, 1:] > 0).all()  # and lowers the others, such as a wrong label's


def test_in_eval_mode_the_loss_of_any_number_of_other_images_is_cross_entropy():
    head = make(n=20)
    head.targets.copy_(torch.rand(20, K).softmax(1))
    head.eval()
    features, labels = torch.randn(33, D).double(), torch.randint(K, (33,))
    assert torch.equal(head(features, labels), F.cross_entropy(head.logits(features), labels))


def test_targets_converge_to_constant_predictions():
    posterior = clamped_posterior(torch.randn(N, K).double())
    targets = torch.zeros(N, K).double()
    for _ in range(100):
        targets = updated_targets(targets, posterior, 0.7)
    torch.testing.assert_close(targets, posterior / posterior.sum(1, keepdim=True))


def test_state_is_restored_with_the_state_dict():
    head = make()
    head.sample_indices = torch.arange(N)
    features, labels = torch.randn(N, D).double(), torch.randint(K, (N,))
    head.before_step(features, labels)
    other = make()
    other.load_state_dict(head.state_dict())
    other.sample_indices = torch.arange(N)
    assert torch.equal(other(features, labels), head(features, labels))
    fresh = make()
    fresh.sample_indices = torch.arange(N)
    assert not torch.equal(fresh(features, labels), head(features, labels))


def test_half_precision_features_update_float32_targets():
    head = make().float()
    head.sample_indices = torch.arange(N)
    features = torch.randn(N, D).bfloat16()
    head.before_step(features, torch.randint(K, (N,)))
    exact = copy.deepcopy(head)
    exact.targets.zero_()
    exact.before_step(features.float(), torch.randint(K, (N,)))
    assert torch.equal(head.targets, exact.targets)


def test_compiled_head_uses_the_indices_of_each_batch():
    head = make()
    features, labels = torch.randn(N, D).double(), torch.randint(K, (N,))
    head.targets.copy_(torch.rand(20, K).softmax(1))
    compiled = torch.compile(head, backend="aot_eager", fullgraph=True)
    values = []
    for rows in (torch.arange(N), torch.arange(N) + 9):
        head.sample_indices = rows
        value = head(features, labels)
        torch.testing.assert_close(compiled(features, labels), value)
        values.append(float(value.detach()))
    assert values[0] != values[1]


def test_message_without_preparation():
    head = create_loss("elr", num_classes=K, feature_dim=D)
    with pytest.raises(RuntimeError, match=r"prepare.*sample_indices"):
        head(torch.randn(N, D), torch.randint(K, (N,)))
