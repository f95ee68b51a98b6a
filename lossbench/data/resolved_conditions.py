"""Label noise and imbalance of a suite, checked against the data and in the form of a trial."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from lossbench.data.dataset import Dataset
from lossbench.data.label_files import find_label_file, is_label_path
from lossbench.data.noise_maps import USUAL_MAPS
from lossbench.data.sampling import Indices
from lossbench.data.training_labels import TrainingLabels, read_labels, refused, training_labels
from lossbench.errors import did_you_mean
from lossbench.suite.data_conditions import AsymmetricNoise, LabelNoise
from lossbench.suite.schema import DatasetChoice, Holdout, HoldoutLabels

MAP = ("label_noise", "asymmetric", "map")
MAX_NAMED = 6
"""Largest number of classes that a message or a note names."""


def with_resolved_conditions(choice: DatasetChoice, dataset: Dataset) -> DatasetChoice:
    """Check the conditions of the training set, and resolve what depends on the data.

    The map of asymmetric noise becomes a list of class numbers, because names are not part of a
    trial's identity; a file of labels gets its digest, and the full path if it is given as a path.

    Args:
        choice: `dataset` of a suite or column.
        dataset: Data set, restricted to the chosen classes.

    Raises:
        ParameterError: A condition is wrong or impossible with these data; the locations of its
            problems are relative to `dataset`.
    """
    if choice.per_class is not None and choice.train_size is not None:
        raise refused(
            ("per_class",), "cannot be given together with train_size; remove one of them"
        )
    noise = choice.label_noise
    if noise is not None and noise.asymmetric is not None:
        numbers = _map_numbers(noise.asymmetric, dataset)
        if numbers == list(range(len(numbers))):
            loc = MAP[:2] if noise.asymmetric.map is None else MAP
            raise refused(loc, "changes no class; map a class to another, or remove label_noise")
        resolved = AsymmetricNoise(rate=noise.asymmetric.rate, map=numbers)
        noise = noise.model_copy(update={"asymmetric": resolved})
    elif noise is not None and noise.file is not None:
        noise = _with_digest(noise, choice, dataset)
    choice = choice.model_copy(update={"label_noise": noise})
    training_labels(dataset, choice)
    return choice


def _with_digest(noise: LabelNoise, choice: DatasetChoice, dataset: Dataset) -> LabelNoise:
    if choice.classes is not None:
        raise refused(
            ("label_noise", "from"),
            "cannot be given together with `classes`: the file has labels of all classes",
        )
    _, digest = read_labels(dataset, noise)
    if noise.digest not in (None, digest):
        message = f"should be {digest}, that of the labels in {noise.file}, not {noise.digest}"
        raise refused(("label_noise", "digest"), message)
    file = noise.file
    assert file is not None
    if is_label_path(file):  # workers have another working directory
        file = str(find_label_file(file, dataset.data_root).resolve())
    return noise.model_copy(update={"digest": digest, "file": file})


def _map_numbers(noise: AsymmetricNoise, dataset: Dataset) -> list[int]:
    """Number of the class that images of each class are mistaken for; by default its own number.

    Raises:
        ParameterError: The map is unknown, leaves a class out, or names a class that does not
            exist.
    """
    given, names = noise.map, dataset.card.class_names
    if isinstance(given, list):
        if len(given) != len(names) or max(given) >= len(names):
            message = f"should have {len(names)} class numbers, each below {len(names)}"
            raise refused(MAP, message)
        return given
    if not isinstance(given, Mapping):
        return _usual_map(given, dataset)
    numbers = _class_numbers([*given, *given.values()], dataset)
    sources, targets = numbers[: len(given)], numbers[len(given) :]
    if len(set(sources)) < len(sources):
        raise refused(MAP, "a class is given twice, by name and by number")
    left_out = [name for k, name in enumerate(names) if k not in sources]
    if left_out and noise.unmapped == "refuse":
        raise refused(
            MAP,
            f"leaves out {len(left_out)} of {len(names)} classes: {_some(left_out)}; map them, "
            "too, or give `unmapped: keep` to keep their labels",
        )
    return _full_map(dict(zip(sources, targets, strict=True)), len(names))


def _class_numbers(classes: Sequence[int | str], dataset: Dataset) -> list[int]:
    names = dataset.card.class_names
    try:
        dataset.require_clear_numbers(classes)
        numbers = [dataset.class_numbers([k])[0] for k in classes]
    except ValueError as error:
        raise refused(MAP, str(error)) from None
    unknown = [k for k in numbers if k >= len(names)]
    if unknown:
        raise refused(MAP, f"there is no class {unknown[0]}, only 0 to {len(names) - 1}")
    return numbers


def _usual_map(name: str | None, dataset: Dataset) -> list[int]:
    """The map of a known data set, restricted to the chosen `classes`."""
    known = ", ".join(USUAL_MAPS)
    if name is None and dataset.card.name not in USUAL_MAPS:
        raise refused(
            ("label_noise", "asymmetric"),
            f"{dataset.card.name} has no usual map (known: {known}); give one, as in "
            "{rate: 0.4, map: {CLASS: CLASS, ...}}",
        )
    if name is not None and name not in USUAL_MAPS:
        message = f"no usual map is named {name!r}{did_you_mean(name, USUAL_MAPS)}"
        raise refused(MAP, message)
    chosen = USUAL_MAPS[name or dataset.card.name]
    names, everything = dataset.card.class_names, (dataset.unrestricted or dataset).card.class_names
    foreign = [k for k in dict.fromkeys([*chosen, *chosen.values()]) if k not in everything]
    if foreign:
        message = (
            f"{name or dataset.card.name} has classes that this data set lacks: {_some(foreign)}"
        )
        raise refused(MAP, message)
    here = {k: target for k, target in chosen.items() if k in names}
    lost = [f"{k} -> {target}" for k, target in here.items() if target not in names]
    if lost:
        raise refused(
            MAP if name else ("label_noise", "asymmetric"),
            f"`classes` leaves out classes that others are changed to: {_some(lost)}; give a map "
            "of the chosen classes",
        )
    pairs = {names.index(k): names.index(target) for k, target in here.items()}
    return _full_map(pairs, len(names))


def _full_map(pairs: Mapping[int, int], num_classes: int) -> list[int]:
    return [pairs.get(k, k) for k in range(num_classes)]


def condition_notes(
    dataset: Dataset,
    choice: DatasetChoice,
    chosen: Indices | None,
    holdout: Holdout,
    holdout_labels: HoldoutLabels,
) -> Iterator[str]:
    """Lines for the user on the conditions of the training set.

    Args:
        dataset: Data set, restricted to the chosen classes.
        choice: Its resolved conditions.
        chosen: Indices of all training images that are used, including the held-out part.
        holdout: Share that `selection` holds out, or `validation`; 0 without selection.
        holdout_labels: Labels that the held-out part is evaluated with.
    """
    labels = training_labels(dataset, choice)
    true = labels.true if labels.kept is None else labels.true[labels.kept]
    counts = np.bincount(true, minlength=dataset.card.num_classes)
    if choice.per_class is not None and choice.imbalance is None:
        yield f"per class: {choice.per_class:,} training images of each, {counts.sum():,} in all"
    if choice.imbalance is not None:
        yield (
            f"imbalance: {choice.imbalance.text}, {counts.max():,} to {counts.min():,} images per "
            f"class, {counts.sum():,} in all, seed {choice.imbalance.seed}"
        )
    if choice.label_noise is not None:
        yield (
            f"label noise: {_noise_text(choice.label_noise, labels, chosen, dataset)}"
            f"{_evaluated_with(choice, holdout, holdout_labels)}"
        )


def _noise_text(
    noise: LabelNoise, labels: TrainingLabels, chosen: Indices | None, dataset: Dataset
) -> str:
    used = slice(None) if chosen is None else chosen
    true, observed = labels.true[used], labels.observed[used]
    wrong = f"({int((true != observed).sum()):,} of {len(true):,} training labels are wrong)"
    if noise.asymmetric is not None:
        targets, names = noise.asymmetric.map, dataset.card.class_names
        assert isinstance(targets, list)
        pairs = [f"{names[k]} -> {names[to]}" for k, to in enumerate(targets) if k != to]
        return f"{noise.text} of each class in {_some(pairs)} {wrong}, seed {noise.seed}"
    return f"{noise.text} {wrong}" + (f", seed {noise.seed}" if noise.file is None else "")


def _evaluated_with(choice: DatasetChoice, holdout: Holdout, labels: HoldoutLabels) -> str:
    if not holdout or holdout == "validation" or not choice.has_noisy_labels:
        return ""
    which = "true labels" if labels == "clean" else "noisy labels"
    return f"; the held-out part is evaluated with its {which}"


def _some(names: Sequence[str]) -> str:
    """The first names of a list, and the number of the others."""
    shown = ", ".join(itertools.islice(names, MAX_NAMED))
    more = len(names) - MAX_NAMED
    return f"{shown} and {more} more" if more > 0 else shown
