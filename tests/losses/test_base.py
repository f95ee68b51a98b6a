"""Scores that a head returns with its terms: which heads may be asked for them."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor

from lossbench.losses import LossHead, TermsAndScores, create_loss, shares_scores
from lossbench.losses.linear import LinearHead
from lossbench.losses.softmax import SoftmaxHead


class OtherTerms(SoftmaxHead):
    def terms(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return super().terms(features, labels) | {"pull": features.square().sum()}


class OtherLogits(SoftmaxHead):
    def logits(self, features: Tensor) -> Tensor:
        return -super().logits(features)


class Doubled:
    def terms(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = super().terms(features, labels)  # type: ignore[misc]
        return {name: 2 * term for name, term in terms.items()}


class OtherTermsOfAMixin(Doubled, SoftmaxHead):
    pass


class OtherTermsAndScores(OtherTerms):
    def terms_and_scores(self, features: Tensor, labels: Tensor) -> TermsAndScores:
        return super().terms_and_scores(features, labels)


class OtherParameters(SoftmaxHead):
    def __init__(self, num_classes: int, feature_dim: int) -> None:
        super().__init__(num_classes, feature_dim, class_weights=[1.0, 2.0])


class OnlyTerms(LinearHead):
    terms = OtherTerms.terms


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (SoftmaxHead, True),
        (OtherParameters, True),
        (OtherTermsAndScores, True),
        (OtherTerms, False),
        (OtherLogits, False),
        (OtherTermsOfAMixin, False),
        (OnlyTerms, False),
    ],
)
def test_scores_are_not_shared_if_a_derived_class_replaces_terms_or_logits(
    kind: type[LossHead], expected: bool
) -> None:
    assert shares_scores(kind(2, 3)) == expected


@pytest.mark.parametrize("name", ["terms", "logits"])
def test_scores_are_not_shared_if_an_object_has_terms_or_logits_of_its_own(name: str) -> None:
    head: Any = create_loss("softmax", num_classes=2, feature_dim=3)
    setattr(head, name, getattr(head, name))
    assert not shares_scores(head)
