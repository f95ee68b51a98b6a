"""The one place where names become objects: `check` before anything starts, `build` for a trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lossbench.data.augmentation import AUGMENTATIONS
from lossbench.data.images import ImageSet, image_set, normaliser
from lossbench.data.prepared import Dataset
from lossbench.data.sampling import split_off, stratified_subset
from lossbench.data.sources import find_folder, load_dataset
from lossbench.errors import (
    ParameterError,
    Path,
    Problem,
    UnknownNameError,
    did_you_mean,
)
from lossbench.evaluation.accuracy import METRICS
from lossbench.losses import LOSSES, LossHead
from lossbench.models import MODELS
from lossbench.plan import Plan, Trial, expand_grids, is_grid, make_rows
from lossbench.registry import Registry
from lossbench.suite import Component, DatasetChoice, InputScaling, Suite
from lossbench.training.loop import Training
from lossbench.training.optimizers import OPTIMIZERS, build_optimizer
from lossbench.training.schedules import SCHEDULES
from lossbench.training.seeding import seed_everything


def check(suite: Suite, data_root: FilePath) -> Plan:
    """Check everything that can be wrong with a suite, and lay it out.

    Names are looked up, parameters checked and their defaults filled in, the data read and
    compared with its digests, and one batch goes through each variant's model and each row.

    Raises:
        SuiteError: Everything that is wrong with the suite.
        DataError, UnknownNameError: The data set cannot be used.
    """
    problems: list[Problem] = []
    resolved = _resolve_components(suite, problems)
    losses = _resolve_losses(suite, problems)
    _check_names(suite, problems)
    if problems:
        raise suite.origin.error(problems)

    rows = make_rows(losses, suite)
    _check_reference(suite, [row.label for row in rows], [row.loss.name for row in rows])
    try:
        dataset = load_dataset(suite.dataset.name, data_root)
    except UnknownNameError as error:
        raise suite.origin.error([Problem(("dataset", "name"), str(error))]) from None
    folder = find_folder(suite.dataset.name, data_root)
    if folder is not None and suite.dataset.name != folder.name:  # workers have another folder
        absolute = suite.dataset.model_copy(update={"name": str(folder.resolve())})
        resolved = resolved.model_copy(update={"dataset": absolute})
    plan = Plan(resolved, rows, dataset.digest)
    problems = _same_variants(resolved) + _dry_run(plan, dataset)
    if problems:
        raise suite.origin.error(problems)
    return plan


@dataclass(frozen=True)
class Assembled:
    """A trial's objects.

    Attributes:
        training: Model, head, optimizer and the rest, on the device.
        train: The training set.
        measured: The test set, or the held-out part of the training set.
        measured_name: `test` or `holdout`.
    """

    training: Training
    train: ImageSet
    measured: ImageSet
    measured_name: str


def build(trial: Trial, dataset: Dataset, device: torch.device) -> Assembled:
    """Turn a trial into objects. Seeds the global generators first."""
    parts = _choose_images(dataset, trial.dataset, trial.holdout)
    train, measured = (image_set(*parts[name], device) for name in ("train", "measured"))

    seed_everything(trial.seed)  # the model draws first: the same seed, the same initial model
    model = MODELS[trial.model.name].create(dataset.image_shape, **trial.model.params)
    head = _create_head(trial.loss, trial.model, dataset)
    model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    head = head.to(device)
    recipe = trial.recipe
    schedule = SCHEDULES[recipe.schedule.name].create(recipe.epochs, **recipe.schedule.params)
    training = Training(
        model=model,
        head=head,
        optimizer=build_optimizer(recipe.optimizer, model, head),
        schedule=schedule,
        augmentations=[AUGMENTATIONS[a.name].create(**a.params) for a in trial.augment],
        normalise=normaliser(recipe.input.mean, recipe.input.std, device),
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        seed=trial.seed,
    )
    return Assembled(training, train, measured, "holdout" if trial.holdout else "test")


Part = tuple[NDArray[np.uint8], NDArray[np.int64]]


def _choose_images(dataset: Dataset, choice: DatasetChoice, holdout: float) -> dict[str, Part]:
    """The images to train on and those to measure on."""
    parts: dict[str, Part] = {}
    for split, size in (("train", choice.train_size), ("test", choice.test_size)):
        images, labels = dataset.images[split], dataset.labels[split]
        if size is not None:
            indices = stratified_subset(labels, size)
            images, labels = images[indices], labels[indices]
        parts[split] = (images, labels)
    if not holdout:
        return {"train": parts["train"], "measured": parts["test"]}
    images, labels = parts["train"]
    rest, held_out = split_off(labels, holdout)
    return {
        "train": (images[rest], labels[rest]),
        "measured": (images[held_out], labels[held_out]),
    }


def _resolve(
    registry: Registry[Any], chosen: Component, path: Path, problems: list[Problem]
) -> Component:
    """Fill in defaults; what is wrong goes to `problems`."""
    try:
        return Component(name=chosen.name, params=registry[chosen.name].resolve(chosen.params))
    except UnknownNameError as error:
        problems.append(Problem(path, str(error)))
    except ParameterError as error:
        problems.extend(Problem((*path, *p.path), p.message) for p in error.problems)
    return chosen


def _resolve_components(suite: Suite, problems: list[Problem]) -> Suite:
    recipe = suite.recipe
    optimizer = _resolve(OPTIMIZERS, recipe.optimizer, ("recipe", "optimizer"), problems)
    schedule = _resolve(SCHEDULES, recipe.schedule, ("recipe", "schedule"), problems)
    model = _resolve(MODELS, suite.model, ("model",), problems)
    variants = {}
    for name, variant in suite.variants.items():
        path = ("variants", name)
        if variant.model and model.name in MODELS:
            chosen = suite.variant_model(name)
            full = _resolve(MODELS, chosen, (*path, "model"), problems)
            variant = variant.model_copy(update={"model": {"name": full.name, **full.params}})
        augment = [
            _resolve(AUGMENTATIONS, chosen, (*path, "augment", index, chosen.name), problems)
            for index, chosen in enumerate(variant.augment)
        ]
        variants[name] = variant.model_copy(update={"augment": augment})
    resolved = suite.model_copy(
        update={
            "model": model,
            "variants": variants,
            "recipe": recipe.model_copy(update={"optimizer": optimizer, "schedule": schedule}),
        }
    )
    return resolved


def _resolve_losses(suite: Suite, problems: list[Problem]) -> list[Component]:
    losses = []
    for index, loss in enumerate(suite.losses):
        path: Path = ("losses", index)
        if loss.name not in LOSSES:
            problems.append(
                Problem(path, f"unknown loss {loss.name!r}{did_you_mean(loss.name, LOSSES)}")
            )
            continue
        path = (*path, loss.name)
        broken = [
            Problem((*path, key, "grid"), "should be a list of at least one value")
            for key, value in loss.params.items()
            if is_grid(value) and not (isinstance(value["grid"], list) and value["grid"])
        ]
        problems.extend(broken)
        if not broken:
            found: list[Problem] = []
            losses += [_resolve(LOSSES, point, path, found) for point in expand_grids(loss)]
            problems.extend(dict.fromkeys(found))
    return losses


def _check_names(suite: Suite, problems: list[Problem]) -> None:
    for index, name in enumerate(suite.evaluate):
        if name not in METRICS:
            message = f"unknown metric {name!r}{did_you_mean(name, METRICS)}"
            problems.append(Problem(("evaluate", index), message))
    if suite.selection and suite.selection.metric not in suite.evaluate:
        message = f"{suite.selection.metric!r} is not in `evaluate`"
        problems.append(Problem(("selection", "metric"), message))


def _same_variants(suite: Suite) -> list[Problem]:
    """Two columns of the same trials would be trained once and shown twice."""
    problems: list[Problem] = []
    seen: list[tuple[Component, list[Component]]] = []
    for name, variant in suite.variants.items():
        content = (suite.variant_model(name), variant.augment)
        if content in seen:
            message = f"is the same as {list(suite.variants)[seen.index(content)]}"
            problems.append(Problem(("variants", name), message))
        seen.append(content)
    return problems


def _check_reference(suite: Suite, labels: list[str], names: list[str]) -> None:
    if suite.reference is not None and suite.reference not in {*labels, *names}:
        message = f"{suite.reference!r} is no row{did_you_mean(suite.reference, labels)}"
        raise suite.origin.error([Problem(("reference",), message)])


def _dry_run(plan: Plan, dataset: Dataset) -> list[Problem]:
    """Split the data, and send two images through every cell without training."""
    suite = plan.suite
    problems = _check_scaling(suite.recipe.input, dataset.image_shape[0])
    problems += _check_sizes(suite, dataset)
    if problems:
        return problems
    images, labels = torch.rand(2, *dataset.image_shape), torch.tensor([0, 1])
    for name, variant in suite.variants.items():
        chosen = suite.variant_model(name)
        try:
            model = MODELS[chosen.name].create(dataset.image_shape, **chosen.params)
            with torch.no_grad():
                features = model.eval()(images)
        except (ValueError, RuntimeError) as error:
            shape = "x".join(map(str, dataset.image_shape))
            reason = str(error).partition("\n")[0]
            message = f"does not take the {shape} images of {dataset.card.name}: {reason}"
            problems.append(Problem(("variants", name) if variant.model else ("model",), message))
            continue
        for row in plan.rows:
            path: Path = ("losses", row.loss.name)
            try:
                head = _create_head(row.loss, chosen, dataset)
                head(features, labels)
                path = ("recipe", "optimizer")
                build_optimizer(suite.recipe.optimizer, model, head)
            except ParameterError as error:
                problems += [Problem((*path, *p.path), p.message) for p in error.problems]
    return list(dict.fromkeys(problems))


def _create_head(loss: Component, model: Component, dataset: Dataset) -> LossHead:
    return LOSSES[loss.name].create(
        dataset.card.num_classes, model.params["feature_dim"], **loss.params
    )


def _check_sizes(suite: Suite, dataset: Dataset) -> list[Problem]:
    problems = []
    for key in ("train_size", "test_size"):
        size, labels = getattr(suite.dataset, key), dataset.labels[key.removesuffix("_size")]
        if size is None:
            continue
        try:
            stratified_subset(labels, size)
        except ValueError:
            message = f"{size} of {len(labels)} images with each class's share is impossible"
            problems.append(Problem(("dataset", key), message))
    if suite.selection and not problems:
        try:
            _choose_images(dataset, suite.dataset, suite.selection.holdout)
        except ValueError as error:
            problems.append(Problem(("selection", "holdout"), str(error).partition("\n")[0]))
    return problems


def _check_scaling(scaling: InputScaling, channels: int) -> list[Problem]:
    values: Mapping[str, Any] = {"mean": scaling.mean, "std": scaling.std}
    return [
        Problem(
            ("recipe", "input", name), f"{len(value)} numbers, but images have {channels} channels"
        )
        for name, value in values.items()
        if isinstance(value, list) and len(value) not in (1, channels)
    ]
