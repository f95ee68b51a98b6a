"""Losses of pytorch-metric-learning in a table; skipped where it is not installed."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch

from lossbench.conformance import CHECKS, Subject, examine
from lossbench.errors import ParameterError, RequestError
from lossbench.losses import LOSSES
from lossbench.losses.metric_learning import REFUSED, _names

needed = pytest.mark.skipif(
    importlib.util.find_spec("pytorch_metric_learning") is None,
    reason="the extra `pml` is not installed",
)
CASES: list[tuple[str, dict[str, Any]]] = [
    ("ArcFaceLoss", {"weight_regularizer": "RegularFaceRegularizer"}),
    ("ProxyNCALoss", {}),
    ("MultiSimilarityLoss", {"miner": {"name": "MultiSimilarityMiner", "epsilon": 0.1}}),
    ("ContrastiveLoss", {"distance": "CosineSimilarity", "pos_margin": 1, "neg_margin": 0}),
    ("MarginLoss", {"learn_beta": True, "softmax_weight": 0.0}),
]


@needed
@pytest.mark.parametrize(("name", "params"), CASES, ids=[name for name, _ in CASES])
def test_they_keep_the_contract(name: str, params: dict[str, Any]) -> None:
    entry = LOSSES[f"pml.{name}"]
    found = examine(Subject(lambda k, d: entry.create(k, d, **params)), CHECKS)
    assert {f.check: f.why for f in found if f.status == "failed"} == {}


@needed
def test_the_loss_is_the_library_s() -> None:
    from pytorch_metric_learning import losses, miners

    torch.manual_seed(0)
    features, labels = torch.randn(32, 6), torch.arange(4).repeat(8)
    head = LOSSES["pml.CircleLoss"].create(4, 6, m=0.3, miner="BatchHardMiner", weight=0.5)
    mined = miners.BatchHardMiner()(features, labels)
    expected = losses.CircleLoss(m=0.3)(features, labels, mined)
    terms = head.terms(features, labels)
    torch.testing.assert_close(terms["CircleLoss"], 0.5 * expected)
    assert set(terms) == {"CircleLoss", "cross_entropy"}


@needed
@pytest.mark.parametrize("name", ["ProxyNCALoss", "NormalizedSoftmaxLoss", "SoftTripleLoss"])
def test_a_feature_at_its_class_s_weight_belongs_to_that_class(name: str) -> None:
    """Distances fall where affinities rise."""
    torch.manual_seed(0)
    head: Any = LOSSES[f"pml.{name}"].create(5, 8)
    [weights] = head.parameters()
    at = weights.detach() if name == "ProxyNCALoss" else weights.detach().T
    at = at[:: len(at) // 5]  # SoftTriple has ten centres a class
    assert head.logits(at).argmax(1).tolist() == list(range(5))


@needed
def test_every_loss_is_there_or_refused_with_its_reason() -> None:
    required: dict[str, dict[str, Any]] = {"RankedListLoss": {"margin": 0.4, "Tn": 10}}
    for name in _names():
        if name in REFUSED:
            with pytest.raises(RequestError, match="cannot be compared here: it "):
                LOSSES[f"pml.{name}"]
            continue
        torch.manual_seed(0)
        head = LOSSES[f"pml.{name}"].create(4, 6, **required.get(name, {}))
        features = torch.randn(16, 6, requires_grad=True)
        loss = head(features, torch.arange(4).repeat(4))
        loss.backward()
        assert features.grad is not None, name
        assert head.logits(features).shape == (16, 4), name
    assert set(REFUSED) <= set(_names())


@needed
@pytest.mark.parametrize(
    ("name", "params", "said"),
    [
        ("CircelLoss", {}, "did you mean 'pml.CircleLoss'"),
        ("CircleLoss", {"mm": 1}, "mm: unknown key; did you mean 'm'"),
        ("CircleLoss", {"m": "a"}, "m: should be a valid"),
        ("CircleLoss", {"num_classes": 3}, "num_classes: unknown key"),
        ("CircleLoss", {"miner": "BatchHardMinr"}, "did you mean 'BatchHardMiner'"),
        ("CircleLoss", {"miner": {"epsilon": 1}}, "a mapping with a name"),
        ("CircleLoss", {"miner": {"name": "BatchHardMiner", "x": 1}}, "'x' of BatchHardMiner"),
        ("CircleLoss", {"distance": "LpDistance"}, "requires the distance metric"),
        ("CircleLoss", {"weight": -1.0}, "weight: should be greater"),
        ("RankedListLoss", {"margin": 0.4}, "Tn: missing"),
        ("ContrastiveLoss", {"weight": 0.0, "softmax_weight": 0.0}, "nothing is left"),
    ],
)
def test_what_is_refused(name: str, params: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        LOSSES[f"pml.{name}"].create(4, 6, **params)


def test_without_the_library_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r"pip install 'lossbench\[pml\]'"):
        LOSSES["pml.CircleLoss"]


def test_parameters_of_ours_come_first() -> None:
    if importlib.util.find_spec("pytorch_metric_learning") is None:
        pytest.skip("the extra `pml` is not installed")
    assert LOSSES["pml.CircleLoss"].parameter_names[:3] == [
        "weight",
        "softmax_weight",
        "samples_per_class",
    ]
    with pytest.raises(ParameterError):
        LOSSES["pml.ArcFaceLoss"].resolve({"softmax_weight": 1.0})
