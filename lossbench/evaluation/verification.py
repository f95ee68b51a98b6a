"""Face verification (are two faces of the same person?) by the protocol of LFW."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from lossbench.data.dataset import Dataset
from lossbench.data.faces import load_faces
from lossbench.data.images import ArrayImages, Shape, View
from lossbench.errors import NotFiniteError
from lossbench.evaluation.base import (
    EVALUATIONS,
    Evaluation,
    Measurement,
    Trained,
    extract_features,
)
from lossbench.evaluation.detection import binary_eer, binary_roc
from lossbench.records import Metric
from lossbench.registry import user_path

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Verification:
    """Accuracies of the verification protocol.

    Attributes:
        accuracies: (F,) Accuracy on each fold, in percent, at its threshold.
        thresholds: (F,) Threshold of each fold, chosen on the other folds.
    """

    accuracies: NDArray[np.float64]
    thresholds: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """Mean accuracy over the folds, in percent."""
        return float(self.accuracies.mean())

    @property
    def std(self) -> float:
        """Standard deviation of the accuracy over the folds, with n - 1, in percentage points."""
        return float(self.accuracies.std(ddof=1))


def verification_accuracy(
    similarity: Floats, same: NDArray[np.bool_], fold: NDArray[np.int64]
) -> Verification:
    """Measure the accuracy on each fold at the threshold that is best on all other folds.

    Args:
        similarity: (P,) Similarity of each pair; larger for pairs of the same person.
        same: (P,) Whether a pair is of the same person.
        fold: (P,) Fold of each pair; at least two different folds.

    Raises:
        ValueError: There is only one fold.
        NotFiniteError: A similarity is not finite.

    Reference: Huang et al.: Labeled Faces in the Wild. 2007.
    """
    folds = np.unique(fold)
    if len(folds) < 2:
        raise ValueError("verification needs pairs of two or more folds")
    if not np.isfinite(similarity).all():
        raise NotFiniteError("the similarity of a pair of faces is not a finite number")
    accuracies, thresholds = [], []
    for tested in folds:
        inside = fold == tested
        threshold = best_threshold(similarity[~inside], same[~inside])
        right = (similarity[inside] > threshold) == same[inside]
        accuracies.append(100.0 * right.mean())
        thresholds.append(threshold)
    return Verification(np.array(accuracies), np.array(thresholds))


def best_threshold(similarity: Floats, same: NDArray[np.bool_]) -> float:
    """Threshold with the highest accuracy; pairs above it are classified as the same person.

    The candidates are -inf, inf and the midpoints between neighbouring scores. Of several equally
    good ones, the median is chosen, the higher of two medians.

    Args:
        similarity: (P,) Finite.
        same: (P,) Whether a pair is of the same person.
    """
    order = np.argsort(similarity, kind="stable")
    scores, matched = similarity[order].astype(np.float64), same[order]
    # correct with the threshold after i scores: different pairs below it, same pairs above it
    right = np.concatenate([[0], np.cumsum(~matched)]) + matched.sum()
    right -= np.concatenate([[0], np.cumsum(matched)])
    middle = scores[:-1] / 2 + scores[1:] / 2
    # the midpoint of adjacent floats is one of them
    middle = np.where(middle < scores[1:], middle, scores[:-1])
    places = np.concatenate([[-np.inf], middle, [np.inf]])
    # not between equal scores
    possible = np.concatenate([[True], scores[:-1] < scores[1:], [True]])
    best = np.flatnonzero(possible & (right == right[possible].max()))
    return float(places[best[len(best) // 2]])


def cosine_similarity(first: Floats, second: Floats) -> Floats:
    """Cosine similarity (P,) of pairs of features; 0 if one of them is a zero vector.

    Args:
        first: (P, D)
        second: (P, D)
    """
    # squares may leave the range of float32
    a, b = first.astype(np.float64), second.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    similarity: Floats = (a * b).sum(1) / np.maximum(lengths, np.finfo(np.float64).tiny)
    return similarity


def fit_whitening(features: Floats, variance: float) -> NDArray[np.float64]:
    """PCA for `mahalanobis_similarity`: principal components divided by standard deviations.

    Only the first components that explain a share of the variance are kept; the others, divided by
    tiny standard deviations, would dominate. Components whose variance is only rounding are always
    left out, so that none remains if all features are equal.

    Args:
        features: (N, D) Features of the training set, finite.
        variance: Share of the variance to explain, in (0, 1].

    Returns:
        (J, D), with J <= min(N, D).

    Raises:
        NotFiniteError: A feature is not finite.
    """
    from sklearn.decomposition import PCA  # the import takes seconds, and few trials need it

    if not np.isfinite(features).all():
        raise NotFiniteError("a feature of the training set is not a finite number")
    centred = features.astype(np.float64)
    rounding = 1e-12 * np.vdot(centred, centred) / len(centred)  # variance of float32 rounding
    centred -= centred.mean(0)  # else the covariance of features far from 0 loses digits
    with np.errstate(invalid="ignore"):  # 0 / 0 for equal features; these ratios are not used
        pca = PCA(svd_solver="covariance_eigh").fit(centred)
    explained = np.cumsum(pca.explained_variance_)
    needed = int(np.searchsorted(explained, (variance - 1e-12) * explained[-1])) + 1
    count = min(needed, int((pca.explained_variance_ > rounding).sum()))
    deviations = np.sqrt(pca.explained_variance_[:count, None])
    whitening: NDArray[np.float64] = pca.components_[:count] / deviations
    return whitening


def mahalanobis_similarity(
    first: Floats, second: Floats, whitening: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Minus the squared Mahalanobis distance along principal components, (P,).

    -sum_j (c_j . (a - b))^2 / variance_j

    Args:
        first: (P, D)
        second: (P, D)
        whitening: (J, D) With rows c_j / sqrt(variance_j), as returned by `fit_whitening`.
    """
    along = (first.astype(np.float64) - second.astype(np.float64)) @ whitening.T  # (P, J)
    similarity: NDArray[np.float64] = -np.square(along).sum(1)
    return similarity


@EVALUATIONS.register("verification", reference="Huang et al., 2007; Wan et al., CVPR 2018")
class FaceVerification(Evaluation):
    """Accuracy on pairs of faces, by the protocol of LFW (Wan et al., Table 5).

    Each fold is tested at the threshold that is best on the other folds; the accuracy is the mean
    over the folds.

    Args:
        dataset: Name of the folder with the faces and their `pairs.txt`.
        folds: Numbers of the folds to test, at least two, each >= 1; None for all.
        distance: Distance between features. `auto`: as declared by the loss; Mahalanobis distance
            after PCA for L-GM, cosine for the others, as in the paper.
        variance: Share of the variance of the training features that the principal components
            keep, for the Mahalanobis distance, in (0, 1].

    Reference: Huang, Ramesh, Berg, Learned-Miller: Labeled Faces in the Wild. 2007. Wan et al.,
        CVPR 2018, Sect. 4.2.

    Deviations:
        - PCA is fitted on the features of the training set and keeps 99 % of their variance,
          because the paper specifies neither.
        - The features of mirrored images are not averaged in, because the paper does not mention
          it.
    """

    needs_test = False
    reads_other_data = True

    def __init__(
        self,
        *,
        dataset: str = "lfw",
        folds: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2)] | None = None,
        distance: Literal["auto", "cosine", "mahalanobis"] = "auto",
        variance: Annotated[float, Field(gt=0, le=1)] = 0.99,
    ) -> None:
        self.dataset, self.folds = dataset, folds
        self.distance, self.variance = distance, variance
        self._key = "verification" + ("" if distance == "auto" else f"_{distance}")

    def metrics(self) -> tuple[Metric, ...]:
        by = "" if self.distance == "auto" else f", {self.distance}"
        return (
            Metric(
                name=f"{self._key}_accuracy",
                label=f"verification accuracy{by}",
                unit="% of pairs",
                higher_is_better=True,
                group="verification",
            ),
            Metric(
                name=f"{self._key}_fold_std",
                label=f"std of the verification accuracy over the folds{by}",
                unit="%",
                group="verification",
            ),
            Metric(
                name=f"{self._key}_eer",
                label=f"equal error rate of verification{by}",
                unit="%",
                group="verification",
            ),
        )

    def check(self, dataset: Dataset, view: View, data_root: Path) -> dict[str, str]:
        faces = load_faces(self._folder(data_root))
        known = np.unique(faces.pairs.fold)
        folds = self._folds(known)
        if len(set(folds)) < 2:
            raise ValueError("requires at least two different folds")
        missing = sorted(set(folds) - set(known.tolist()))
        if missing:
            raise ValueError(
                f"folds: {self.dataset} has no fold {missing[0]}, only 1 to {known[-1]}"
            )
        _, height, width, channels = faces.images.shape
        if dataset.image_shape(view) != (found := view.shape((channels, height, width))):
            raise ValueError(
                f"the faces of {self.dataset} are {found} for the model, the training images "
                f"{dataset.image_shape(view)}; set recipe.input.resize and .crop to make them equal"
            )
        return {self.dataset: faces.digest}

    def other_images(
        self, dataset: Dataset, view: View, data_root: Path
    ) -> tuple[Shape | None, View]:
        _, height, width, channels = load_faces(self._folder(data_root), verify=False).images.shape
        return (channels, height, width), view

    def __call__(self, trained: Trained) -> Measurement:
        faces = load_faces(self._folder(trained.data_root), verify=False)
        pairs = faces.pairs.in_folds(self._folds(faces.pairs.fold))
        used, place = np.unique([pairs.first, pairs.second], return_inverse=True)
        place = place.reshape(2, -1)
        images = torch.from_numpy(faces.images[used]).to(trained.device)
        labels = torch.from_numpy(faces.labels[used]).to(trained.device)
        on_device = ArrayImages(images, labels, trained.train.view)
        features = extract_features(trained.model, trained.normalise, on_device).cpu().numpy()
        first, second = features[place[0]], features[place[1]]  # (P, D)
        distance = self.distance
        if distance == "auto":
            distance = trained.head.verification_distance
        if distance == "cosine":
            similarity = cosine_similarity(first, second)
        else:
            whitening = fit_whitening(trained.train_features.cpu().numpy(), self.variance)
            similarity = mahalanobis_similarity(first, second, whitening)
        result = verification_accuracy(similarity, pairs.same, pairs.fold)
        eer = binary_eer(*binary_roc(similarity[pairs.same], similarity[~pairs.same]))
        values = (result.mean, result.std, eer)
        return Measurement(
            dict(zip((metric.name for metric in self.metrics()), values, strict=True))
        )

    def _folder(self, data_root: Path) -> Path:
        return user_path(self.dataset) if "/" in self.dataset else data_root / self.dataset

    def _folds(self, known: Iterable[int]) -> list[int]:
        return sorted(set(known)) if self.folds is None else self.folds
