"""The one place where names become objects: `check` before anything starts, `build` for a trial."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any

import torch

from lossbench.data.augmentation import AUGMENTATIONS
from lossbench.data.dataset import Dataset, Split
from lossbench.data.images import Augment, Images, View, normaliser, resizes_first
from lossbench.data.sampling import split_off, stratified_subset
from lossbench.data.sources import find_folder, load_dataset
from lossbench.errors import (
    ParameterError,
    Path,
    Problem,
    UnknownNameError,
    did_you_mean,
)
from lossbench.evaluation import EVALUATIONS, Evaluation
from lossbench.losses import LOSSES, LossHead
from lossbench.models import MODELS
from lossbench.needs import Needs
from lossbench.plan import Metric, Plan, Row, Trial, make_rows
from lossbench.resolution import resolve_components, resolve_losses
from lossbench.suite import Component, DatasetChoice, Input, Recipe, Suite
from lossbench.training.loop import Training
from lossbench.training.needs import needs_of
from lossbench.training.optimizers import build_optimizer
from lossbench.training.schedules import SCHEDULES
from lossbench.training.seeding import seed_everything
from lossbench.training.team import Team


def check(suite: Suite, data_root: FilePath) -> Plan:
    """Check everything that can be wrong with a suite, and lay it out.

    Names are looked up, parameters checked and their defaults filled in, the data read and
    compared with its digests, and one batch goes through each variant's model and each row.

    Raises:
        SuiteError: Everything that is wrong with the suite.
        DataError, UnknownNameError: The data set cannot be used.
    """
    problems: list[Problem] = []
    resolved = resolve_components(suite, problems)
    losses = resolve_losses(suite.losses, ("losses",), problems)
    evaluations = [] if problems else _evaluations(resolved.evaluate)
    metrics = _metrics(suite, evaluations, problems)
    if problems:
        raise suite.origin.error(problems)

    rows = make_rows(losses, suite)
    _check_reference(suite, [row.label for row in rows], [row.loss.name for row in rows])
    compared = _compared(suite, rows)
    try:
        dataset = open_dataset(suite.dataset, data_root)
    except UnknownNameError as error:
        raise suite.origin.error([Problem(("dataset", "name"), str(error))]) from None
    except ValueError as error:
        raise suite.origin.error([Problem(("dataset", "classes"), str(error))]) from None
    folder = find_folder(suite.dataset.name, data_root)
    if folder is not None and suite.dataset.name != folder.name:  # workers have another folder
        absolute = suite.dataset.model_copy(update={"name": str(folder.resolve())})
        resolved = resolved.model_copy(update={"dataset": absolute})
    others = _check_evaluations(suite, evaluations, dataset, data_root)
    plan = Plan(
        suite=resolved,
        rows=rows,
        data_digest=dataset.digest,
        metrics=metrics,
        artifacts=tuple(a for evaluation in evaluations for a in evaluation.artifacts()),
        other_digests=others,
        compared=compared,
    )
    needs: dict[tuple[str, str], Needs] = {}
    problems = _same_variants(resolved) + _dry_run(plan, dataset, needs)
    if problems:
        raise suite.origin.error(problems)
    return replace(plan, needs=needs)


def open_dataset(choice: DatasetChoice, data_root: FilePath, *, verify: bool = True) -> Dataset:
    """The data set that a suite names, with the classes that it wants.

    Raises:
        ValueError: There is no such class.
        DataError, UnknownNameError: It cannot be opened.
    """
    dataset = load_dataset(choice.name, data_root, verify=verify)
    return dataset if choice.classes is None else dataset.restricted(choice.classes)


@dataclass(frozen=True)
class Assembled:
    """A trial's objects.

    Attributes:
        training: Model, head, optimizer and the rest, on the device.
        train: The training set.
        measured: The test set, or the held-out part of the training set; None without either.
        measured_name: `test` or `holdout`.
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
    """Turn a trial into objects. Seeds the global generators first."""
    recipe = trial.recipe
    view = view_of(recipe)
    parts = _choose_images(dataset, trial.dataset, trial.holdout)

    seed_everything(trial.seed)  # the model draws first: the same seed, the same initial model
    model = MODELS[trial.model.name].create(dataset.image_shape(view), **trial.model.params)
    head = _create_head(trial.loss, model.feature_dim, dataset)
    model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    head = head.to(device)
    schedule = SCHEDULES[recipe.schedule.name].create(recipe.epochs, **recipe.schedule.params)
    training = Training(
        model=model,
        head=head,
        optimizer=build_optimizer(recipe.optimizer, model, head),
        schedule=schedule,
        augmentations=_augmentations(trial.augment, view),
        normalise=normaliser(recipe.input.mean, recipe.input.std, device),
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        seed=trial.seed,
        autocast=torch.bfloat16 if recipe.precision == "bfloat16" else None,
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


def view_of(recipe: Recipe) -> View:
    return View(recipe.input.resize, recipe.input.crop)


def _evaluations(chosen: Iterable[Component]) -> list[Evaluation]:
    return [EVALUATIONS[evaluation.name].create(**evaluation.params) for evaluation in chosen]


def _augmentations(chosen: Iterable[Component], view: View) -> list[Augment]:
    return [AUGMENTATIONS[a.name].create(view.crop, **a.params) for a in chosen]


def _choose_images(dataset: Dataset, choice: DatasetChoice, holdout: float) -> dict[str, Split]:
    """The images to train on and those to measure on."""
    parts: dict[str, Split] = {}
    for name, size in (("train", choice.train_size), ("test", choice.test_size)):
        if name in dataset.splits:
            split = dataset.splits[name]
            parts[name] = (
                split if size is None else split.subset(stratified_subset(split.labels, size))
            )
    if not holdout:
        return {"train": parts["train"]} | ({"measured": parts["test"]} if "test" in parts else {})
    rest, held_out = split_off(parts["train"].labels, holdout)
    return {"train": parts["train"].subset(rest), "measured": parts["train"].subset(held_out)}


def _metrics(
    suite: Suite, evaluations: Iterable[Evaluation], problems: list[Problem]
) -> tuple[Metric, ...]:
    metrics = [metric for evaluation in evaluations for metric in evaluation.metrics()]
    names = [metric.name for metric in metrics]
    twice = list(dict.fromkeys(name for name in names if names.count(name) > 1))
    if twice:
        verb = "is" if len(twice) == 1 else "are"
        problems.append(Problem(("evaluate",), f"{', '.join(twice)} {verb} measured twice"))
    if not problems and suite.selection:
        problems += _check_choice(suite.selection.metric, evaluations)
    return tuple(metrics)


def _check_choice(metric: str, evaluations: Iterable[Evaluation]) -> list[Problem]:
    """Whether parameters can be chosen by a metric."""
    other = {e: [m.name for m in e.metrics()] for e in evaluations}
    held_out = [name for e, names in other.items() for name in names if not e.reads_other_data]
    if metric in held_out:
        return []
    if any(metric in names for names in other.values()):
        message = (
            f"{metric!r} is measured on other data than the held-out part; to choose by it would "
            f"be to choose on test data{did_you_mean(metric, held_out)}"
        )
    else:
        message = f"{metric!r} is not measured by `evaluate`{did_you_mean(metric, held_out)}"
    return [Problem(("selection", "metric"), message)]


def _compared(suite: Suite, rows: Iterable[Row]) -> tuple[Row, ...]:
    """The rows of `selection.compare`."""
    if suite.selection is None:
        return ()
    problems: list[Problem] = []
    path: Path = ("selection", "compare")
    by_loss = {row.loss.model_dump_json(): row for row in rows}
    found = []
    for index, loss in enumerate(resolve_losses(suite.selection.compare, path, problems)):
        row = by_loss.get(loss.model_dump_json())
        if row is None:
            rows_of_loss = ", ".join(r.label for r in by_loss.values() if r.loss.name == loss.name)
            message = f"is none of the suite's rows: {rows_of_loss or 'no ' + loss.name}"
            problems.append(Problem((*path, index), message))
        else:
            found.append(row)
    if problems:
        raise suite.origin.error(problems)
    return tuple(found)


def _check_evaluations(
    suite: Suite, evaluations: Iterable[Evaluation], dataset: Dataset, data_root: FilePath
) -> dict[str, str]:
    """Whether each can be measured; the digests of the other data that they read."""
    problems, digests = [], {}
    without_test: list[int] = []
    for index, evaluation in enumerate(evaluations):
        path: Path = ("evaluate", index)
        if evaluation.needs_test and "test" not in dataset.splits:
            without_test.append(index)
            continue
        try:
            digests.update(evaluation.check(dataset, view_of(suite.recipe), data_root))
        except (ValueError, UnknownNameError) as error:
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
    if suite.selection is None and names.count(suite.reference or "") > 1:
        own = [label for label, name in zip(labels, names, strict=True) if name == suite.reference]
        message = f"{suite.reference!r} is {len(own)} rows; name one of {', '.join(own)}"
        raise suite.origin.error([Problem(("reference",), message)])


def _dry_run(plan: Plan, dataset: Dataset, needs: dict[tuple[str, str], Needs]) -> list[Problem]:
    """Split the data, and send two images through every cell without training.

    What each cell's head needs goes to `needs`.
    """
    suite = plan.suite
    view = view_of(suite.recipe)
    try:
        shape = dataset.image_shape(view)
    except ValueError as error:
        return [Problem(("recipe", "input"), str(error))]
    problems = _check_scaling(suite.recipe.input, shape[0])
    problems += _check_sizes(suite, dataset) + _check_team(suite)
    if problems:
        return problems
    labels = torch.tensor([0, 1])
    for name, variant in suite.variants.items():
        chosen = suite.variant_model(name)
        try:
            model = MODELS[chosen.name].create(shape, **chosen.params)
            with torch.no_grad():
                features = model.eval()(torch.rand(2, *shape))
        except ParameterError as error:
            where: Path = ("variants", name, "model") if variant.model else ("model",)
            problems += [Problem((*where, *p.path), p.message) for p in error.problems]
            continue
        except (ValueError, RuntimeError) as error:
            size = "x".join(map(str, shape))
            reason = str(error).partition("\n")[0]
            if "allocate memory" in reason:
                reason = "it needs more memory than there is"
            message = f"does not take the {size} images of {dataset.card.name}: {reason}"
            problems.append(Problem(("variants", name) if variant.model else ("model",), message))
            continue
        problems += _check_augmentations(variant.augment, dataset, view, name)
        for row in plan.rows:
            path: Path = ("losses", row.loss.name)
            try:
                head = _create_head(row.loss, model.feature_dim, dataset)
                head(features, labels)
                needs[name, row.label] = needs_of(head)
                path = ("recipe", "optimizer")
                build_optimizer(suite.recipe.optimizer, model, head)
            except ParameterError as error:
                problems += [Problem((*path, *p.path), p.message) for p in error.problems]
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
        except ValueError:
            message = f"{size} of {len(labels)} images with each class's share is impossible"
            problems.append(Problem(("dataset", key), message))
    if suite.selection and not problems:
        try:
            _choose_images(dataset, suite.dataset, suite.selection.holdout)
        except ValueError as error:
            problems.append(Problem(("selection", "holdout"), str(error).partition("\n")[0]))
    return problems


def _check_team(suite: Suite) -> list[Problem]:
    """Whether a batch divides among the workers, two images or more for each."""
    batch, workers = suite.recipe.batch_size, suite.resources.workers
    if batch % workers == 0 and batch >= 2 * workers:
        return []
    near = max(round(batch / workers), 2) * workers
    message = (
        f"should be a multiple of resources.workers ({workers}), two images or more for each, such "
        f"as {near}, not {batch}"
    )
    return [Problem(("recipe", "batch_size"), message)]


def _check_scaling(scaling: Input, channels: int) -> list[Problem]:
    values: Mapping[str, Any] = {"mean": scaling.mean, "std": scaling.std}
    return [
        Problem(
            ("recipe", "input", name), f"{len(value)} numbers, but images have {channels} channels"
        )
        for name, value in values.items()
        if isinstance(value, list) and len(value) not in (1, channels)
    ]
