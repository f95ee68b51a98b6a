from __future__ import annotations

import numpy as np
import torch

from lossbench.evaluation import adversarial
from lossbench.evaluation.attacks import Fgsm
from tests.evaluation.trained_model import (
    make_head,
    make_trained,
)


def test_likelihood_that_underflows_keeps_its_logarithm() -> None:
    head = make_head("lgm")
    trained = make_trained(head)
    with torch.no_grad():
        head.means.mul_(1000.0)  # far from every feature
    stored = Fgsm(epsilons=[0.1])(trained).arrays["detection_fgsm_0.1"]
    score = adversarial.in_distribution_score(head, trained.features).numpy()
    assert stored["likelihood_normal"].max() == 0
    np.testing.assert_allclose(stored["log10_likelihood_normal"], score / np.log(10), rtol=1e-5)


def test_class_scores_have_no_logarithm() -> None:
    stored = Fgsm(epsilons=[0.1])(make_trained(make_head("softmax"))).arrays["detection_fgsm_0.1"]
    assert not any(name.startswith("log10") for name in stored)
