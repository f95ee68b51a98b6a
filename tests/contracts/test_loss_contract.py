"""What every registered loss keeps. A new one is picked up with its defaults."""

import pickle

import pytest
import torch
from torch import nn

from lossbench import create_loss
from lossbench.losses import LOSSES, DensityHead

torch.set_num_threads(1)

MORE_PARAMETERS = {
    "center": [{"weight": 0.5, "center_rate": 1.0}],
    "l_softmax": [{"margin": 4, "beta_start": 10.0}, {"margin": 1}],
    "contrastive": [{"weight": 1.0, "softmax_weight": 0.0}],
    "triplet": [
        {"mining": "semi_hard", "normalize": False},
        {"mining": "batch_hard", "softmax_weight": 0.0},
    ],
    "lgm": [
        {"covariance": "diagonal", "alpha": 1.0, "alpha_start": 0.1},
        {"alpha": 0.0, "lambda": 0.0},
    ],
}
CASES = [(name, params) for name in LOSSES for params in [{}, *MORE_PARAMETERS.get(name, [])]]
K, D, N = 4, 6, 16


def for_each(cases):
    ids = [" ".join([name, *(f"{key}={value}" for key, value in p.items())]) for name, p in cases]
    return pytest.mark.parametrize(("name", "params"), cases, ids=ids)


def is_density(name, params):
    return isinstance(create_loss(name, num_classes=K, feature_dim=D, **params), DensityHead)


each_loss = for_each(CASES)
each_density = for_each([case for case in CASES if is_density(*case)])


def batch(feature_dim=D, seed=1):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(N, feature_dim, generator=generator)
    return features, torch.arange(N) % K


def make(name, params, feature_dim=D, seed=0):
    """A head in the middle of its training."""
    torch.manual_seed(seed)
    head = create_loss(name, num_classes=K, feature_dim=feature_dim, **params)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    features, labels = batch(feature_dim, seed)
    head.set_progress(0.1 + 0.2 * seed)
    head.after_step(features, labels)
    if head.wants_class_means:
        head.fit_class_means(features, labels)
    return head


def gradients(head, features, labels):
    features = features.detach().clone().requires_grad_()
    loss = head(features, labels)
    inputs = [features, *head.parameters()]
    return loss, list(torch.autograd.grad(loss, inputs, materialize_grads=True))


@each_loss
def test_loss_does_not_depend_on_the_order_of_the_batch(name, params):
    head = make(name, params).double()
    features, labels = batch()
    features = features.double()
    order = torch.randperm(N, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(head(features, labels), head(features[order], labels[order]))
    other_labels = (labels + (torch.arange(N) < 3)) % K
    assert head(features, labels) != head(features, other_labels)


HARD_BATCHES = {
    "usual": batch(),
    "one sample": (torch.ones(1, D), torch.tensor([2])),
    "one class": (batch()[0], torch.full((N,), 1)),
    "coincident": (torch.ones(N, D), batch()[1]),
    "zero": (torch.zeros(N, D), batch()[1]),
    "large": (1e4 * batch()[0], batch()[1]),
    "small": (1e-20 * batch()[0], batch()[1]),
    "far away": (1e4 + batch()[0], batch()[1]),
}


@each_loss
@pytest.mark.parametrize("kind", HARD_BATCHES)
def test_loss_and_gradients_are_finite(name, params, kind):
    features, labels = HARD_BATCHES[kind]
    loss, found = gradients(make(name, params), features, labels)
    assert loss.shape == ()
    assert all(torch.isfinite(t).all() for t in (loss, *found))


@each_loss
def test_gradient_reaches_the_features_and_every_parameter(name, params):
    head = make(name, params)
    _, found = gradients(head, *batch())
    assert (found[0].abs().sum(1) > 0).all()
    assert all(gradient.abs().sum() > 0 for gradient in found)


@each_loss
def test_autocast_changes_nothing(name, params):
    head = make(name, params)
    features, labels = batch()
    features = features.bfloat16()
    density = isinstance(head, DensityHead)
    with torch.autocast("cpu", torch.bfloat16):
        loss, scores = head(features, labels), head.logits(features)
        log_density = head.class_log_density(features) if density else None
    assert loss.dtype == scores.dtype == torch.float32
    assert torch.equal(loss, head(features.float(), labels))
    assert torch.equal(scores, head.logits(features.float()))
    if density:
        assert torch.equal(log_density, head.class_log_density(features.float()))


@each_loss
def test_state_is_all_in_the_state_dict(name, params):
    features, labels = batch()
    head, other = make(name, params), make(name, params, seed=3)
    assert not torch.equal(other.logits(features), head.logits(features))
    other.load_state_dict(head.state_dict())
    assert torch.equal(other(features, labels), head(features, labels))
    assert torch.equal(other.logits(features), head.logits(features))


@each_loss
def test_survives_pickling(name, params):
    head = make(name, params)
    copy = pickle.loads(pickle.dumps(head))
    assert torch.equal(copy(*batch()), head(*batch()))


@each_loss
def test_every_parameter_is_in_exactly_one_group(name, params):
    head = make(name, params)
    grouped = [id(p) for group in head.parameter_groups() for p in group.parameters]
    assert sorted(grouped) == sorted(id(p) for p in head.parameters() if p.requires_grad)
    assert all(group.parameters and group.lr_scale > 0 for group in head.parameter_groups())


@each_loss
def test_forward_is_pure_and_the_sum_of_the_terms(name, params):
    head = make(name, params)
    features, labels = batch()
    before = {key: value.clone() for key, value in head.state_dict().items()}
    terms, loss, again = head.terms(features, labels), head(features, labels), head(*batch())
    assert torch.equal(loss, again)
    torch.testing.assert_close(sum(terms.values()), loss)
    assert all(term.shape == () for term in terms.values())
    assert not {"loss", "error"} & set(terms)  # names of the training loop
    assert before.keys() == head.state_dict().keys()
    assert all(torch.equal(value, before[key]) for key, value in head.state_dict().items())


@each_loss
def test_logits_are_a_finite_number_for_each_class(name, params):
    head = make(name, params)
    features, _ = batch()
    scores = head.logits(features)
    assert scores.shape == (N, K)
    assert torch.isfinite(scores).all()
    torch.testing.assert_close(head.logits(features[:3]), scores[:3])


@each_loss
def test_progress_sets_the_declared_buffers_and_nothing_else(name, params):
    head = make(name, params)
    before = {key: value.clone() for key, value in head.state_dict().items()}
    schedules = head.schedules()
    assert set(schedules) <= {key for key, _ in head.named_buffers()}
    head.set_progress(0.7)
    after = head.state_dict()
    assert {key for key in after if not torch.equal(after[key], before[key])} <= set(schedules)
    for key, value_at in schedules.items():
        assert after[key].item() == pytest.approx(value_at(0.7), rel=1e-6)


@each_density
def test_densities_integrate_to_1(name, params):
    head = make(name, params, feature_dim=2)
    assert head.class_means.shape == (K, 2)
    assert not head.class_means.requires_grad
    middle = head.class_means.mean(0)
    axis, step = torch.linspace(-12, 12, 241), 0.1
    grid = middle + torch.cartesian_prod(axis, axis)  # (241^2, 2)
    density = head.class_log_density(grid).double().exp()  # (241^2, K)
    torch.testing.assert_close(density.sum(0) * step**2, torch.ones(K).double(), rtol=1e-4, atol=0)
    expected = (density[:, :, None] * grid[:, None]).sum(0) * step**2  # (K, 2)
    torch.testing.assert_close(expected, head.class_means.double(), rtol=1e-3, atol=1e-3)


@each_loss
def test_learns_three_blobs(name, params):
    """200 steps through a free linear map: the loss falls, and nearly all are right."""
    torch.manual_seed(0)
    labels = torch.arange(60) % 3
    corners = torch.tensor([[3.0, 0.0], [-2.0, 2.5], [-2.0, -2.5]])
    points = corners[labels] + 0.4 * torch.randn(60, 2)
    head = create_loss(name, num_classes=3, feature_dim=2, **params)
    model = nn.Linear(2, 2)
    groups = [{"params": model.parameters(), "lr": 0.05}]
    for group in head.parameter_groups():
        groups.append({"params": group.parameters, "lr": 0.05 * group.lr_scale})
    optimizer = torch.optim.SGD(groups)

    def loss_at_the_end():
        head.set_progress(0.999)
        return head(model(points), labels).item()

    first = loss_at_the_end()
    steps = 200
    for step in range(steps):
        head.set_progress(step / steps)
        features = model(points)
        optimizer.zero_grad()
        head(features, labels).backward()
        optimizer.step()
        head.after_step(features.detach(), labels)
    assert loss_at_the_end() < 0.8 * first
    if head.wants_class_means:
        head.fit_class_means(model(points), labels)
    accuracy = (head.logits(model(points)).argmax(1) == labels).float().mean()
    assert accuracy > 0.95
