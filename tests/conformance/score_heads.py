"""Heads whose `terms_and_scores` is broken, and a part of the message."""

from __future__ import annotations

from torch.nn import functional as F

from tests.conformance.sound_heads import ReturnsScores


class ScoresOfOtherTerms(ReturnsScores):
    def terms_and_scores(self, features, labels):
        terms, scores = super().terms_and_scores(features, labels)
        return {name: 2 * term for name, term in terms.items()}, scores


class ScoresOfUnnamedTerms(ReturnsScores):
    def terms_and_scores(self, features, labels):
        terms, scores = super().terms_and_scores(features, labels)
        return {"x": sum(terms.values())}, scores


class ScoresWithMargin(ReturnsScores):
    def terms_and_scores(self, features, labels):
        terms, scores = super().terms_and_scores(features, labels)
        return terms, scores - F.one_hot(labels, self.num_classes)


class TransposedScores(ReturnsScores):
    def terms_and_scores(self, features, labels):
        terms, scores = super().terms_and_scores(features, labels)
        return terms, scores.T


BROKEN_SCORES = [
    ("scores", ScoresOfOtherTerms, "the terms of terms_and_scores() are not those of terms()"),
    ("scores", ScoresOfUnnamedTerms, "the terms of terms_and_scores() are not those of terms()"),
    ("scores", ScoresWithMargin, "but their log-probabilities differ by"),
    ("scores", TransposedScores, "scores of 16 samples and 4 classes have shape (4, 16)"),
]
