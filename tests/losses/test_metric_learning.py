"""Losses of pytorch-metric-learning in a table; skipped where it is not installed."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch

from lossbench.conformance import CHECKS, Subject, run_checks
from lossbench.errors import ParameterError, RequestError
from lossbench.losses import LOSSES
from lossbench.losses.metric_learning import UNSUPPORTED
from lossbench.losses.metric_learning_library import class_names

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
def test_library_losses_pass_the_contract_checks(name: str, params: dict[str, Any]) -> None:
    entry = LOSSES[f"pml.{name}"]
    found = run_checks(Subject(lambda k, d: entry.create(k, d, **params)), CHECKS)
    assert {f.check: f.reason for f in found if f.status == "failed"} == {}


@needed
def test_loss_equals_that_of_the_library() -> None:
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
def test_feature_equal_to_a_class_weight_is_of_that_class(name: str) -> None:
    """Distances fall where affinities rise."""
    torch.manual_seed(0)
    head: Any = LOSSES[f"pml.{name}"].create(5, 8)
    [weights] = head.parameters()
    at = weights.detach() if name == "ProxyNCALoss" else weights.detach().T
    at = at[:: len(at) // 5]  # SoftTriple has ten centres a class
    assert head.logits(at).argmax(1).tolist() == list(range(5))


@needed
@pytest.mark.parametrize("softmax_weight", [0.0, 1.0])
def test_sup_con_is_that_of_its_paper_in_loops(softmax_weight: float) -> None:
    """L_out of Khosla et al., NeurIPS 2020, Eq. 2; images without a positive do not count."""
    torch.manual_seed(0)
    head = LOSSES["pml.SupConLoss"].create(4, 6, softmax_weight=softmax_weight, temperature=0.2)
    head = head.double()
    features, labels = torch.randn(9, 6).double(), torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 3])
    unit = [x / torch.sqrt(x @ x) for x in features]
    losses = []
    for i, own in enumerate(labels):
        others = [a for a in range(9) if a != i]
        whole = sum((unit[i] @ unit[a] / 0.2).exp() for a in others)
        positives = [p for p in others if labels[p] == own]
        if positives:
            logs = [torch.log((unit[i] @ unit[p] / 0.2).exp() / whole) for p in positives]
            losses.append(-sum(logs, torch.zeros(())) / len(positives))
    terms = head.terms(features, labels)
    torch.testing.assert_close(terms["SupConLoss"], torch.stack(losses).mean())
    assert set(terms) == {"SupConLoss", *(["cross_entropy"] if softmax_weight else [])}
    assert head.needs_class_means is (softmax_weight == 0)


@needed
def test_every_library_loss_works_or_is_refused_with_a_reason() -> None:
    required: dict[str, dict[str, Any]] = {"RankedListLoss": {"margin": 0.4, "Tn": 10}}
    for name in class_names():
        if name in UNSUPPORTED:
            with pytest.raises(RequestError, match="cannot be used here: it "):
                LOSSES[f"pml.{name}"]
            continue
        torch.manual_seed(0)
        head = LOSSES[f"pml.{name}"].create(4, 6, **required.get(name, {}))
        features = torch.randn(16, 6, requires_grad=True)
        loss = head(features, torch.arange(4).repeat(4))
        loss.backward()
        assert features.grad is not None, name
        assert head.logits(features).shape == (16, 4), name
    assert set(UNSUPPORTED) <= set(class_names())


BATCHES = {
    "two of two classes": [0, 1],
    "two of one class": [0, 0],
    "one image": [2],
    "all of one class": [1] * 5,
    "one of each class": [0, 1, 2, 3],
    "one alone": [0, 0, 1],
    "some alone": [0, 1, 1, 2],
}
NO_MINER = {"InstanceLoss", "PNPLoss", "RankedListLoss"}


def usable() -> list[str]:
    if importlib.util.find_spec("pytorch_metric_learning") is None:
        return []
    return [name for name in class_names() if name not in UNSUPPORTED]


@needed
@pytest.mark.parametrize("miner", [None, "BatchHardMiner", "TripletMarginMiner", "NONE"])
@pytest.mark.parametrize("name", usable())
def test_every_batch_has_a_finite_loss_and_gradient(
    name: str, miner: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also a batch without pairs, and one in which a miner finds nothing."""
    if miner and name in NO_MINER:
        pytest.skip("it takes no miner")
    required: dict[str, Any] = {"margin": 0.4, "Tn": 10} if name == "RankedListLoss" else {}
    chosen = {"miner": None if miner == "NONE" else miner}
    for described, classes in BATCHES.items():
        torch.manual_seed(0)
        head = LOSSES[f"pml.{name}"].create(4, 6, **chosen, **required)
        if miner == "NONE":
            head.miner = lambda *_: (torch.tensor([], dtype=torch.long),) * 4
        features = torch.randn(len(classes), 6, requires_grad=True)
        loss = head(features, torch.tensor(classes))
        assert loss.isfinite(), described
        loss.backward()
        assert features.grad is not None, described
        assert features.grad.isfinite().all(), described


@needed
@pytest.mark.parametrize("reducer", [None, "MeanReducer", "PerAnchorReducer", "SumReducer"])
def test_nca_of_a_batch_without_pairs_is_zero_and_differentiable(reducer: str | None) -> None:
    head: Any = LOSSES["pml.NCALoss"].create(4, 6, reducer=reducer)
    features = torch.randn(2, 6, requires_grad=True)
    term = head.terms(features, torch.tensor([0, 1]))["NCALoss"]
    assert term == 0
    term.backward()
    assert torch.equal(features.grad, torch.zeros(2, 6))


@needed
def test_loss_that_is_not_finite_for_another_reason_is_not_hidden() -> None:
    head: Any = LOSSES["pml.NCALoss"].create(4, 6)
    broken = torch.full((2, 6), torch.nan)
    assert head.terms(broken, torch.tensor([0, 1]))["NCALoss"].isnan()
    head.loss.forward = lambda *_: torch.tensor(torch.nan)
    with_pairs = torch.randn(4, 6)
    assert head.terms(with_pairs, torch.tensor([0, 0, 1, 1]))["NCALoss"].isnan()


@needed
@pytest.mark.parametrize(
    "params",
    [
        {"distance": "LpDistance"},
        {"distance": "SNRDistance"},
        {"distance": {"name": "DotProductSimilarity", "normalize_embeddings": False}},
        {"distance": {"name": "CosineSimilarity", "p": 4}},
        {"delta": 0.45},
        {"delta": 0},
        {"delta": -0.1},
        {"n_bins": 0},
        {"n_bins": -4},
        {"n_bins": 100_000},
    ],
)
def test_histogram_loss_refuses_bins_and_distances_outside_its_range(
    params: dict[str, Any],
) -> None:
    entry = LOSSES["pml.HistogramLoss"]
    with pytest.raises(ParameterError, match=r"range of the histogram|whole number"):
        entry.create(4, 3, **entry.parameters(**params).model_dump())


@needed
@pytest.mark.parametrize("params", [{"distance": "DotProductSimilarity"}, {"n_bins": 49}, {}])
def test_histogram_loss_is_finite_for_features_near_and_far(params: dict[str, Any]) -> None:
    entry = LOSSES["pml.HistogramLoss"]
    head = entry.create(4, 3, **entry.parameters(**params).model_dump())
    labels = torch.tensor([0, 1, 2, 3] * 3)
    for features in (torch.randn(12, 3), torch.ones(12, 3)):
        assert sum(head.terms(features, labels).values()).isfinite()


@needed
def test_histogram_loss_accepts_coincident_features() -> None:
    head: Any = LOSSES["pml.HistogramLoss"].create(4, 2)
    features = torch.tensor([[3.0, 0.0], [3.0, 0.0], [0.0, 1.0], [1.0, 1.0]], requires_grad=True)
    labels = torch.tensor([0, 0, 1, 1])
    loss = head.terms(features, labels)["HistogramLoss"]
    with torch.no_grad():
        nearly = torch.tensor([[3.0, 0.0], [3.0, 0.01], [0.0, 1.0], [1.0, 1.0]])
        torch.testing.assert_close(
            loss, head.terms(nearly, labels)["HistogramLoss"], atol=1e-2, rtol=0
        )
    loss.backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()


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
        ("ContrastiveLoss", {"weight": 0.0, "softmax_weight": 0.0}, "nothing would be trained"),
    ],
)
def test_unsuitable_parameters_are_refused(name: str, params: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        LOSSES[f"pml.{name}"].create(4, 6, **params)


def test_missing_library_is_named_in_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r"pip install 'lossbench\[pml\]'"):
        LOSSES["pml.CircleLoss"]


def test_own_parameters_come_first() -> None:
    if importlib.util.find_spec("pytorch_metric_learning") is None:
        pytest.skip("the extra `pml` is not installed")
    assert LOSSES["pml.CircleLoss"].parameter_names[:3] == [
        "weight",
        "softmax_weight",
        "samples_per_class",
    ]
    with pytest.raises(ParameterError):
        LOSSES["pml.ArcFaceLoss"].resolve({"softmax_weight": 1.0})
