"""Dry run: two images pass through every cell of a table without training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from lossbench.assembly.build import build_augmentations, create_head
from lossbench.assembly.user_augmentations import check_augmentation
from lossbench.assembly.user_components import (
    check_head,
    check_initialisation,
    check_model,
    check_schedule,
    component_file,
    component_problems,
    exit_as_error,
    failure_reason,
)
from lossbench.assembly.user_optimizers import check_optimizer
from lossbench.data.augmentation import AUGMENTATIONS
from lossbench.data.dataset import Dataset
from lossbench.data.facts import view_of
from lossbench.data.images import Augment, Shape, View, resizes_first
from lossbench.errors import (
    Loc,
    ParameterError,
    Problem,
    ProblemCollector,
    RequestError,
    UnusableComponentError,
    format_exception,
)
from lossbench.losses import LOSSES, TrainingFacts
from lossbench.models import MODELS
from lossbench.models.base import create_model
from lossbench.planning.head_requirements import HeadKey, HeadRequirements, head_key
from lossbench.planning.plan import Plan
from lossbench.planning.tuning import tuned_batch_sizes
from lossbench.suite.columns import joined_problems, setting_location
from lossbench.suite.schema import Component, Recipe, Suite
from lossbench.training.head_inspection import head_requirements
from lossbench.training.optimizers import OPTIMIZERS
from lossbench.training.schedules import SCHEDULES


@dataclass(frozen=True)
class HeadDryRun:
    """Dry run of a single loss head: it is created and computes the loss of two samples.

    Attributes:
        facts: Variant -> facts about the trainings.
        batch_size: Variant -> smallest number of images per step.
        features: Variant -> features of two images, (2, D).
    """

    facts: Mapping[str, TrainingFacts]
    batch_size: Mapping[str, int]
    features: Mapping[str, Tensor]

    def __call__(self, variant: str, loss: Component) -> HeadRequirements:
        """Training requirements of a loss's head on the model of a variant.

        Raises:
            ParameterError: The loss cannot be used with this model and batch size.
        """
        features, batch_size = self.features[variant], self.batch_size[variant]  # (2, D)
        try:
            with exit_as_error():
                head = create_head(loss, features.shape[1], self.facts[variant])
                if "sample_indices" in head.needs:
                    head.sample_indices = torch.tensor([0, 1])
                if LOSSES[loss.name].external:
                    check_head(head, features)
                head(features, torch.tensor([0, 1]))
                requirements = head_requirements(head)
        except ParameterError:
            raise
        except Exception as error:
            if not LOSSES[loss.name].external:
                raise
            problem = Problem((), failure_reason(LOSSES[loss.name], error))
            raise ParameterError(loss.name, [problem]) from None
        group = head.samples_per_class or 0
        if 2 * group > batch_size:  # a batch needs at least two classes
            message = f"a batch of {batch_size} does not hold two classes of {group}"
            raise ParameterError(loss.name, [Problem(("samples_per_class",), message)])
        return requirements


@dataclass(frozen=True)
class DryRun:
    """Results of a dry run.

    Attributes:
        head: Dry run of single heads.
        requirements: Requirements of the heads of the plan's rows.
        weights: Variant -> digest of the file with the initial weights of its model, if there is
            one.
    """

    head: HeadDryRun
    requirements: Mapping[HeadKey, HeadRequirements]
    weights: Mapping[str, str]


def dry_run(plan: Plan, datasets: Mapping[str, Dataset], collector: ProblemCollector) -> DryRun:
    """Send two images through the model, the augmentations and the heads of every cell.

    One thread is used: for two images, more of them mostly wait for each other, on a busy machine
    for a long time.

    Args:
        plan: The plan.
        datasets: Variant -> data set.
        collector: Collector of the problems.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _dry_run(plan, datasets, collector)
    finally:
        torch.set_num_threads(threads)


def _dry_run(plan: Plan, datasets: Mapping[str, Dataset], collector: ProblemCollector) -> DryRun:
    suite = plan.suite
    features: dict[str, Tensor] = {}
    weights: dict[str, str] = {}
    requirements: dict[HeadKey, HeadRequirements] = {}
    head = HeadDryRun(
        {name: _training_facts(plan, name) for name in datasets},
        {name: _smallest_batch(plan, name) for name in plan.settings},
        features,
    )
    tried: dict[str, tuple[Tensor, str]] = {}  # model and image shape -> its outcome
    found: dict[str, ProblemCollector] = {name: ProblemCollector() for name in plan.settings}
    for name, settings in plan.settings.items():
        own = found[name]
        dataset, view = datasets[name], view_of(settings.recipe)
        where = setting_location(suite, name, ("model",))
        key = f"{settings.model.model_dump_json()} {dataset.image_shape(view)}"
        outcome = tried.get(key) or _run_model(settings.model, dataset, view, where, own)
        if outcome is None:
            continue
        tried[key] = outcome
        features[name], digest = outcome
        if digest:
            weights[name] = digest
        where = setting_location(suite, name, ("augment",))
        own.extend(_augmentation_problems(settings.augment, dataset, view, where))
        own.extend(_optimization_problems(suite, name, settings.recipe))
        for row in (row for row in plan.all_rows if row.applies_to(name)):
            try:
                requirements[head_key(name, row.loss)] = head(name, row.loss)
            except ParameterError as error:
                own.extend(error.problems, under=("losses", row.loss.name))
    collector.extend(joined_problems(suite, {name: own.problems for name, own in found.items()}))
    return DryRun(head, requirements, weights)


def _training_facts(plan: Plan, variant: str) -> TrainingFacts:
    """Facts about the trainings of a column, without its held-out part."""
    counts = plan.columns[variant].facts.class_counts["training"]
    return TrainingFacts(torch.tensor(counts), plan.settings[variant].recipe.epochs)


def _smallest_batch(plan: Plan, variant: str) -> int:
    """Smallest number of images per step of a column's rows."""
    sizes = tuned_batch_sizes(plan.suite)
    if not sizes or plan.compared:
        sizes = [*sizes, plan.settings[variant].recipe.batch_size]
    return min(sizes)


def _run_model(
    chosen: Component, dataset: Dataset, view: View, where: Loc, collector: ProblemCollector
) -> tuple[Tensor, str] | None:
    """Features of two images, (2, D), and the digest of the model's initial weights.

    Args:
        chosen: The model.
        dataset: Data set whose images the model should accept.
        view: View of the images.
        where: Location of the model.
        collector: Collector of the model's problems.

    Returns:
        None if the model cannot be used.
    """
    shape, entry = dataset.image_shape(view), MODELS[chosen.name]
    try:
        with exit_as_error():
            create = partial(create_model, chosen.name, shape, chosen.params)
            model = create()
            if entry.external:
                check_model(model, shape)
            if entry.file_digest:
                check_initialisation(create)
            with torch.no_grad():
                features = model.eval()(torch.rand(2, *shape))
        if features.shape != (2, model.feature_dim):
            out = "x".join(map(str, features.shape[1:]))
            raise ValueError(
                f"it returns features of shape {out}, not vectors of {model.feature_dim} numbers"
            )
        return features, model.weights_digest
    except ParameterError as error:
        collector.extend(error.problems, under=where)
    except UnusableComponentError as error:
        collector.add(where, str(error))
    except (ValueError, RuntimeError, AssertionError) as error:
        size = "x".join(map(str, shape))
        reason = str(error).partition("\n")[0]
        if entry.file_digest:
            reason = format_exception(error, component_file(entry))
        if "allocate memory" in reason:
            reason = "it needs more memory than is available"
        message = f"does not accept the {size} images of {dataset.card.name}: {reason}"
        collector.add(where, message)
    except Exception as error:
        if not entry.external:
            raise
        collector.add(where, failure_reason(entry, error))
    return None


def _optimization_problems(suite: Suite, variant: str, recipe: Recipe) -> Iterator[Problem]:
    """Problems of a column's schedule and optimizer, if they are not lossbench's own.

    Args:
        suite: The suite.
        variant: Name of the column.
        recipe: Recipe of the column.
    """
    schedule, optimizer = recipe.schedule, recipe.optimizer
    where = setting_location(suite, variant, ("recipe", "schedule"))
    check = partial(check_schedule, epochs=recipe.epochs)
    for problem in component_problems(SCHEDULES, schedule, recipe.epochs, check=check):
        yield problem.under(where)
    if OPTIMIZERS[optimizer.name].distribution == "torch":
        return  # tested with lossbench; to create the first optimizer, torch takes two seconds
    where = setting_location(suite, variant, ("recipe", "optimizer"))
    for problem in component_problems(OPTIMIZERS, optimizer, check=check_optimizer):
        yield problem.under(where)


def _augmentation_problems(
    chosen: Iterable[Component], dataset: Dataset, view: View, where: Loc
) -> list[Problem]:
    """Problems of augmentations that give images of a wrong size.

    Args:
        chosen: The augmentations.
        dataset: Data set of the images.
        view: View of the images.
        where: Location of the augmentations.
    """
    shape = dataset.splits["train"].shape or _example_shape(dataset, view)
    images = torch.randint(256, (8, *shape), generator=torch.Generator().manual_seed(0)).byte()
    augmentations: list[Augment] = []
    for index, each in enumerate(chosen):
        entry, loc = AUGMENTATIONS[each.name], (*where, index, each.name)
        try:
            with exit_as_error():
                [augment] = build_augmentations([each], view)
                if index == 0 and resizes_first([augment]):
                    images = view.resized(images)
                check = check_augmentation if entry.external else _augmented
                images = check(augment, images)
        except RequestError as error:
            return [Problem(loc, str(error))]
        except Exception as error:
            if not entry.external:
                raise
            return [Problem(loc, failure_reason(entry, error))]
        augmentations.append(augment)
    whole = not resizes_first(augmentations)
    if not augmentations:
        images = view.resized(images)
    if view.crop is None or min(images.shape[-2:]) >= view.crop:
        images = view.cropped(images)
    out, wanted = tuple(images.shape[1:]), dataset.image_shape(view)
    if out == wanted:
        return []
    sizes = ["x".join(map(str, size)) for size in (out, wanted)]
    message = f"gives images of size {sizes[0]}, but the model needs {sizes[1]}"
    if whole and view.crop is None:
        message += "; set recipe.input.crop to the size of its crops"
    return [Problem(where, message)]


def _augmented(augment: Augment, images: Tensor) -> Tensor:
    return augment(images, torch.Generator())


def _example_shape(dataset: Dataset, view: View) -> Shape:
    """Shape (C, H, W) of an image of a folder: of all, or near that of the smallest."""
    side = dataset.smallest[1] if dataset.smallest else max(view.resize or 0, view.crop or 64)
    height, width = dataset.common_size or (side, 4 * side // 3)
    return 3, height, width
