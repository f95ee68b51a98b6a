"""What every registered loss keeps. A new one is picked up with its defaults."""

import functools

import pytest
import torch

from lossbench.conformance import CHECKS, Subject, examine
from lossbench.losses import LOSSES

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
IDS = [" ".join([name, *(f"{k}={value}" for k, value in params.items())]) for name, params in CASES]
DENSITIES = {"center", "lgm"}


@pytest.mark.parametrize(("name", "params"), CASES, ids=IDS)
@pytest.mark.parametrize("check", CHECKS)
def test_contract(name, params, check):
    create = functools.partial(LOSSES[name].create, **params)
    [found] = examine(Subject(create), {check: CHECKS[check]})
    expected = "none" if check == "densities" and name not in DENSITIES else "ok"
    assert (found.status, found.why if expected == "ok" else "") == (expected, "")
