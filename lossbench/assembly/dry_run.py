"""Dry run: two images go through every cell of a table without training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lossbench.assembly.build import build_augmentations, create_head
from lossbench.data.dataset import Dataset
from lossbench.data.facts import view_of
from lossbench.data.images import View, resizes_first
from lossbench.errors import (
    Loc,
    ParameterError,
    Problem,
    ProblemCollector,
    format_exception,
)
from lossbench.losses import LOSSES
from lossbench.models import MODELS
from lossbench.planning.head_requirements import HeadKey, HeadRequirements, head_key
from lossbench.planning.plan import Plan
from lossbench.suite.schema import Component
from lossbench.training.head_inspection import head_requirements


@dataclass(frozen=True)
class HeadDryRun:
    """Creates loss heads as trials do, and computes their losses for two samples.

    Attributes:
        num_classes: Number of classes of the data set.
        batch_size: Images per step of the recipe.
        features: Variant -> features of two images, (2, D).
    """

    num_classes: int
    batch_size: int
    features: Mapping[str, Tensor]

    def __call__(self, variant: str, loss: Component) -> HeadRequirements:
        """The requirements of a loss's head on the model of a variant.

        Raises:
            ParameterError: The loss cannot be used there.
        """
        features = self.features[variant]  # (2, D)
        try:
            head = create_head(loss, features.shape[1], self.num_classes)
            head(features, torch.tensor([0, 1]))
            requirements = head_requirements(head)
        except ParameterError:
            raise
        except Exception as error:
            if not LOSSES[loss.name].external:
                raise
            problem = Problem((), f"cannot be used: {format_exception(error)}")
            raise ParameterError(loss.name, [problem]) from None
        group = head.samples_per_class or 0
        if 2 * group > self.batch_size:  # without a second class there is nothing to repel
            message = f"a batch of {self.batch_size} does not hold two classes of {group}"
            raise ParameterError(loss.name, [Problem(("samples_per_class",), message)])
        return requirements


@dataclass(frozen=True)
class DryRun:
    """Results of a dry run.

    Attributes:
        head: Dry run of single heads.
        requirements: Requirements of the heads of the plan's rows.
        weights: Digest of the file that a variant's model starts from, by variant, if any.
    """

    head: HeadDryRun
    requirements: Mapping[HeadKey, HeadRequirements]
    weights: Mapping[str, str]


def dry_run(plan: Plan, dataset: Dataset, collector: ProblemCollector) -> DryRun:
    """Send two images through the model, the augmentations and the heads of every cell."""
    suite, view = plan.suite, view_of(plan.suite.recipe)
    features: dict[str, Tensor] = {}
    weights: dict[str, str] = {}
    requirements: dict[HeadKey, HeadRequirements] = {}
    head = HeadDryRun(dataset.card.num_classes, suite.recipe.batch_size, features)
    for name, variant in suite.variants.items():
        own_model: Loc = ("variants", name)
        outcome = _run_model(
            suite.variant_model(name), dataset, view, own_model if variant.model else (), collector
        )
        if outcome is None:
            continue
        features[name], digest = outcome
        if digest:
            weights[name] = digest
        collector.extend(_augmentation_problems(variant.augment, dataset, view, name))
        for row in (row for row in plan.rows if row.applies_to(name)):
            try:
                requirements[head_key(name, row.loss)] = head(name, row.loss)
            except ParameterError as error:
                collector.extend(error.problems, under=("losses", row.loss.name))
    return DryRun(head, requirements, weights)


def _run_model(
    chosen: Component, dataset: Dataset, view: View, variant: Loc, collector: ProblemCollector
) -> tuple[Tensor, str] | None:
    """Features of two images, (2, D), and the digest of the model's first weights.

    Args:
        chosen: The model.
        dataset: Data set whose images it is to take.
        view: View of the images.
        variant: Location of the variant that has parameters of its own for the model, if any.
        collector: Collector of the model's problems.

    Returns:
        None if the model cannot be used.
    """
    shape = dataset.image_shape(view)
    try:
        model = MODELS[chosen.name].create(shape, **chosen.params)
        with torch.no_grad():
            features = model.eval()(torch.rand(2, *shape))
        if features.shape != (2, model.feature_dim):
            out = "x".join(map(str, features.shape[1:]))
            raise ValueError(f"it makes {out} of each, not a vector of {model.feature_dim}")
        return features, model.weights_digest
    except ParameterError as error:
        collector.extend(error.problems, under=(*variant, "model"))
    except (ValueError, RuntimeError, AssertionError) as error:
        size = "x".join(map(str, shape))
        reason = str(error).partition("\n")[0]
        if "allocate memory" in reason:
            reason = "it needs more memory than there is"
        message = f"does not take the {size} images of {dataset.card.name}: {reason}"
        collector.add(variant or ("model",), message)
    except Exception as error:
        if not MODELS[chosen.name].external:
            raise
        collector.add(("model",), f"cannot be used: {format_exception(error)}")
    return None


def _augmentation_problems(
    chosen: Iterable[Component], dataset: Dataset, view: View, variant: str
) -> list[Problem]:
    """Augmentations that change the size of two of the data set's images."""
    shape = dataset.splits["train"].shape
    if shape is None:
        return []  # every image has its own size; resizing or cropping evens them out
    images = torch.zeros(2, *shape, dtype=torch.uint8)
    augmentations = build_augmentations(chosen, view)
    whole = not resizes_first(augmentations)
    if not whole:
        images = view.resized(images)
    for augment in augmentations:
        images = augment(images, torch.Generator())
    out, wanted = tuple(view.cropped(images).shape[1:]), dataset.image_shape(view)
    if out == wanted:
        return []
    sizes = ["x".join(map(str, size)) for size in (out, wanted)]
    message = f"makes images of {sizes[0]}, but the model takes {sizes[1]}"
    if whole and view.crop is None:
        message += "; give recipe.input.crop, the size that it crops to"
    return [Problem(("variants", variant, "augment"), message)]
