"""Strict models of a suite file.

A suite is a table: its rows are losses, its columns are variants of anything else, its cells are
trials over seeds. The models check only the form of the file; `lossbench.assembly` checks whether
names exist and accept the given parameters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from lossbench.records import Strict
from lossbench.suite.components import (
    AugmentList,
    KeyedComponent,
    LabelledLoss,
    NamedComponent,
)
from lossbench.suite.components import Component as Component
from lossbench.suite.components import LossEntry as LossEntry
from lossbench.suite.data_conditions import Imbalance, LabelNoise
from lossbench.suite.origin import Origin
from lossbench.suite.weight_averaging import WeightAveraging


def _dataset(value: Any) -> Any:
    if not isinstance(value, str | Mapping | DatasetChoice):
        raise ValueError(f"should be a name, or a mapping with a name, not {value!r}")
    return {"name": value} if isinstance(value, str) else value


def _distinct(values: list[Any]) -> list[Any]:
    repeated = dict.fromkeys(value for value in values if values.count(value) > 1)
    if repeated:
        raise ValueError(f"given twice: {', '.join(map(str, repeated))}")
    return values


Distinct = AfterValidator(_distinct)
Holdout = float | Literal["validation"]
"""Share of the training set, or the validation set of the data set."""
HoldoutLabels = Literal["noisy", "clean"]
"""Labels that held-out training images are evaluated with, if there is label noise."""
NonNegativeInt = Annotated[int, Field(ge=0)]
ONLY_COLUMN = "default"
"""Name of the single column of a suite without variants."""


class DatasetChoice(Strict):
    """The data set, or a part of it.

    Attributes:
        name: Name of a known data set, or name or path of a folder.
        classes: Classes to use, by name or by number (counted from 0); by default all.
        train_size: Number of training images to use, the same share of each class; by default all.
        test_size: Number of test images to use, the same share of each class; by default all.
        missing_test_classes: Whether classes of an image folder may have no test images or no
            validation images. With `allow` they are not measured, and `plan` names them.
        per_class: Number of training images to use of each class; by default all.
        imbalance: Classes of unequal size: `{long_tail: RATIO}` or `{step: RATIO}`.
        label_noise: Wrong labels of training images: `{symmetric: RATE}`, `{asymmetric: RATE}` or
            `{from: FILE}`. Test and validation set keep their labels.
    """

    name: str
    classes: Annotated[list[NonNegativeInt | str], Field(min_length=2), Distinct] | None = None
    train_size: int | None = Field(default=None, ge=1)
    test_size: int | None = Field(default=None, ge=1)
    missing_test_classes: Literal["refuse", "allow"] = "refuse"
    per_class: int | None = Field(default=None, ge=1)
    imbalance: Imbalance | None = None
    label_noise: LabelNoise | None = None

    @model_serializer(mode="wrap")
    def _without_unused_keys(self, to_dict: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out conditions of the training set that are not set; see `identifying`."""
        content: dict[str, Any] = to_dict(self)
        return {k: v for k, v in content.items() if k not in CONDITIONS or v is not None}

    @property
    def has_noisy_labels(self) -> bool:
        return self.label_noise is not None and self.label_noise.changes_labels

    def identifying(self) -> dict[str, Any]:
        """Content that determines the images and labels, together with the digest of the data.

        Conditions of the training set that are not set are left out, so that trials without them
        have the identity of earlier versions; so is label noise of rate 0.
        """
        content = self.model_dump(mode="json")
        for key in ("name", "missing_test_classes"):  # the digest identifies the data
            del content[key]
        if self.label_noise is not None:
            content["label_noise"] = self.label_noise.identifying()
            if not self.label_noise.changes_labels:
                del content["label_noise"]
        return content


CONDITIONS = ("per_class", "imbalance", "label_noise")
"""Keys of `dataset` that change the training set and are left out if they are not set."""


class Input(Strict):
    """Size and scaling of the images that the model receives.

    Attributes:
        resize: Length to which the shorter side is resized; by default images are not resized.
        crop: Side of the central square that is cropped after resizing; by default none.
            Augmentations that crop use this size during training.
        mean, std: Numbers of x -> (x - mean) / std for pixels in [0, 255]: one number, or one per
            channel. Multiply numbers for pixels in [0, 1], such as torchvision's, by 255.
    """

    resize: int | None = Field(default=None, ge=1, le=10_000)
    crop: int | None = Field(default=None, ge=1, le=10_000)
    mean: float | list[float] = 0.0
    std: Annotated[float, Field(gt=0)] | list[Annotated[float, Field(gt=0)]] = 255.0


class Recipe(Strict):
    """Training settings that are the same for every row of a column.

    Attributes:
        epochs: Number of passes over the training set.
        batch_size: Images per step; an incomplete last batch is used as well.
        optimizer: Optimizer and its parameters.
        schedule: Schedule of the learning rate.
        clip_norm: Largest L2 norm of the gradient of all trained parameters of model and loss
            together; a longer gradient is scaled down to it before the optimizer's step. By
            default gradients are not clipped.
        weight_averaging: Average of the weights that is measured and stored in place of the last
            weights, as in `{name: ema, decay: 0.999}` or `{name: swa, start: 0.75}`; the training
            itself goes on with the weights of the last step. By default no average.
        input: Size and scaling of the images.
        precision: Precision of the model during training; the loss and all measurements are
            computed in float32.
        compile: Whether model and loss are compiled for training (torch.compile). This takes
            about a minute at the start of every trial and makes steps faster. On CPUs it needs a
            C++ compiler.
    """

    epochs: int = Field(ge=1, le=1_000_000)
    batch_size: int = Field(ge=2, le=10_000_000)
    optimizer: NamedComponent
    schedule: NamedComponent = Component(name="constant")
    clip_norm: float | None = Field(default=None, gt=0)
    weight_averaging: WeightAveraging | None = None
    input: Input = Input()
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False

    @model_serializer(mode="wrap")
    def _without_unused_keys(self, to_dict: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out later keys that are not set: identities hash the keys of a recipe."""
        content: dict[str, Any] = to_dict(self)
        unused = [key for key in ("clip_norm", "weight_averaging") if getattr(self, key) is None]
        return {key: value for key, value in content.items() if key not in unused}


def _overlay(value: Any) -> Any:
    """`cifar10` or `{name: cifar10}`."""
    return {"name": value} if isinstance(value, str) else value


Overlay = Annotated[dict[str, Any], BeforeValidator(_overlay)]
"""Keys that replace those of the suite."""


class Variant(Strict):
    """A column: its differences from the suite. See `suite.columns.column_settings`.

    Attributes:
        dataset: Keys that replace those of the suite's `dataset`, such as another `name`.
        model: Parameters that replace those of the suite's model; another `name` replaces the
            model with all its parameters.
        augment: List of augmentations, or `none`; by default those of the suite.
        recipe: Keys that replace those of the suite's `recipe`. In `optimizer` and `schedule`,
            parameters replace those of the suite, and another `name` replaces all of them.
        evaluate: Evaluations; by default those of the suite.
    """

    dataset: Overlay = Field(default={})
    model: Overlay = Field(default={})
    augment: AugmentList | None = None
    recipe: dict[str, Any] = Field(default={})
    evaluate: list[KeyedComponent] | None = Field(default=None, min_length=1)

    @model_serializer(mode="wrap")
    def _without_unused_keys(self, to_dict: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is not set: digests hash the keys of a variant."""
        content: dict[str, Any] = to_dict(self)
        unused = [key for key in ("dataset", "recipe", "evaluate") if not getattr(self, key)]
        return {key: value for key, value in content.items() if key not in unused}


class Resources(Strict):
    """Resources of one trial.

    Attributes:
        cpus: CPU threads per worker.
        gpus: GPUs per worker, possibly a fraction. `auto`: 1 if there is a GPU, else 0.
        workers: Number of processes that train one trial, each on its share of every batch.
    """

    cpus: int = Field(default=1, ge=1)
    gpus: Annotated[float, Field(ge=0, le=1)] | Literal["auto"] = "auto"
    workers: int = Field(default=1, ge=1)


class Selection(Strict):
    """Choice of each loss's parameters without the test set.

    Attributes:
        holdout: Share of each class's training images that is held out, or `validation` to use the
            validation set of the data set. By default the validation set if there is one, else 0.2.
        metric: Metric to choose by; the best mean over the seeds is chosen.
        samples: Number of points that the `search` in a loss and in `tune` proposes for each loss
            and column.
        holdout_labels: Labels that held-out training images are evaluated with, if
            `dataset.label_noise` makes labels wrong: `noisy`, those that training would see, or
            `clean`, the true ones. The images are the same.
        stop_early: Prune held-out rows that are behind (successive halving). After 5/8 and after
            3/4 of the epochs the rows of a loss in a column are compared by their mean held-out
            error over the seeds; the better half continues, the others are pruned with all
            their seeds. Needs `metric: error`. A pruned trial has no metrics, and its row cannot
            be chosen.
        compare: Rows of the suite that are tested in addition to the chosen ones, for example with
            a paper's own values. With `tune` they have the recipe's own values.
    """

    holdout: Annotated[float, Field(gt=0, lt=1)] | Literal["validation"] = 0.2
    metric: str = "error"
    samples: int | None = Field(default=None, ge=2, le=1000)
    holdout_labels: HoldoutLabels = "noisy"
    stop_early: bool = False
    compare: list[LabelledLoss] = Field(default=[])

    @model_serializer(mode="wrap")
    def _without_unused_keys(self, to_dict: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the default of `holdout_labels`: tables are found by a hash of the keys."""
        content: dict[str, Any] = to_dict(self)
        if self.holdout_labels == "noisy":
            content.pop("holdout_labels", None)
        return content


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"{text!r}: has characters that cannot be printed")
    return text


def _usable_names(variants: dict[str, Variant]) -> dict[str, Variant]:
    for name in variants:
        if not re.fullmatch(r"[\w.+ -]+", name):
            raise ValueError(f"{name!r}: use letters, digits, spaces, and . + - _ only")
        if len(name) > 100:
            raise ValueError(f"{name[:20] + '...'!r}: should be at most 100 characters")
    return variants


class Suite(Strict):
    """A suite file. See `suites/` for examples.

    Attributes:
        suite: Name of the suite in MLflow and of its folder in `reports/`.
        title: Title of the table.
        dataset: Data set, by name or as a mapping.
        model: Network that maps images to features; the same for every row of a column.
        augment: Augmentations of the training images; by default none.
        recipe: Training settings; the same for every row of a column, except for the keys in
            `tune`.
        variants: Columns of the table, by name: differences in anything but the losses.
        seeds: Seeds; each cell is trained once per seed.
        reference: Name or label of the loss whose row all others are compared with.
        losses: Rows of the table. A parameter may be `{grid: [...]}`, one row per value, or
            `{search: ...}`, values or `{low, high, log}` to choose from under `selection`. The key
            `label` is the printed name of a row instead of the loss's, as in
            `lgm: {alpha: 0.3, label: ours}`.
        evaluate: Evaluations after the last epoch.
        selection: Choice of each loss's parameters without the test set.
        tune: Keys of the recipe that are chosen for each loss under `selection`, as in
            `recipe.optimizer.lr: {grid: [0.01, 0.1]}` or
            `recipe.optimizer.lr: {search: {low: 0.003, high: 0.3, log: true}}`: parameters of the
            optimizer and the schedule, `batch_size`, `epochs` and `clip_norm`. Every loss gets the
            same number of points.
        min_effect: Metric -> largest difference between two rows that counts as none, in the
            metric's unit (percentage points for percentages): rows that differ by less are
            equivalent. For shares of test images the default is the standard error of the
            reference row's share on the test set; other metrics have no default. New baselines
            of `lossbench check` take it, too.
        published: Name of the published numbers to show next to the results, or one per metric.
        keep_weights: Whether the trained weights are stored, so that evaluations added later can be
            measured without training again.
        resources: Resources of one trial.
    """

    suite: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=100)
    title: Annotated[str, Field(max_length=300), AfterValidator(_printable)] = ""
    dataset: Annotated[DatasetChoice, BeforeValidator(_dataset)]
    model: NamedComponent
    augment: AugmentList = Field(default=[])
    recipe: Recipe
    variants: Annotated[dict[str, Variant], AfterValidator(_usable_names)] = Field(
        default={ONLY_COLUMN: Variant()}, min_length=1
    )
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Distinct] = Field(
        default=[0, 1, 2], min_length=1
    )
    reference: str | None = None
    losses: list[LabelledLoss] = Field(min_length=1)
    evaluate: list[KeyedComponent] = Field(default=[Component(name="error")], min_length=1)
    selection: Selection | None = None
    tune: dict[str, Any] = Field(default={})
    min_effect: dict[str, Annotated[float, Field(gt=0)]] = Field(default={})
    published: str | dict[str, str] | None = None
    keep_weights: bool = True
    resources: Resources = Resources()

    _origin: Origin = PrivateAttr(default_factory=Origin)

    @model_serializer(mode="wrap")
    def _without_unused_keys(self, to_dict: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is not set: digests hash the keys of a suite."""
        content: dict[str, Any] = to_dict(self)
        for key in ("augment", "tune"):
            if not getattr(self, key):
                content.pop(key, None)
        return content

    @property
    def origin(self) -> Origin:
        """Location of each key in the suite file or on the command line."""
        return self._origin

    def with_origin(self, origin: Origin) -> Suite:
        """Copy of the suite whose error messages use the locations in `origin`."""
        suite = self.model_copy()
        suite._origin = origin
        return suite

    @property
    def has_variants(self) -> bool:
        """Whether the suite has variants; otherwise its table has a single unnamed column."""
        return list(self.variants) != [ONLY_COLUMN]
