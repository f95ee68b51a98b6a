"""L-GM against loops over Eqs. 17 and 18, the gradients of Eqs. 19-23, and its limits."""

import math

import pytest
import torch
from torch.distributions import Independent, Normal
from torch.nn import functional as F

from lossbench import create_loss
from lossbench.losses.lgm_autograd import BLOCK

COVARIANCES = ["identity", "diagonal"]


def make(num_classes, feature_dim, dtype=torch.double, spread=1.0, **params):
    head = create_loss("lgm", num_classes=num_classes, feature_dim=feature_dim, **params)
    head = head.to(dtype)
    with torch.no_grad():
        head.means.normal_().mul_(spread)
        if head.log_variance is not None:
            head.log_variance.normal_().mul_(0.5)
    return head


def variances(head):
    if head.log_variance is None:
        return torch.ones_like(head.means)
    return head.log_variance.exp()


def loop_distance(x, mu, variance):
    total = 0.0
    for a, b, v in zip(x, mu, variance, strict=True):
        total = total + (a - b) * (a - b) / v
    return total / 2  # Eq. 18


def loop_loss(features, labels, head, alpha, weight):
    """Eq. 17, sample by sample."""
    means, variance, total = head.means, variances(head), 0.0
    for x, z in zip(features, labels.tolist(), strict=True):
        d = [loop_distance(x, mu, v) for mu, v in zip(means, variance, strict=True)]
        inverse_root = [1 / torch.sqrt(torch.prod(v)) for v in variance]
        numerator = inverse_root[z] * torch.exp(-d[z] * (1 + alpha))
        denominator = sum(
            inverse_root[k] * torch.exp(-d[k] * (1 + (alpha if k == z else 0)))
            for k in range(len(d))
        )
        log_determinant = torch.log(torch.prod(variance[z]))
        total = total - torch.log(numerator / denominator) + weight * (d[z] + log_determinant / 2)
    return total / len(labels)


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("feature_dim", [2, 6])  # by differences, and by products
def test_value_and_gradients_are_those_of_equation_17(
    assert_same_as, covariance, alpha, feature_dim
):
    torch.manual_seed(0)
    head = make(5, feature_dim, alpha=alpha, lambda_=0.25, covariance=covariance)
    features, labels = torch.randn(9, feature_dim).double(), torch.randint(5, (9,))
    assert_same_as(head, features, labels, lambda x, z: loop_loss(x, z, head, alpha, 0.25))


def closed_form(features, labels, head, alpha, weight, posterior_alpha):
    """Eqs. 19-23, averaged over the batch; C_k is its diagonal, in Eq. 21 that of C_z."""
    mu, variance = head.means.detach(), variances(head).detach()
    of_mu, of_variance, of_x = (torch.zeros_like(t) for t in (mu, variance, features))
    for i, (x, z) in enumerate(zip(features.detach(), labels.tolist(), strict=True)):
        scores = []
        for k in range(len(mu)):
            stretch = 1 + (posterior_alpha if k == z else 0)
            log_root = torch.log(variance[k]).sum() / 2
            scores.append(-loop_distance(x, mu[k], variance[k]) * stretch - log_root)
        p = torch.exp(torch.stack(scores)) / sum(torch.exp(s) for s in scores)
        for k in range(len(mu)):
            c = (x - mu[k]) ** 2
            if k == z:
                pull = (1 - p[z]) * (1 + alpha) + weight
                of_mu[z] += pull * (mu[z] - x) / variance[z]  # Eq. 19
                of_x[i] += pull * (x - mu[z]) / variance[z]  # Eq. 23
                inner = pull * c / variance[z] - (1 - p[z] + weight)
                of_variance[z] -= 0.5 * inner / variance[z]  # Eq. 21
            else:
                of_mu[k] += p[k] * (x - mu[k]) / variance[k]  # Eq. 20
                of_x[i] -= p[k] * (x - mu[k]) / variance[k]  # Eq. 23
                of_variance[k] -= 0.5 * p[k] * (1 - c / variance[k]) / variance[k]  # Eq. 22
    return of_x / len(labels), of_mu / len(labels), of_variance / len(labels)


@pytest.mark.parametrize("feature_dim", [3, 7])
def test_gradients_are_those_of_equations_19_to_23(feature_dim):
    """They hold with p_k the posterior of Eq. 17, and not with that of Eq. 6.

    The paper writes p(k|x_i) for p_k, the symbol of Eq. 6, which has no margin; and C_k in
    Eq. 21 where it means C_z.
    """
    torch.manual_seed(1)
    alpha, weight = 0.7, 0.1
    head = make(4, feature_dim, alpha=alpha, lambda_=weight, covariance="diagonal")
    features = torch.randn(8, feature_dim).double().requires_grad_()
    labels = torch.randint(4, (8,))
    alpha = float(head.alpha)
    inputs = [features, head.means, head.log_variance]
    x, mu, log_variance = torch.autograd.grad(head(features, labels), inputs)
    actual = [x, mu, log_variance / variances(head).detach()]  # d Lambda = Lambda d log Lambda

    with_margin = closed_form(features, labels, head, alpha, weight, posterior_alpha=alpha)
    for a, e in zip(actual, with_margin, strict=True):
        torch.testing.assert_close(a, e, rtol=1e-10, atol=1e-12)
    without = closed_form(features, labels, head, alpha, weight, posterior_alpha=0.0)
    for a, e in zip(actual, without, strict=True):
        assert (a - e).norm() > 0.01 * e.norm()


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("feature_dim", [2, 6])
def test_gradcheck(covariance, feature_dim):
    torch.manual_seed(2)
    head = make(3, feature_dim, alpha=0.4, covariance=covariance)
    features = torch.randn(5, feature_dim).double().requires_grad_()
    labels = torch.tensor([0, 1, 2, 1, 1])
    names = [name for name, _ in head.named_parameters()]

    def loss(features, *parameters):
        values = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(head, values, (features, labels))

    assert torch.autograd.gradcheck(loss, (features, *head.parameters()))


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("feature_dim", [2, 6])
def test_density_and_posterior_are_those_of_the_normal_distribution(covariance, feature_dim):
    torch.manual_seed(3)
    head = make(4, feature_dim, covariance=covariance)
    features = 2 * torch.randn(6, feature_dim).double()
    normal = Independent(Normal(head.means, variances(head).sqrt()), 1)
    expected = normal.log_prob(features[:, None])
    torch.testing.assert_close(head.class_log_density(features), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(head.logits(features).softmax(1), expected.softmax(1))
    in_float32 = head.float().class_log_density(features.float())
    assert in_float32.dtype == torch.float32
    torch.testing.assert_close(in_float32.double(), expected, rtol=1e-6, atol=1e-6)


def test_density_is_exact_far_from_the_origin():
    torch.manual_seed(4)
    head = make(10, 32, dtype=torch.float32)
    with torch.no_grad():
        head.means.add_(1000)
    features = (head.means + 0.01 * torch.randn(10, 32)).detach()
    squared = (features[:, None].double() - head.means.detach().double()).square().sum(2)
    expected = -0.5 * squared - 16 * math.log(2 * math.pi)
    torch.testing.assert_close(
        head.class_log_density(features).double(), expected, rtol=1e-7, atol=0
    )


def test_density_never_exceeds_its_mode():
    torch.manual_seed(9)
    head = make(50, 32, spread=1000.0)
    at_the_means = head.class_log_density(head.means).diagonal()
    assert (at_the_means <= -16 * math.log(2 * math.pi)).all()


def test_lemma_1_of_wan_et_al():
    torch.manual_seed(5)
    n, d, weight = 11, 6, 0.3
    head = make(4, d, lambda_=weight)
    features, labels = torch.randn(n, d).double(), torch.randint(4, (n,))
    center_loss = 0.0
    for x, z in zip(features, labels, strict=True):
        for a, c in zip(x, head.means[z], strict=True):
            center_loss += 0.5 * (a - c).item() ** 2  # Eq. 3
    log_density = head.class_log_density(features)
    likelihood = -sum(log_density[i, z].item() for i, z in enumerate(labels))  # Eq. 10
    constant = n * d / 2 * math.log(2 * math.pi)
    assert likelihood == pytest.approx(center_loss + constant, rel=1e-12)  # Eq. 16
    term = head.terms(features, labels)["likelihood"].item()
    assert term * n / weight == pytest.approx(center_loss, rel=1e-12)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_alpha_0_is_the_gm_loss_and_margin_increases_the_loss(covariance):
    torch.manual_seed(6)
    features, labels = torch.randn(9, 6).double(), torch.randint(5, (9,))
    head = make(5, 6, alpha=0.0, covariance=covariance)
    term = head.terms(features, labels)["classification"]
    expected = F.cross_entropy(head.class_log_density(features), labels)  # Eq. 7
    torch.testing.assert_close(term, expected, rtol=1e-12, atol=0)
    logits = head.logits(features)
    head.alpha.fill_(1.0)
    assert head.terms(features, labels)["classification"] > term + 0.1
    assert torch.equal(head.logits(features), logits)


REGIMES = {  # where the classes are, how far apart, and the spread within one
    "unit": (0.0, 1.0, 1.0),
    "converged": (1000.0, 1.0, 0.01),
    "converged, far apart": (1000.0, 10.0, 0.01),
    "overlapping": (1000.0, 0.1, 1.0),
}


def float64_loss(features, labels, means, log_variance, alpha, weight):
    squared = (features[:, None] - means).square()  # (N, K, D)
    distance = 0.5 * (squared * torch.exp(-log_variance)).sum(2)
    own = F.one_hot(labels, len(means)).double()
    scores = -0.5 * log_variance.sum(1) - distance * (1 + alpha * own)
    likelihood = ((distance + 0.5 * log_variance.sum(1)) * own).sum(1).mean()
    return F.cross_entropy(scores, labels) + weight * likelihood


@pytest.mark.parametrize(
    ("num_classes", "feature_dim"), [(50, 2), (20, 32), (100, 384), (300, 512)]
)
@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("covariance", ["identity", "diagonal", "diagonal, fitted"])
@pytest.mark.parametrize("regime", REGIMES)
def test_float32_agrees_with_float64(regime, covariance, alpha, num_classes, feature_dim):
    """Loss within 1e-6, gradients within 1e-5, relative to float64 on the same numbers."""
    torch.manual_seed(7)
    offset, spread, sigma = REGIMES[regime]
    kind = covariance.partition(",")[0]
    head = create_loss(
        "lgm", num_classes=num_classes, feature_dim=feature_dim, alpha=alpha, covariance=kind
    )
    labels = torch.randint(num_classes, (64,))
    log_variance = torch.zeros(num_classes, feature_dim)
    with torch.no_grad():
        head.means.normal_(offset, spread)
        if head.log_variance is not None:
            at = 2 * math.log(sigma) if "fitted" in covariance else 0.0
            head.log_variance.normal_(at, 0.3)
            log_variance = head.log_variance.clone()
        features = head.means[labels] + sigma * torch.randn(64, feature_dim)
    features.requires_grad_()
    inputs = [features, *head.parameters()]
    loss = head(features, labels)
    actual = torch.autograd.grad(loss, inputs)

    exact = [t.detach().double().requires_grad_() for t in (features, head.means, log_variance)]
    x, mu, lv = exact
    expected = float64_loss(x, labels, mu, lv, alpha, head.lambda_)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    for a, e in zip(actual, torch.autograd.grad(expected, exact), strict=False):
        assert (a.double() - e).norm() <= 1e-5 * e.norm()


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("feature_dim", [4, 128])
def test_no_tensor_has_an_element_for_each_sample_class_and_dimension(
    largest_tensor, covariance, feature_dim
):
    n, k = 64, 500
    head = create_loss("lgm", num_classes=k, feature_dim=feature_dim, covariance=covariance)
    features = torch.randn(n, feature_dim, requires_grad=True)
    labels = torch.randint(k, (n,))
    with largest_tensor:
        head(features, labels).backward()
        head.logits(features)
        head.class_log_density(features)
    # the second half of the line is what an N x K x D tensor would exceed
    assert n * k <= largest_tensor.numel <= max(n * k, k * feature_dim) < n * k * feature_dim / 3


def test_work_in_many_dimensions_is_done_by_matrix_products(largest_tensor):
    n, k, d = 64, 500, 128
    head = create_loss("lgm", num_classes=k, feature_dim=d, covariance="diagonal")
    with largest_tensor:
        head(torch.randn(n, d, requires_grad=True), torch.randint(k, (n,))).backward()
    assert largest_tensor.total < n * k * d  # all tensors of both passes together


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("feature_dim", [2, 32])
def test_posterior_is_correct_far_from_all_classes(covariance, feature_dim):
    """As at the start of a training, when nothing ties the features to the means yet."""
    torch.manual_seed(8)
    head = create_loss(
        "lgm", num_classes=10, feature_dim=feature_dim, covariance=covariance, alpha=0.0,
        lambda_=0.0,
    )  # fmt: skip
    with torch.no_grad():
        head.means.mul_(0.001)
    features, labels = 1000 + torch.randn(64, feature_dim), torch.randint(10, (64,))
    squared = (features[:, None].double() - head.means.detach().double()).square().sum(2)
    posterior = (-0.5 * squared).softmax(1)
    assert posterior.max(1).values.mean() < 0.99  # the classes do compete
    torch.testing.assert_close(
        head.logits(features).softmax(1).double(), posterior, rtol=1e-4, atol=0
    )
    expected = F.nll_loss(posterior.log(), labels)
    assert head(features, labels).item() == pytest.approx(expected.item(), rel=1e-6)


def test_margin_is_constant_without_alpha_start():
    head = create_loss("lgm", num_classes=3, feature_dim=2, alpha=0.3)
    assert head.schedules() == {}
    head.set_progress(0.9)
    assert float(head.alpha) == pytest.approx(0.3)


def test_margin_grows_in_steps_and_never_above_alpha():
    head = create_loss(
        "lgm", num_classes=3, feature_dim=2, alpha=1.0, alpha_start=0.1, alpha_every=0.1
    )
    assert float(head.alpha) == pytest.approx(0.1)  # before the first step, too
    course = {0.0: 0.1, 0.0999: 0.1, 0.1: 0.2, 0.2: 0.4, 0.299: 0.4, 0.3: 0.8, 0.4: 1.0, 0.999: 1.0}
    for progress, alpha in course.items():
        head.set_progress(progress)
        assert float(head.alpha) == pytest.approx(alpha), progress


def test_margin_growth_accepts_extreme_parameters():
    head = create_loss(
        "lgm", num_classes=3, feature_dim=2, alpha=1, alpha_start=1e-30, alpha_factor=1e9,
        alpha_every=1e-9,
    )  # fmt: skip
    head.set_progress(0.999)
    assert float(head.alpha) == 1


@pytest.mark.parametrize("alpha", [0.0, 0.1])
def test_margin_not_above_its_start_is_constant(alpha):
    head = create_loss("lgm", num_classes=3, feature_dim=2, alpha=alpha, alpha_start=0.1)
    for progress in (0.0, 0.3, 0.999):
        head.set_progress(progress)
        assert float(head.alpha) == pytest.approx(alpha)


def test_parameter_groups_of_means_and_variances():
    head = create_loss(
        "lgm", num_classes=3, feature_dim=2, covariance="diagonal", mean_lr_scale=2.0
    )
    of_means, of_variances = head.parameter_groups()
    assert of_means.parameters == (head.means,)
    assert (of_means.lr_scale, of_means.decay) == (2.0, True)
    assert of_variances.parameters == (head.log_variance,)
    assert (of_variances.lr_scale, of_variances.decay) == (1.0, False)


def test_many_classes_give_the_same_loss_under_torch_compile():
    num_classes, feature_dim = 600, 500
    assert num_classes * feature_dim > BLOCK
    head = make(num_classes, feature_dim, spread=0.1, covariance="diagonal")
    features = torch.randn(30, feature_dim, dtype=torch.double, requires_grad=True)
    labels = torch.arange(0, num_classes, 20)
    found = []
    torch.compiler.reset()
    for loss in (head, torch.compile(head, backend="aot_eager")):
        value = loss(features, labels)
        found.append([value, *torch.autograd.grad(value, [features, *head.parameters()])])
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-12)
