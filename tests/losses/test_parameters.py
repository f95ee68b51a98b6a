"""Arguments that `create_loss` refuses, and its messages."""

import pytest

from lossbench import create_loss
from lossbench.errors import ParameterError, UnknownNameError
from lossbench.losses import LOSSES


def create(name, **params):
    return create_loss(name, num_classes=3, feature_dim=2, **params)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("lgm", {"alpha": -1.0}, "alpha: .*greater than or equal to 0"),
        ("lgm", {"alpha": float("nan")}, "alpha: .*finite"),
        ("lgm", {"covariance": "full"}, "covariance: .*'identity' or 'diagonal'"),
        ("lgm", {"lamda": 0.1}, "lamda: unknown key; did you mean 'lambda'"),
        ("lgm", {"lambda": 0.1, "lambda_": 0.1}, "lambda: given twice"),
        ("lgm", {"alpha_every": 0.0}, "alpha_every: .*greater than 0"),
        ("center", {"wieght": 0.1}, "wieght: unknown key; did you mean 'weight'"),
        ("center", {"weight": -0.1}, "weight: .*greater than or equal to 0"),
        ("center", {"center_rate": 1.5}, "center_rate: .*less than or equal to 1"),
        ("l_softmax", {"margin": 5}, "margin: .*less than or equal to 4"),
        ("l_softmax", {"margin": 2.5}, "margin: .*integer"),
        ("contrastive", {"margin": 0.0}, "margin: .*greater than 0"),
        ("triplet", {"mining": "hard"}, "mining: .*'all', 'semi_hard' or 'batch_hard'"),
        ("triplet", {"samples_per_class": 1}, "samples_per_class: .*greater than or equal to 2"),
        ("softmax", {"margin": 1}, "margin: unknown key"),
    ],
)
def test_message_names_the_wrong_parameter(name, params, message):
    with pytest.raises(ParameterError, match=message):
        create(name, **params)


def test_lambda_has_two_spellings():
    assert create("lgm", lambda_=0.3).lambda_ == 0.3
    assert create("lgm", **{"lambda": 0.3}).lambda_ == 0.3
    assert "lambda" in LOSSES["lgm"].parameter_names


def test_message_names_the_unknown_loss_and_the_nearest_one():
    with pytest.raises(UnknownNameError, match=r"'large_margin'.*known: .*center, contrastive"):
        create("large_margin")
    with pytest.raises(UnknownNameError, match="did you mean 'l_softmax'"):
        create("lsoftmax")


def test_documented_losses_are_registered():
    assert {"softmax", "center", "l_softmax", "contrastive", "triplet", "lgm"} <= set(LOSSES)


@pytest.mark.parametrize("name", list(LOSSES))
def test_every_loss_has_a_complete_docstring(name):
    entry = LOSSES[name]
    assert entry.reference
    assert entry.summary.endswith(".")
    for section in ("Terms:", "Deviations"):
        assert section in (entry.factory.__doc__ or ""), section
    for parameter in entry.parameter_names:
        assert any(f"{p}: " in entry.factory.__doc__ for p in (parameter, f"{parameter}_"))
