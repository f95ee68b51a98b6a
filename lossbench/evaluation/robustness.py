"""Adversarial and foreign images: the error on them, and whether the model notices them."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from numpy.typing import NDArray
from pydantic import AfterValidator, Field
from torch import Tensor

from lossbench.data.dataset import Dataset
from lossbench.data.images import Shape, View
from lossbench.data.sources import load_dataset
from lossbench.errors import DataError
from lossbench.evaluation import adversarial
from lossbench.evaluation.accuracy import top_error
from lossbench.evaluation.base import (
    EVALUATIONS,
    IMAGES,
    Evaluation,
    Measurement,
    Trained,
    as_arrays,
)
from lossbench.evaluation.detection import detect
from lossbench.losses import DensityHead
from lossbench.records import Artifact, Metric
from lossbench.training.seeding import stream

ATTACKED_AT_ONCE = 250
EPSILON = "ε"
Share = Annotated[float, Field(gt=0, le=1)]


def _distinct(epsilons: list[float]) -> list[float]:
    """Metrics and arrays are named by six digits of them."""
    named: dict[str, float] = {}
    for epsilon in epsilons:
        if (name := f"{epsilon:g}") in named:
            raise ValueError(f"{named[name]} and {epsilon} are the same to six digits")
        named[name] = epsilon
    return epsilons


Epsilons = Annotated[
    list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1), AfterValidator(_distinct)
]


def detection_metrics(key: str, title: str) -> tuple[Metric, ...]:
    return (
        Metric(name=f"{key}_eer", label=f"equal error rate, {title}", unit="%"),
        Metric(name=f"{key}_auroc", label=f"AUROC, {title}", unit="%", higher_is_better=True),
        Metric(name=f"{key}_fpr95", label=f"FPR at 95 % TPR, {title}", unit="%"),
    )


def measure_detection(
    trained: Trained, key: str, features: Tensor
) -> tuple[dict[str, float], dict[str, dict[str, NDArray[Any]]]]:
    """How far other inputs, given by their features (M, D), can be told from the measured ones."""
    with torch.no_grad():
        normal = adversarial.normality(trained.head, trained.features)  # (N,)
        other = adversarial.normality(trained.head, features)  # (M,)
        posterior = trained.head.logits(features).softmax(1).amax(1)  # (M,)
        likelihood = adversarial.shown_likelihood(trained.head, normal, other)
    found = detect(normal.cpu().numpy(), other.cpu().numpy())
    values = {
        f"{key}_eer": found.eer,
        f"{key}_auroc": found.auroc,
        f"{key}_fpr95": found.fpr_at(0.95),
    }
    kept = {
        "posterior_normal": trained.scores.softmax(1).amax(1),
        "posterior_other": posterior,
        "likelihood_normal": likelihood[0],
        "likelihood_other": likelihood[1],
    }
    if isinstance(trained.head, DensityHead):  # in float32 the likelihood itself is 0 from d = 103
        kept["log10_likelihood_normal"] = normal / math.log(10)
        kept["log10_likelihood_other"] = other / math.log(10)
    arrays = as_arrays({name: tensor.float() for name, tensor in kept.items()})
    false_accept, true_accept = found.thinned()
    arrays |= {"false_accept": false_accept, "true_accept": true_accept}
    return values, {f"detection_{key}": arrays}


class Attack(Evaluation):
    """Error on adversarial examples of the measured images, and whether they are noticed."""

    name: str
    title: str
    epsilons: list[float]

    def metrics(self) -> tuple[Metric, ...]:
        errors = [
            Metric(name=f"{self._key(e)}_error", label=f"error under {self._title(e)}", unit=IMAGES)
            for e in self.epsilons
        ]
        noticed = [
            m for e in self.epsilons for m in detection_metrics(self._key(e), self._title(e))
        ]
        return (*errors, *noticed)

    def artifacts(self) -> tuple[Artifact, ...]:
        return tuple(
            Artifact(name=f"detection_{self._key(e)}", kind="detection", title=self._title(e))
            for e in self.epsilons
        )

    def __call__(self, trained: Trained) -> Measurement:
        values: dict[str, float] = {}
        arrays: dict[str, dict[str, NDArray[Any]]] = {}
        for epsilon in self.epsilons:
            key = self._key(epsilon)
            features = attacked_features(trained, self, epsilon)
            with torch.no_grad():
                scores = trained.head.logits(features)
            values[f"{key}_error"] = top_error(scores, trained.test.labels, 1)
            noticed, stored = measure_detection(trained, key, features)
            values |= noticed
            arrays |= stored
        return Measurement(values, arrays)

    @abstractmethod
    def attack(
        self, trained: Trained, pixels: Tensor, labels: Tensor, epsilon: float, batch: int
    ) -> Tensor:
        """Adversarial examples (B, C, H, W) of pixels (B, C, H, W) in [0, 255]."""

    def _key(self, epsilon: float) -> str:
        return f"{self.name}_{epsilon:g}"

    def _title(self, epsilon: float) -> str:
        return f"{self.title}, {EPSILON} = {epsilon:g}"


def attacked_features(trained: Trained, attack: Attack, epsilon: float) -> Tensor:
    """Features (N, D) of the adversarial examples of all measured images."""
    features = []
    parts = trained.test.central(size=ATTACKED_AT_ONCE)
    labels = trained.test.labels.split(ATTACKED_AT_ONCE)
    for number, (pixels, own) in enumerate(zip(parts, labels, strict=True)):
        found = attack.attack(trained, pixels.float(), own, epsilon, number)
        with torch.no_grad():
            features.append(trained.model(trained.normalise(found)))
    return torch.cat(features)


@EVALUATIONS.register("fgsm", reference="Goodfellow et al., ICLR 2015; Wan et al., CVPR 2018")
class Fgsm(Attack):
    """Fast gradient sign method, away from the true class (Table 6, Figs. 3-5).

    Args:
        epsilons: Sizes of the perturbation, as shares of the pixel range.
    """

    name, title = "fgsm", "FGSM"

    def __init__(self, *, epsilons: Epsilons = [0.1, 0.2, 0.3]) -> None:  # noqa: B006
        self.epsilons = epsilons

    def attack(
        self, trained: Trained, pixels: Tensor, labels: Tensor, epsilon: float, batch: int
    ) -> Tensor:
        objective = adversarial.classification_objective(
            trained.model, trained.head, trained.normalise, labels
        )
        return adversarial.fgsm(objective, pixels, epsilon)


@EVALUATIONS.register("targeted_fgsm", reference="Wan et al., CVPR 2018, Sect. 4.3")
class TargetedFgsm(Attack):
    """One step down the whole loss towards the second most likely class (Fig. 6).

    Args:
        epsilons: Sizes of the perturbation, as shares of the pixel range.
    """

    name, title = "targeted_fgsm", "targeted FGSM"

    def __init__(self, *, epsilons: Epsilons = [0.3]) -> None:  # noqa: B006
        self.epsilons = epsilons

    def attack(
        self, trained: Trained, pixels: Tensor, labels: Tensor, epsilon: float, batch: int
    ) -> Tensor:
        with torch.no_grad():
            scores = trained.head.logits(trained.model(trained.normalise(pixels)))
        objective = adversarial.target_objective(
            trained.model, trained.head, trained.normalise, adversarial.second_class(scores)
        )
        return adversarial.fgsm(objective, pixels, epsilon)


@EVALUATIONS.register("pgd", reference="Madry et al., ICLR 2018")
class Pgd(Attack):
    """Projected gradient descent from a random start, away from the true class.

    Args:
        epsilons: Sizes of the perturbation, as shares of the pixel range.
        steps: Gradient steps.
        step_size: Of each, as a share of the pixel range.
    """

    name, title = "pgd", "PGD"

    def __init__(
        self,
        *,
        epsilons: Epsilons = [0.3],  # noqa: B006
        steps: Annotated[int, Field(ge=1)] = 40,
        step_size: Share = 0.01,
    ) -> None:
        self.epsilons, self.steps, self.step_size = epsilons, steps, step_size

    def attack(
        self, trained: Trained, pixels: Tensor, labels: Tensor, epsilon: float, batch: int
    ) -> Tensor:
        objective = adversarial.classification_objective(
            trained.model, trained.head, trained.normalise, labels
        )
        return adversarial.pgd(
            objective,
            pixels,
            epsilon,
            steps=self.steps,
            step_size=self.step_size,
            generator=stream(trained.seed, f"pgd {epsilon:g} {batch}"),
        )


@EVALUATIONS.register("other_images", reference="Hendrycks & Gimpel, ICLR 2017")
class OtherImages(Evaluation):
    """Whether images of another data set are noticed: its test set against the measured images.

    They are brought to the measured images' size and number of channels (luminance, or the same
    value in each).

    Args:
        dataset: Name of the other data set.
    """

    reads_other_data = True

    def __init__(self, *, dataset: str) -> None:
        self.dataset = dataset
        self._key = f"other_{Path(dataset).name}"

    def metrics(self) -> tuple[Metric, ...]:
        return detection_metrics(self._key, f"images of {Path(self.dataset).name}")

    def artifacts(self) -> tuple[Artifact, ...]:
        title = f"images of {Path(self.dataset).name}"
        return (Artifact(name=f"detection_{self._key}", kind="detection", title=title),)

    def check(self, dataset: Dataset, view: View, data_root: Path) -> dict[str, str]:
        other = load_dataset(self.dataset, data_root)
        if "test" not in other.splits:
            raise DataError(f"{self.dataset}: has no test set to compare with")
        if other.digest == dataset.digest:
            raise ValueError(f"{self.dataset} is the data set that the suite trains on")
        own, others = dataset.image_shape(view)[0], _channels(other)
        if own != others and not {own, others} <= {1, 3}:
            raise ValueError(
                f"{self.dataset}: its images have {others} channels, those of {dataset.card.name} "
                f"{own}; only 1 and 3 can be turned into each other"
            )
        return {self.dataset: other.digest}

    def other_images(
        self, dataset: Dataset, view: View, data_root: Path
    ) -> tuple[Shape | None, View]:
        other = load_dataset(self.dataset, data_root)
        return other.splits["test"].shape, _square_view(dataset.image_shape(view)[1:])

    @torch.no_grad()
    def __call__(self, trained: Trained) -> Measurement:
        [sample] = next(iter(trained.test.central(size=1)))  # (C, H, W)
        dataset = load_dataset(self.dataset, trained.data_root, verify=False)
        view = _square_view(sample.shape[1:])
        images = dataset.splits["test"].on(trained.device, view)
        features = [
            trained.model(trained.normalise(_like(part, sample))) for part in images.central()
        ]
        return Measurement(*measure_detection(trained, self._key, torch.cat(features)))


def _square_view(size: Sequence[int]) -> View:
    """The central square, as long as the shorter side of images of a size (H, W)."""
    side = min(size)
    return View(resize=side, crop=side)


def _channels(dataset: Dataset) -> int:
    shape = dataset.splits["test"].shape
    return 3 if shape is None else shape[0]  # image files become RGB


def _like(images: Tensor, sample: Tensor) -> Tensor:
    """Images (B, C', S, S) in the channels and size of a sample (C, H, W)."""
    from lossbench.data.torchvision import functional

    if images.shape[1] != sample.shape[0]:
        images = functional.rgb_to_grayscale(images, num_output_channels=1)
        images = images.expand(-1, sample.shape[0], -1, -1)
    resized: Tensor = functional.resize(images, list(sample.shape[1:]), antialias=True)
    return resized
