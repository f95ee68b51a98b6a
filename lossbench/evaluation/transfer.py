"""Transfer of the features to another data set."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lossbench.data.dataset import Dataset, Split
from lossbench.data.images import View
from lossbench.data.loading import load_dataset
from lossbench.data.sampling import split_off, stratified_subset
from lossbench.evaluation.base import EVALUATIONS, Evaluation, Measurement, Trained
from lossbench.evaluation.neighbours import require_finite
from lossbench.evaluation.other_dataset import features_of, require_convertible
from lossbench.records import Metric

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
HELD_OUT = 0.2
"""Share of the other training set on which the regularisation is chosen."""
MAX_ITERATIONS = 1000
"""Largest number of iterations of L-BFGS."""


@EVALUATIONS.register("transfer", reference="Kornblith et al., CVPR 2019, NeurIPS 2021")
class Transfer(Evaluation):
    """Error of a linear classifier of another data set on the features, which stay as they are.

    The classifier is a multinomial logistic regression with an L2 penalty. Its C, the inverse of
    the penalty's weight, is the one with the smallest error on a fifth of the other training set
    (stratified, always the same; the smallest of equally good ones) after fitting the rest. Then
    it is fitted on the whole training set and measured on the test set.

    The other images are converted as for `other_images`. Each feature is standardised: its mean
    over the training images is subtracted, and it is divided by its standard deviation.

    Args:
        dataset: Name of the other data set.
        train_size: Largest number of its training images to use, a stratified subset; None for all.
        test_size: Largest number of its test images to use, a stratified subset; None for all.
        c: Values of C to choose from, each > 0.

    Reference: Kornblith, Shlens, Le: Do Better ImageNet Models Transfer Better? CVPR 2019.
        Kornblith, Chen, Lee, Norouzi: Why Do Better Loss Functions Lead to Less Transferable
        Features? NeurIPS 2021.

    Deviations:
        - Features are standardised, because the losses give them very different norms, and the
          penalty depends on the norm.
        - Seven values of C, not 45; at most 1000 iterations of L-BFGS.
        - Always the share of wrong images, not the mean over classes for some data sets.
    """

    needs_test = False
    reads_other_data = True

    def __init__(
        self,
        *,
        dataset: str,
        train_size: Annotated[int, Field(ge=1)] | None = 10_000,
        test_size: Annotated[int, Field(ge=1)] | None = None,
        c: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)] = [  # noqa: B006
            *(1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0),
        ],
    ) -> None:
        self.dataset, self.c = dataset, c
        self.sizes = {"train": train_size, "test": test_size}
        self._name = f"transfer_{Path(dataset).name}_error"

    def metrics(self) -> tuple[Metric, ...]:
        other = Path(self.dataset).name
        return (
            Metric(
                name=self._name,
                label=f"error of a linear classifier on {other}",
                unit=f"% of test images of {other}",
                group="representation",
            ),
        )

    def check(self, dataset: Dataset, view: View, data_root: Path) -> dict[str, str]:
        other = load_dataset(self.dataset, data_root)
        require_convertible(self.dataset, other, dataset, view)
        splits = {}
        for name in self.sizes:
            try:
                splits[name] = self._subset(other, name)
            except ValueError as error:
                raise ValueError(f"{name}_size: {error} of {self.dataset}") from None
        try:
            split_off(splits["train"].labels, HELD_OUT, other.card.class_names)
        except ValueError as error:
            raise ValueError(
                f"{self.dataset}: {error}; a fifth of its training images is held out to choose c"
            ) from None
        return {self.dataset: other.digest}

    def __call__(self, trained: Trained) -> Measurement:
        [sample] = next(iter(trained.train.unaugmented(size=1)))  # (C, H, W)
        channels, height, width = sample.shape
        other = load_dataset(self.dataset, trained.data_root, verify=False)
        features, labels = {}, {}
        for name in self.sizes:
            split = self._subset(other, name)
            found = features_of(trained, split, (channels, height, width))
            require_finite(found, f"the {name} set of {self.dataset}")
            features[name], labels[name] = found.double().cpu().numpy(), split.labels
        c = best_c(features["train"], labels["train"], self.c)
        error = probe_error(c, features["train"], labels["train"], features["test"], labels["test"])
        return Measurement({self._name: error})

    def _subset(self, other: Dataset, name: str) -> Split:
        split, size = other.splits[name], self.sizes[name]
        if size is None or size >= len(split.labels):
            return split
        return split.subset(stratified_subset(split.labels, size))


def best_c(features: Floats, labels: Labels, candidates: list[float]) -> float:
    """The C with the smallest error on a held-out part; the smallest of equally good ones.

    Args:
        features: (N, D) Features of the training images.
        labels: (N,)
        candidates: Values of C, each > 0.
    """
    if len(candidates) == 1:
        return candidates[0]
    rest, off = split_off(labels, HELD_OUT)
    errors = {
        c: probe_error(c, features[rest], labels[rest], features[off], labels[off])
        for c in sorted(candidates)
    }
    return min(errors, key=errors.__getitem__)


def probe_error(
    c: float, features: Floats, labels: Labels, test_features: Floats, test_labels: Labels
) -> float:
    """Error of a logistic regression on standardised features, in percent.

    It minimises 1/2 ||W||^2 - C sum_i log softmax(W x_i + b)_{z_i}.

    Args:
        c: C > 0.
        features: (N, D) Features that it is fitted on.
        labels: (N,)
        test_features: (M, D) Features that it classifies.
        test_labels: (M,)
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=MAX_ITERATIONS))
    with warnings.catch_warnings():  # the iterations are limited on purpose
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(features, labels)
    return float(100.0 * np.mean(probe.predict(test_features) != test_labels))
