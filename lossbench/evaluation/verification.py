"""Face verification: are two faces of one person? The protocol of LFW's `pairs.txt`."""

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
    """What the protocol found.

    Attributes:
        accuracies: (F,) Of each fold, in percent, at the threshold of the other folds.
        thresholds: (F,)
    """

    accuracies: NDArray[np.float64]
    thresholds: NDArray[np.float64]

    @property
    def mean(self) -> float:
        return float(self.accuracies.mean())

    @property
    def std(self) -> float:
        """Over the folds, with n - 1."""
        return float(self.accuracies.std(ddof=1))


def verify(similarity: Floats, same: NDArray[np.bool_], fold: NDArray[np.int64]) -> Verification:
    """Test each fold at the threshold that is best on all the others.

    Args:
        similarity: (P,) Larger means rather the same person.
        same: (P,) Whether it is.
        fold: (P,) Number of each pair's fold; at least two folds.

    Raises:
        ValueError: There is one fold only.
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
    """The threshold above which pairs are best called the same.

    All places between two neighbouring scores are tried, and both ends (-inf and inf). Of several
    equally good ones the middle one is taken, of an even number the higher middle one.
    """
    order = np.argsort(similarity, kind="stable")
    scores, matched = similarity[order].astype(np.float64), same[order]
    # with the threshold after i scores: right are the others among them, and the rest's matches
    right = np.concatenate([[0], np.cumsum(~matched)]) + matched.sum()
    right -= np.concatenate([[0], np.cumsum(matched)])
    middle = scores[:-1] / 2 + scores[1:] / 2
    middle = np.where(middle < scores[1:], middle, scores[:-1])  # of neighbouring floats it is one
    places = np.concatenate([[-np.inf], middle, [np.inf]])
    possible = np.concatenate([[True], scores[:-1] < scores[1:], [True]])  # not between equals
    best = np.flatnonzero(possible & (right == right[possible].max()))
    return float(places[best[len(best) // 2]])


def cosine_similarity(first: Floats, second: Floats) -> Floats:
    """(P,) of features (P, D); 0 where one of them is 0."""
    a, b = first.astype(np.float64), second.astype(np.float64)  # squares leave float32's range
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    similarity: Floats = (a * b).sum(1) / np.maximum(lengths, np.finfo(np.float64).tiny)
    return similarity


def fit_whitening(features: Floats, variance: float) -> NDArray[np.float64]:
    """PCA for `mahalanobis_similarity`: principal components over their standard deviations.

    The first components that explain a share of the variance; those beyond it would be divided by
    next to nothing and drown the others. Components without any variance but rounding are left
    out whatever the share, so none is left of features that are all alike.

    Args:
        features: (N, D) of the training set, finite.
        variance: Share, in (0, 1].

    Returns:
        (J, D), J <= min(N, D).

    Raises:
        NotFiniteError: A feature is not finite.
    """
    from sklearn.decomposition import PCA  # takes seconds, and few trials need it

    if not np.isfinite(features).all():
        raise NotFiniteError("a feature of the training set is not a finite number")
    centred = features.astype(np.float64)
    rounding = 1e-12 * np.vdot(centred, centred) / len(centred)  # variance of float32's
    centred -= centred.mean(0)  # the covariance of features far from 0 would lose digits
    with np.errstate(invalid="ignore"):  # shares of no variance at all, which are not used
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
    """(P,) minus the squared Mahalanobis distance of features (P, D) along principal components.

    -sum_j (c_j . (a - b))^2 / variance_j

    Args:
        whitening: (J, D), c_j / sqrt(variance_j) in its rows; of `fit_whitening`.
    """
    along = (first.astype(np.float64) - second.astype(np.float64)) @ whitening.T  # (P, J)
    similarity: NDArray[np.float64] = -np.square(along).sum(1)
    return similarity


@EVALUATIONS.register("verification", reference="Huang et al., 2007; Wan et al., CVPR 2018")
class FaceVerification(Evaluation):
    """Accuracy on pairs of faces, by LFW's protocol (Table 5).

    Each fold is tested at the threshold that is best on the others; the accuracy is the mean over
    the folds.

    Args:
        dataset: Name of the folder with the faces and their `pairs.txt`.
        folds: Those that are tested; None: all.
        distance: How features are compared. `auto`: as the loss declares; L-GM by Mahalanobis
            distance after PCA, the others by cosine, as in the paper.
        variance: Share of the training features' variance that the principal components keep,
            for the Mahalanobis distance.

    Deviations: the paper does not say how many components PCA keeps, nor on what it is fitted;
        here those with 99 % of the variance of the training set's features. It does not say
        whether an image's mirror is averaged in; here it is not.
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
            ),
            Metric(
                name=f"{self._key}_fold_std",
                label=f"std of that accuracy over the folds{by}",
                unit="%",
            ),
            Metric(
                name=f"{self._key}_eer", label=f"equal error rate of verification{by}", unit="%"
            ),
        )

    def check(self, dataset: Dataset, view: View, data_root: Path) -> dict[str, str]:
        faces = load_faces(self._folder(data_root))
        known = np.unique(faces.pairs.fold)
        folds = self._folds(known)
        if len(set(folds)) < 2:
            raise ValueError("needs two different folds or more")
        missing = sorted(set(folds) - set(known.tolist()))
        if missing:
            raise ValueError(
                f"folds: {self.dataset} has no fold {missing[0]}, only 1 to {known[-1]}"
            )
        _, height, width, channels = faces.images.shape
        if dataset.image_shape(view) != (found := view.shape((channels, height, width))):
            raise ValueError(
                f"{self.dataset}'s faces are {found} for the model, the training images "
                f"{dataset.image_shape(view)}; recipe.input.resize and .crop make them alike"
            )
        return {self.dataset: faces.digest}

    def other_images(
        self, dataset: Dataset, view: View, data_root: Path
    ) -> tuple[Shape | None, View]:
        _, height, width, channels = load_faces(self._folder(data_root), verify=False).images.shape
        return (channels, height, width), view

    def __call__(self, trained: Trained) -> Measurement:
        faces = load_faces(self._folder(trained.data_root), verify=False)
        pairs = faces.pairs.of(self._folds(faces.pairs.fold))
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
        found = verify(similarity, pairs.same, pairs.fold)
        eer = binary_eer(*binary_roc(similarity[pairs.same], similarity[~pairs.same]))
        values = (found.mean, found.std, eer)
        return Measurement(
            dict(zip((metric.name for metric in self.metrics()), values, strict=True))
        )

    def _folder(self, data_root: Path) -> Path:
        return user_path(self.dataset) if "/" in self.dataset else data_root / self.dataset

    def _folds(self, known: Iterable[int]) -> list[int]:
        return sorted(set(known)) if self.folds is None else self.folds
