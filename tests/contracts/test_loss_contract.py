"""Contract of every registered loss. A new loss is tested with its default parameters."""

import functools

import pytest
import torch

from lossbench.cli.documentation.docstrings import equation_of
from lossbench.conformance import CHECKS, Subject, run_checks
from lossbench.losses import LOSSES, TrainingFacts
from lossbench.training.loop import misclassified

pytestmark = pytest.mark.long

torch.set_num_threads(1)

MORE_PARAMETERS = {
    "center": [{"weight": 0.5, "center_rate": 1.0}],
    "softmax": [{"class_weights": "balanced"}],
    "focal": [{"class_weights": "class_balanced"}],
    "label_smoothing": [{"class_weights": "balanced"}],
    "ldam": [{"reweight_from": None}],
    "sphereface": [{"margin": 1}],
    "l_softmax": [{"margin": 4, "beta_start": 10.0}, {"margin": 1}],
    "contrastive": [{"weight": 1.0, "softmax_weight": 0.0}],
    "triplet": [
        {"mining": "semi_hard", "normalize": False},
        {"mining": "batch_hard", "softmax_weight": 0.0},
    ],
    "squared_error": [{"kappa": 3.0, "target": 2.0, "scale": 0.5}],
    "lgm": [
        {"covariance": "diagonal", "alpha": 1.0, "alpha_start": 0.1},
        {"alpha": 0.0, "lambda": 0.0},
    ],
}
CASES = [(name, params) for name in LOSSES for params in [{}, *MORE_PARAMETERS.get(name, [])]]
IDS = [" ".join([name, *(f"{k}={value}" for k, value in params.items())]) for name, params in CASES]
DENSITIES = {"center", "lgm"}
RANDOM = {"feature_dropout"}
"""Losses with random draws for each sample, for which there is no order to check."""
CONSTANTS = {"elr"}
"""Losses with targets made of their own predictions, which are constants for the gradient."""


@pytest.mark.parametrize(("name", "params"), CASES, ids=IDS)
@pytest.mark.parametrize("check", CHECKS)
def test_contract(name, params, check):
    create = functools.partial(LOSSES[name].create, **params)
    [found] = run_checks(Subject(create), {check: CHECKS[check]})
    without_density = check == "densities" and name not in DENSITIES
    without_order = check == "order" and name in RANDOM
    without_gradient = check == "gradient" and name in CONSTANTS
    without_scores = check == "scores" and not has_scores(name, params)
    skipped = without_density or without_order or without_gradient or without_scores
    expected = "none" if skipped else "ok"
    assert (found.status, found.reason if expected == "ok" else "") == (expected, "")


def has_scores(name, params):
    """Whether the terms of a loss are computed from class scores without margin."""
    return name not in RANDOM and params.get("softmax_weight") != 0


@pytest.mark.parametrize("dim", [2, 6])
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_the_training_error_is_that_of_the_logits(case, dim):
    head, features, labels = make_batch(case, dim=dim)
    _, scores = head.terms_and_scores(features, labels)
    in_few_dimensions = case[0] == "lgm" and dim == 2  # where they are other numbers
    assert (scores is not None) == (has_scores(*case) and not in_few_dimensions)
    if scores is not None:
        wrong = misclassified(head.logits(features.detach()), labels)
        assert 0 < wrong.sum() < len(labels)
        assert torch.equal(misclassified(scores, labels), wrong)


def make_head(case, dim=6, samples=20):
    name, params = case
    torch.manual_seed(0)
    head = LOSSES[name].create(5, dim, **params)
    head.prepare(TrainingFacts(torch.tensor([40, 30, 20, 10, 5]), epochs=10))
    head.sample_indices = torch.arange(samples)
    return head


def make_batch(case, dtype=torch.float32, dim=6):
    head = make_head(case, dim).to(dtype)
    features = torch.randn(20, dim, dtype=dtype, requires_grad=True)
    return head, features, torch.arange(5).repeat_interleave(4)


@pytest.mark.parametrize("labels", [[0, 1], [0, 0], [2], [1] * 5, [0, 1, 2, 3], [0, 0, 1]])
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_every_batch_has_a_finite_loss_and_gradient(case, labels):
    """Including batches without a pair of the same class, or of different classes."""
    head = make_head(case, samples=len(labels))
    features = torch.randn(len(labels), 6, requires_grad=True)
    for value in head.terms(features, torch.tensor(labels)).values():
        assert value.isfinite()
        [gradient] = torch.autograd.grad(
            value, [features], retain_graph=True, materialize_grads=True
        )
        assert gradient.isfinite().all()


@pytest.mark.parametrize("name", list(LOSSES))
def test_docstrings_have_an_equation_and_a_reference(name):
    assert any(line.startswith("L = ") for line in equation_of(LOSSES[name].factory))
    assert LOSSES[name].reference


@pytest.mark.parametrize("dim", [2, 6])
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_gradients_of_terms_add_up_and_repeat(case, dim):
    head, features, labels = make_batch(case, torch.float64, dim)
    inputs = [features, *head.parameters()]

    def gradients(value):
        return torch.autograd.grad(value, inputs, retain_graph=True, materialize_grads=True)

    terms = head.terms(features, labels)
    whole = gradients(3.0 * sum(terms.values()))
    parts = [gradients(3.0 * term) for term in terms.values()]
    again = [gradients(3.0 * term) for term in terms.values()]
    for i, expected in enumerate(whole):
        torch.testing.assert_close(sum(part[i] for part in parts), expected, rtol=1e-10, atol=1e-12)
        assert all(torch.equal(a[i], b[i]) for a, b in zip(parts, again, strict=True))


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_nan_feature_gives_a_nan_loss(case):
    head, features, labels = make_batch(case)
    with torch.no_grad():
        features[3, 1] = torch.nan
    assert head(features, labels).isnan()


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_compiled_equals_eager(case):
    head, features, labels = make_batch(case)
    torch.compiler.reset()
    compiled = torch.compile(head, backend="aot_eager", fullgraph=True)
    inputs = [features, *head.parameters()]
    values = []
    for loss in (head, compiled):
        torch.manual_seed(0)  # for losses with random draws
        values.append(loss(features, labels))
    torch.testing.assert_close(*values)
    for a, b in zip(*(torch.autograd.grad(v, inputs) for v in values), strict=True):
        torch.testing.assert_close(a, b)
