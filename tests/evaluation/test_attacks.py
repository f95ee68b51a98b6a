from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from lossbench.errors import ParameterError
from lossbench.evaluation import EVALUATIONS, adversarial
from lossbench.evaluation.attacks import Fgsm, Pgd, TargetedFgsm
from lossbench.planning.trial import PlannedEvaluation
from tests.evaluation.trained_model import (
    SCALE,
    make_head,
    make_trained,
)


@pytest.mark.parametrize(
    "attack",
    [
        Fgsm(epsilons=[0.05, 0.3]),
        TargetedFgsm(),
        Pgd(steps=3),
        Fgsm(epsilons=[0.05, 0.3], objective="float32_cross_entropy"),
        Pgd(steps=3, objective="float32_cross_entropy"),
    ],
    ids=lambda attack: attack.name,
)
def test_attack_measures_the_metrics_and_artifacts_it_declares(
    attack: Fgsm | TargetedFgsm | Pgd,
) -> None:
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


def test_error_under_fgsm_is_that_of_the_attacked_images() -> None:
    trained = make_trained(make_head("center"))
    objective = adversarial.classification_objective(
        trained.model, trained.head, SCALE, trained.measured_images.labels
    )
    [pixels] = trained.measured_images.unaugmented()
    attacked = adversarial.fgsm(objective, pixels, 0.1)
    with torch.no_grad():
        predicted = trained.head.logits(trained.model(SCALE(attacked))).argmax(1)
    wrong = 100 * float((predicted != trained.measured_images.labels).double().mean())
    assert Fgsm(epsilons=[0.1])(trained).values["fgsm_0.1_error"] == pytest.approx(wrong)


@pytest.mark.parametrize("name", ["fgsm", "targeted_fgsm", "pgd"])
def test_epsilons_of_the_same_name_are_refused_once(name: str) -> None:
    with pytest.raises(ParameterError) as caught:
        EVALUATIONS[name].resolve({"epsilons": [0.3, 0.1, 0.10000001, 0.1]})
    message = f"{name}: epsilons: 0.1 and 0.10000001 are the same to six digits"
    assert str(caught.value).startswith(message)
    assert EVALUATIONS[name].resolve({"epsilons": [0.1, 0.10001]})["epsilons"] == [0.1, 0.10001]


@pytest.mark.parametrize(
    ("name", "digest"), [("fgsm", "863836cca6864ee6"), ("pgd", "c0c874b387c923ba")]
)
def test_the_default_objective_leaves_the_identity_of_earlier_measurements(
    name: str, digest: str
) -> None:
    planned = PlannedEvaluation(name=name, params=EVALUATIONS[name].resolve({}))
    assert planned.identity("0123456789abcdef") == digest
    chosen = EVALUATIONS[name].resolve({"objective": "float32_cross_entropy"})
    assert PlannedEvaluation(name=name, params=chosen).identity("0123456789abcdef") != digest


@pytest.mark.parametrize("attack", [Fgsm, Pgd])
def test_the_attack_follows_the_chosen_objective(
    attack: type[Fgsm | Pgd], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, asked = make_trained(make_head("softmax")), []
    for name in ("classification_objective", "float32_cross_entropy_objective"):

        def make(*arguments: Any, name: str = name) -> adversarial.Objective:
            asked.append(name)
            return lambda pixels: pixels.sum() if name.startswith("float32") else -pixels.sum()

        monkeypatch.setattr(adversarial, name, make)
    pixels = torch.full((2, 1, 3, 4), 100.0)
    lighter = attack(objective="float32_cross_entropy").attack(
        trained, pixels, torch.zeros(2).long(), 0.1, 0
    )
    darker = attack().attack(trained, pixels, torch.zeros(2).long(), 0.1, 0)
    assert asked == ["float32_cross_entropy_objective", "classification_objective"]
    torch.testing.assert_close(lighter, torch.full_like(pixels, 125.5))
    torch.testing.assert_close(darker, torch.full_like(pixels, 74.5))
