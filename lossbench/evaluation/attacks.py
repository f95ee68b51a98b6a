"""Evaluations under attacks, whose functions are in `adversarial`."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any, Literal

import torch
from numpy.typing import NDArray
from pydantic import AfterValidator, Field
from torch import Tensor

from lossbench.evaluation import adversarial
from lossbench.evaluation.accuracy import top_error
from lossbench.evaluation.base import (
    EVALUATIONS,
    IMAGES,
    Evaluation,
    Measurement,
    Trained,
)
from lossbench.evaluation.ood_detection import (
    detection_artifact,
    detection_metrics,
    measure_detection,
)
from lossbench.records import Artifact, Metric
from lossbench.registry import OMIT_DEFAULT
from lossbench.training.seeding import stream

BATCH_SIZE = 250
"""Number of images that are attacked together; losses on pairs couple the images of a batch."""
EPSILON = "ε"
Share = Annotated[float, Field(gt=0, le=1)]


def _distinct(epsilons: list[float]) -> list[float]:
    """Refuse values equal to six digits, which the names of metrics and arrays contain."""
    named: dict[str, float] = {}
    for epsilon in epsilons:
        if (name := f"{epsilon:g}") in named:
            raise ValueError(f"{named[name]} and {epsilon} are the same to six digits")
        named[name] = epsilon
    return epsilons


Epsilons = Annotated[
    list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1), AfterValidator(_distinct)
]

Objective = Literal["log_odds", "float32_cross_entropy"]
"""Function that an untargeted attack increases; both are the classification loss in exact
arithmetic, up to a monotone function."""


class Attack(Evaluation):
    """Error on adversarial examples of the measured images, and detection of these examples.

    Attributes:
        name: Name of the attack in metrics and files.
        title: Name of the attack in tables and figures.
        epsilons: Sizes of the perturbation as shares of the pixel range.
    """

    name: str
    title: str
    epsilons: list[float]

    def metrics(self) -> tuple[Metric, ...]:
        errors = [
            Metric(
                name=f"{self._key(e)}_error",
                label=f"error under {self._title(e)}",
                unit=IMAGES,
                attack=self.name,
                epsilon=e,
                group="robustness",
            )
            for e in self.epsilons
        ]
        detected = [
            m for e in self.epsilons for m in detection_metrics(self._key(e), self._title(e))
        ]
        return (*errors, *detected)

    def artifacts(self) -> tuple[Artifact, ...]:
        return tuple(detection_artifact(self._key(e), self._title(e)) for e in self.epsilons)

    def __call__(self, trained: Trained) -> Measurement:
        values: dict[str, float] = {}
        arrays: dict[str, dict[str, NDArray[Any]]] = {}
        for epsilon in self.epsilons:
            key = self._key(epsilon)
            features = attacked_features(trained, self, epsilon)
            with torch.no_grad():
                scores = trained.head.logits(features)
            values[f"{key}_error"] = top_error(scores, trained.measured_images.labels, 1)
            detected, stored = measure_detection(trained, key, features)
            values |= detected
            arrays |= stored
        return Measurement(values, arrays)

    @abstractmethod
    def attack(
        self, trained: Trained, pixels: Tensor, labels: Tensor, epsilon: float, batch: int
    ) -> Tensor:
        """Adversarial examples (B, C, H, W) of some images.

        Args:
            trained: Trained model to attack.
            pixels: (B, C, H, W) in [0, 255].
            labels: (B,) True classes.
            epsilon: Size of the perturbation as a share of the pixel range.
            batch: Number of the batch, from 0.
        """

    def _key(self, epsilon: float) -> str:
        return f"{self.name}_{epsilon:g}"

    def _title(self, epsilon: float) -> str:
        return f"{self.title}, {EPSILON} = {epsilon:g}"


def attacked_features(trained: Trained, attack: Attack, epsilon: float) -> Tensor:
    """Features (N, D) of the adversarial examples of all measured images."""
    features = []
    parts = trained.measured_images.unaugmented(size=BATCH_SIZE)
    labels = trained.measured_images.labels.split(BATCH_SIZE)
    for number, (pixels, part_labels) in enumerate(zip(parts, labels, strict=True)):
        examples = attack.attack(trained, pixels.float(), part_labels, epsilon, number)
        with torch.no_grad():
            features.append(trained.model(trained.normalise(examples)))
    return torch.cat(features)


class UntargetedAttack(Attack):
    """Attack that increases the classification loss of the true labels.

    Args:
        epsilons: Sizes of the perturbation as shares of the pixel range.
        objective: `log_odds`, or `float32_cross_entropy`, which metrics, files, tables and figures
            then name.
    """

    def __init__(self, epsilons: list[float], objective: Objective) -> None:
        self.epsilons, self._objective = epsilons, objective
        if objective == "float32_cross_entropy":
            self.name = f"float32_{self.name}"
            self.title = f"{self.title} (float32 cross-entropy)"

    def objective(self, trained: Trained, labels: Tensor) -> adversarial.Objective:
        """Function of the pixels to increase, for images with these labels (B,)."""
        make = (
            adversarial.classification_objective
            if self._objective == "log_odds"
            else adversarial.float32_cross_entropy_objective
        )
        return make(trained.model, trained.head, trained.normalise, labels)


@EVALUATIONS.register("fgsm", reference="Goodfellow et al., ICLR 2015; Wan et al., CVPR 2018")
class Fgsm(UntargetedAttack):
    """Fast gradient sign method (FGSM), untargeted (Wan et al., Table 6 and Figs. 3-5).

    Args:
        epsilons: Sizes of the perturbation as shares of the pixel range, each in (0, 1].
        objective: Function whose gradient is followed: `log_odds`, minus the log-odds of the true
            class; or `float32_cross_entropy`, whose gradient loses the part of the true class where
            its probability rounds to 1. Metrics of the latter begin with `float32_`.

    Reference: Goodfellow, Shlens, Szegedy: Explaining and Harnessing Adversarial Examples. ICLR
        2015. Wan et al., CVPR 2018, Sect. 4.3.

    Deviations: the gradient is by default that of -log-odds instead of the classification loss,
        softplus(-log-odds). In exact arithmetic its sign is the same, but float32 rounds the
        gradient of the classification loss for confident predictions. The paper does not say how
        its gradient was computed; the float32 cross-entropy of Caffe, which its authors used, has
        this rounding. `objective="float32_cross_entropy"` reproduces it.
    """

    name, title = "fgsm", "FGSM"

    def __init__(
        self,
        *,
        epsilons: Epsilons = [0.1, 0.2, 0.3],  # noqa: B006
        objective: Annotated[Objective, OMIT_DEFAULT] = "log_odds",
    ) -> None:
        super().__init__(epsilons, objective)

    def attack(
        self, trained: Trained, pixels: Tensor, labels: Tensor, epsilon: float, batch: int
    ) -> Tensor:
        return adversarial.fgsm(self.objective(trained, labels), pixels, epsilon)


@EVALUATIONS.register("targeted_fgsm", reference="Wan et al., CVPR 2018, Sect. 4.3")
class TargetedFgsm(Attack):
    """Targeted FGSM: one step towards the second most likely class (Fig. 6).

    The step decreases the full loss, all terms included, with that class as the label.

    Args:
        epsilons: Sizes of the perturbation as shares of the pixel range, each in (0, 1].

    Reference: Wan et al., CVPR 2018, Sect. 4.3.
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
class Pgd(UntargetedAttack):
    """Projected gradient descent from a random start, untargeted.

    Args:
        epsilons: Sizes of the perturbation as shares of the pixel range, each in (0, 1].
        steps: Number of gradient steps, >= 1.
        step_size: Size of a step as a share of the pixel range, in (0, 1].
        objective: Function whose gradient is followed: `log_odds`, minus the log-odds of the true
            class; or `float32_cross_entropy`, whose gradient loses the part of the true class where
            its probability rounds to 1. Metrics of the latter begin with `float32_`.

    Reference: Madry et al.: Towards Deep Learning Models Resistant to Adversarial Attacks. ICLR
        2018.

    Deviations: the gradient is by default that of -log-odds instead of the classification loss,
        softplus(-log-odds). In exact arithmetic its sign is the same, but float32 rounds the
        gradient of the classification loss for confident predictions.
    """

    name, title = "pgd", "PGD"

    def __init__(
        self,
        *,
        epsilons: Epsilons = [0.3],  # noqa: B006
        steps: Annotated[int, Field(ge=1)] = 40,
        step_size: Share = 0.01,
        objective: Annotated[Objective, OMIT_DEFAULT] = "log_odds",
    ) -> None:
        super().__init__(epsilons, objective)
        self.steps, self.step_size = steps, step_size

    def attack(
        self, trained: Trained, pixels: Tensor, labels: Tensor, epsilon: float, batch: int
    ) -> Tensor:
        return adversarial.pgd(
            self.objective(trained, labels),
            pixels,
            epsilon,
            steps=self.steps,
            step_size=self.step_size,
            generator=stream(trained.seed, f"pgd {epsilon:g} {batch}"),
        )
