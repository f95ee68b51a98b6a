"""The training error: from the scores of the terms, otherwise from `logits`."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch import Tensor

from lossbench.losses import LossHead
from lossbench.losses.softmax import SoftmaxHead
from lossbench.training import loop
from lossbench.training.loop import train
from tests.training.test_training import make_data, make_training


def train_with(head: LossHead) -> list[dict[str, float]]:
    """Metrics of each epoch of a training with a head."""
    training = make_training()
    head.load_state_dict(training.head.state_dict(), strict=False)
    training.head = head
    training.optimizer.param_groups[-1]["params"] = list(head.parameters())
    history: list[dict[str, float]] = []
    assert not train(training, make_data(), lambda epoch, metrics: history.append(metrics))
    return history


class Counting(SoftmaxHead):
    calls = 0

    def logits(self, features: Tensor) -> Tensor:
        self.calls += 1
        return super().logits(features)

    terms_and_scores = SoftmaxHead.terms_and_scores


class TermsOnly(Counting):
    """A plugin's class, derived from a loss of lossbench."""

    def terms(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return super().terms(features, labels) | {"pull": 0.001 * features.square().sum()}


class Reversed(SoftmaxHead):
    def logits(self, features: Tensor) -> Tensor:
        return super().logits(features).flip(1)


def test_scores_of_the_terms_are_used_instead_of_logits() -> None:
    head = Counting(2, 2)
    train_with(head)
    assert head.calls == 0
    head = TermsOnly(2, 2)
    assert "train_pull" in train_with(head)[0]
    assert head.calls == 3 * 4  # epochs x steps


def test_replaced_logits_determine_the_error() -> None:
    plain, reverse = train_with(SoftmaxHead(2, 2)), train_with(Reversed(2, 2))
    for one, other in zip(plain, reverse, strict=True):
        assert one["train_loss"] == other["train_loss"]
        assert one["train_error"] == pytest.approx(100 - other["train_error"])


def test_scores_are_freed_before_the_backward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, seen, alive = loop.misclassified, [], []

    def misclassified(scores: Tensor, labels: Tensor) -> Tensor:
        seen.append(weakref.ref(scores))
        return plain(scores, labels)

    class Head(SoftmaxHead):
        def before_step(self, features: Tensor, labels: Tensor) -> None:
            alive.append(seen[-1]() is not None)

    monkeypatch.setattr(loop, "misclassified", misclassified)
    train_with(Head(2, 2))
    assert alive == [False] * (3 * 4)


@pytest.mark.parametrize("loss", ["softmax", "center", "l_softmax", "arcface", "lgm"])
def test_a_compiled_step_has_the_same_error(loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Uses a backend that does not compile, but traces and differentiates as the others do."""
    plain = torch.compile
    monkeypatch.setattr(
        torch,
        "compile",
        lambda f, **options: plain(f, backend="aot_eager", fullgraph=True, **options),
    )
    errors = []
    for compiled in (False, True):
        training = make_training(loss, feature_dim=6)  # L-GM's scores are others up to 4
        training.compiled = compiled
        history: list[dict[str, float]] = []
        torch.manual_seed(1)
        train(training, make_data(), lambda epoch, metrics: history.append(metrics))  # noqa: B023
        errors.append([metrics["train_error"] for metrics in history])
    assert errors[0] == errors[1]
    assert errors[0][0] > 0
