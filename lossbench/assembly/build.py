"""The one place where names become objects: `check` before anything starts, `build` for a trial."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any

import torch

from lossbench.assembly.outline import make_outline
from lossbench.assembly.validate import (
    scale_problems,
    scaling_problems,
    team_problems,
    variant_problems,
    vector_problems,
)
from lossbench.data.augmentation import AUGMENTATIONS
from lossbench.data.dataset import Dataset
from lossbench.data.facts import data_facts, pixel_statistics, view_of
from lossbench.data.images import Augment, Images, View, normaliser, resizes_first
from lossbench.data.sampling import stratified_subset
from lossbench.data.sources import find_folder
from lossbench.data.suite_data import (
    may_select_on_validation,
    open_dataset,
    resolve_holdout,
    with_class_numbers,
)
from lossbench.data.trial_splits import choose_splits
from lossbench.errors import (
    DataError,
    ParameterError,
    Path,
    Problem,
    UnknownNameError,
    told,
)
from lossbench.evaluation import EVALUATIONS, Evaluation
from lossbench.losses import LOSSES, LossHead
from lossbench.models import MODELS
from lossbench.planning.plan import Plan
from lossbench.planning.requirements import Needs
from lossbench.planning.trial import Trial
from lossbench.registry import Registry
from lossbench.suite.schema import Component, DatasetChoice, Suite
from lossbench.training.loop import Training
from lossbench.training.needs import needs_of
from lossbench.training.optimizers import OPTIMIZERS, build_optimizer
from lossbench.training.process_group import Team
from lossbench.training.schedules import SCHEDULES
from lossbench.training.seeding import seed_everything

REGISTRIES: tuple[Registry[Any], ...] = (
    LOSSES,
    MODELS,
    AUGMENTATIONS,
    EVALUATIONS,
    OPTIMIZERS,
    SCHEDULES,
)
"""What a suite can name, but for data sets."""


def check(suite: Suite, data_root: FilePath) -> Plan:
    """Check everything that can be wrong with a suite, and lay it out.

    Names are looked up, parameters checked and their defaults filled in, the data read and
    compared with its digests, and one batch goes through each variant's model and each row.

    Raises:
        SuiteError: Everything that is wrong with the suite.
        DataError, UnknownNameError: The data set cannot be used.
    """
    outline = make_outline(suite)
    try:
        choice = with_class_numbers(suite.dataset, data_root)
        validation = may_select_on_validation(suite.selection)
        dataset = open_dataset(choice, data_root, validation=validation)
    except UnknownNameError as error:
        raise suite.origin.error([Problem(("dataset", "name"), str(error))]) from None
    except ValueError as error:
        raise suite.origin.error([Problem(("dataset", "classes"), str(error))]) from None
    folder = find_folder(suite.dataset.name, data_root)
    if folder is not None and choice.name != folder.name:  # workers have another folder
        choice = choice.model_copy(update={"name": str(folder.resolve())})
    resolved = resolve_holdout(outline.suite.model_copy(update={"dataset": choice}), dataset)
    evaluations = outline.evaluations
    others = _check_evaluations(suite, evaluations, dataset, data_root)
    of_users = {
        k: entry for registry in REGISTRIES for k, entry in registry.users_entries().items()
    }
    plan = Plan(
        suite=resolved,
        rows=outline.rows,
        data_digest=dataset.digest,
        metrics=outline.metrics,
        artifacts=tuple(a for evaluation in evaluations for a in evaluation.artifacts()),
        other_digests=others,
        compared=outline.compared,
        losses=outline.losses,
        limits={
            (row.loss.name, key): LOSSES[row.loss.name].limits(key)
            for row in outline.rows
            for key in row.loss.params
        },
        sources={key: entry.code for key, entry in of_users.items()},
        file_digests={key: entry.source for key, entry in of_users.items()},
        validation_digest=dataset.validation_digest,
    )
    needs: dict[tuple[str, str], Needs] = {}
    weights: dict[str, str] = {}
    problems = variant_problems(resolved) + _dry_run(plan, dataset, needs, weights)
    if problems:
        raise suite.origin.error(problems)
    view = view_of(suite.recipe)
    seen = [evaluation.other_images(dataset, view, data_root) for evaluation in evaluations]
    facts = data_facts(dataset, resolved, filter(None, seen))
    return replace(plan, needs=needs, weights=weights, facts=facts)


@dataclass(frozen=True)
class Assembled:
    """A trial's objects.

    Attributes:
        training: Model, head, optimizer and the rest, on the device.
        train: The training set.
        measured: The test set, the validation set or the held-out part of the training set; None
            without any of them.
        measured_name: `test`, or `holdout` for both of the others.
        evaluations: What is measured in the end.
        class_names: In the order of the labels.
    """

    training: Training
    train: Images
    measured: Images | None
    measured_name: str
    evaluations: tuple[Evaluation, ...]
    class_names: tuple[str, ...]


def build(
    trial: Trial, dataset: Dataset, device: torch.device, team: Team | None = None
) -> Assembled:
    """Turn a trial into objects. Seeds the global generators first.

    Raises:
        DataError: The weights that its model starts from are not those it was planned with.
    """
    recipe = trial.recipe
    view = view_of(recipe)
    parts = choose_splits(dataset, trial.dataset, trial.holdout)

    seed_everything(trial.seed)  # the model draws first: the same seed, the same initial model
    model = MODELS[trial.model.name].create(dataset.image_shape(view), **trial.model.params)
    if model.weights_digest != trial.weights_digest:
        raise DataError(
            f"{trial.model.name}: its weights here have digest {model.weights_digest}, but the "
            f"suite was planned with {trial.weights_digest}"
        )
    head = _create_head(trial.loss, model.feature_dim, dataset)
    model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    head = head.to(device)
    scaling = (0.0, 1.0) if dataset.vectors else (recipe.input.mean, recipe.input.std)
    schedule = SCHEDULES[recipe.schedule.name].create(recipe.epochs, **recipe.schedule.params)
    training = Training(
        model=model,
        head=head,
        optimizer=build_optimizer(recipe.optimizer, model, head),
        schedule=schedule,
        augmentations=_augmentations(trial.augment, view),
        normalise=normaliser(*scaling, device),
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        seed=trial.seed,
        autocast=torch.bfloat16 if recipe.precision == "bfloat16" else None,
        compiled=recipe.compile,
        team=team or Team(),
    )
    return Assembled(
        training=training,
        train=parts["train"].on(device, view),
        measured=parts["measured"].on(device, view) if "measured" in parts else None,
        measured_name="holdout" if trial.holdout else "test",
        evaluations=tuple(_evaluations(trial.evaluate)),
        class_names=tuple(dataset.card.class_names),
    )


def _evaluations(chosen: Iterable[Component]) -> list[Evaluation]:
    return [EVALUATIONS[evaluation.name].create(**evaluation.params) for evaluation in chosen]


def _augmentations(chosen: Iterable[Component], view: View) -> list[Augment]:
    return [AUGMENTATIONS[a.name].create(view.crop, **a.params) for a in chosen]


def _check_evaluations(
    suite: Suite, evaluations: Iterable[Evaluation], dataset: Dataset, data_root: FilePath
) -> dict[str, str]:
    """Whether each can be measured; the digests of the other data that they read."""
    problems, digests = [], {}
    without_test: list[int] = []
    for index, evaluation in enumerate(evaluations):
        path: Path = ("evaluate", index)
        if evaluation.needs_images and dataset.vectors:
            message = f"is measured on images, and {dataset.card.name} has vectors"
            problems.append(Problem(path, f"{suite.evaluate[index].name} {message}"))
            continue
        if evaluation.needs_test and "test" not in dataset.splits:
            without_test.append(index)
            continue
        try:
            digests.update(evaluation.check(dataset, view_of(suite.recipe), data_root))
        except (ValueError, UnknownNameError, DataError) as error:
            problems.append(Problem(path, f"{suite.evaluate[index].name} {error}"))
    if without_test:
        names = ", ".join(suite.evaluate[index].name for index in without_test)
        verb = "needs" if len(without_test) == 1 else "need"
        message = f"{names} {verb} a test set, and {dataset.card.name} has none"
        message += f": {dataset.no_test}" if dataset.no_test else ""
        problems.insert(0, Problem(("evaluate", without_test[0]), message))
    if problems:
        raise suite.origin.error(problems)
    return digests


def _dry_run(
    plan: Plan,
    dataset: Dataset,
    needs: dict[tuple[str, str], Needs],
    weights: dict[str, str],
) -> list[Problem]:
    """Split the data, and send two images through every cell without training.

    What each cell's head needs goes to `needs`, the digest of a model's first weights to `weights`.
    """
    suite = plan.suite
    view = view_of(suite.recipe)
    if dataset.vectors and (problems := vector_problems(suite, dataset.card.name)):
        return problems
    try:
        shape = dataset.image_shape(view)
    except ValueError as error:
        return [Problem(("recipe", "input"), str(error))]
    problems = scaling_problems(suite.recipe.input, shape[0])
    if not dataset.vectors and not problems:
        pixels = functools.cache(lambda: pixel_statistics(dataset, view))
        problems += scale_problems(suite.recipe.input, pixels)
    problems += _check_sizes(suite, dataset) + team_problems(suite)
    if problems:
        return problems
    labels = torch.tensor([0, 1])
    optimizer = suite.recipe.optimizer
    try:
        OPTIMIZERS[optimizer.name].create(**optimizer.params)
    except ParameterError as error:
        return [Problem(("recipe", "optimizer", *p.path), p.message) for p in error.problems]
    for name, variant in suite.variants.items():
        chosen = suite.variant_model(name)
        try:
            model = MODELS[chosen.name].create(shape, **chosen.params)
            with torch.no_grad():
                features = model.eval()(torch.rand(2, *shape))
            if features.shape != (2, model.feature_dim):
                out = "x".join(map(str, features.shape[1:]))
                raise ValueError(f"it makes {out} of each, not a vector of {model.feature_dim}")
        except ParameterError as error:
            where: Path = ("variants", name, "model") if variant.model else ("model",)
            problems += [Problem((*where, *p.path), p.message) for p in error.problems]
            continue
        except (ValueError, RuntimeError, AssertionError) as error:
            size = "x".join(map(str, shape))
            reason = str(error).partition("\n")[0]
            if "allocate memory" in reason:
                reason = "it needs more memory than there is"
            message = f"does not take the {size} images of {dataset.card.name}: {reason}"
            problems.append(Problem(("variants", name) if variant.model else ("model",), message))
            continue
        except Exception as error:
            if not MODELS[chosen.name].foreign:
                raise
            problems.append(Problem(("model",), f"cannot be used: {told(error)}"))
            continue
        if model.weights_digest:
            weights[name] = model.weights_digest
        problems += _check_augmentations(variant.augment, dataset, view, name)
        for row in (row for row in plan.rows if row.applies_to(name)):
            path: Path = ("losses", row.loss.name)
            try:
                head = _create_head(row.loss, model.feature_dim, dataset)
                head(features, labels)
                needs[name, row.label] = needs_of(head)
                group, batch = head.samples_per_class or 0, suite.recipe.batch_size
                if 2 * group > batch:  # without a second class there is nothing to repel
                    message = f"a batch of {batch} does not hold two classes of {group}"
                    problems.append(Problem((*path, "samples_per_class"), message))
                head.parameter_groups()
            except ParameterError as error:
                problems += [Problem((*path, *p.path), p.message) for p in error.problems]
            except Exception as error:
                if not LOSSES[row.loss.name].foreign:
                    raise
                problems.append(Problem(path, f"cannot be used: {told(error)}"))
    return list(dict.fromkeys(problems))


def _check_augmentations(
    chosen: Iterable[Component], dataset: Dataset, view: View, variant: str
) -> list[Problem]:
    """Augment two images of the data set's size."""
    shape = dataset.splits["train"].shape
    if shape is None:
        return []  # every image has its own size; resizing or cropping evens them out
    images = torch.zeros(2, *shape, dtype=torch.uint8)
    augmentations = _augmentations(chosen, view)
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


def _create_head(loss: Component, feature_dim: int, dataset: Dataset) -> LossHead:
    return LOSSES[loss.name].create(dataset.card.num_classes, feature_dim, **loss.params)


def _check_sizes(suite: Suite, dataset: Dataset) -> list[Problem]:
    problems = []
    for key in ("train_size", "test_size"):
        size, name = getattr(suite.dataset, key), key.removesuffix("_size")
        if size is None:
            continue
        if name not in dataset.splits:
            message = f"{dataset.card.name} has no {name} set"
            message += f": {dataset.no_test}" if dataset.no_test else ""
            problems.append(Problem(("dataset", key), message))
            continue
        labels = dataset.splits[name].labels
        try:
            stratified_subset(labels, size)
        except ValueError as error:
            problems.append(Problem(("dataset", key), str(error)))
    if suite.selection and not problems:
        try:
            choose_splits(dataset, suite.dataset, suite.selection.holdout)
        except ValueError as error:
            problems.append(
                _too_small(suite.dataset, dataset)
                or Problem(("selection", "holdout"), str(error).partition("\n")[0])
            )
    return problems


def _too_small(choice: DatasetChoice, dataset: Dataset) -> Problem | None:
    """The problem of a `train_size` that leaves one image of a class with more; else None."""
    if choice.train_size is None:
        return None
    labels = dataset.splits["train"].labels
    drawn = labels[stratified_subset(labels, choice.train_size)]
    for number, name in enumerate(dataset.card.class_names):
        there = int((labels == number).sum())
        if there > 1 and (drawn == number).sum() == 1:
            message = (
                f"{choice.train_size} leaves 1 of the {there} images of class {name}, and "
                "selection.holdout needs 2; give a larger one"
            )
            return Problem(("dataset", "train_size"), message)
    return None
