"""The losses of pytorch-metric-learning by their own names: `pml.CircleLoss: {m: 0.4}`.

pytorch-metric-learning is an optional library and takes seconds to import: it is asked for when a
suite names one of its losses. Their parameters are those of its constructors, with its defaults.

Reference: Musgrave, Belongie, Lim: PyTorch Metric Learning, 2020.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, Field
from torch import Tensor, nn

from lossbench.errors import ParameterError, Problem, RequestError, did_you_mean
from lossbench.losses.base import LOSSES, LossHead, in_float32
from lossbench.losses.functional import unit_vectors
from lossbench.losses.joint import JointMetricHead
from lossbench.registry import Entry, parameters_model

REFERENCE = "Musgrave, Belongie, Lim: PyTorch Metric Learning, 2020"
LIBRARY = "pytorch-metric-learning"
REFUSED = {
    "VICRegLoss": "it compares two views of each image, and a batch has one",
    "ThresholdConsistentMarginLoss": "it is made to stand beside another loss",
    "DynamicSoftMarginLoss": "it changes its own state whenever it is computed",
    "P2SGradLoss": "it is for pairs of known sameness, without classes to choose from",
    "ManifoldLoss": "it is computed without labels",
    "SmoothAPLoss": "it wants the same number of images of every class in each batch",
}
"""Losses that cannot stand in a table, and why."""
PARTS = {
    "miner": ("miners", "BaseMiner"),
    "distance": ("distances", "BaseDistance"),
    "reducer": ("reducers", "BaseReducer"),
    "embedding_regularizer": ("regularizers", "BaseRegularizer"),
    "weight_regularizer": ("regularizers", "BaseRegularizer"),
}
"""Parameters that are objects of the library: its module, and their base class."""
_FROM_TABLE = {"num_classes", "embedding_size"}
_NOT_OFFERED = {"self", "kwargs", "args", "mat_based_loss", "collect_stats", "weight_init_func"}
_OWN = {"weight", "softmax_weight", "samples_per_class"}

Value = int | float | None


def metric_learning_entry(name: str) -> Entry[LossHead]:
    """The entry of a loss by the library's own name for it."""
    own = f"pml.{name}"
    if name in REFUSED:
        raise RequestError(f"loss {own!r} cannot be compared here: {REFUSED[name]}")
    made = _class("losses", name)
    head = ClassifierHead if hasattr(made, "get_logits") else MetricHead

    def create(num_classes: int, feature_dim: int, **params: Any) -> LossHead:
        return head(num_classes, feature_dim, name, params)

    create.__doc__ = f"{name} of {LIBRARY}.\n\n{inspect.getdoc(head)}"
    fields = dict(_fields(made, classifies=head is ClassifierHead))
    parameters = parameters_model(own, fields)
    return Entry("loss", own, create, REFERENCE, parameters, distribution=LIBRARY)


def any_of_pml() -> Entry[LossHead]:
    """An entry that stands for all of them in a list."""

    def create(num_classes: int, feature_dim: int) -> LossHead:
        """Any loss of pytorch-metric-learning; `list losses pml.CircleLoss` shows one."""
        raise NotImplementedError

    return Entry("loss", "pml.NAME", create, REFERENCE, parameters_model("pml", {}))


class ClassifierHead(LossHead):
    """A loss of the library that has weights or proxies of its own for the classes.

    L = weight * loss

    An image belongs to the class of the highest `get_logits`, which have no margin; their softmax
    need not be the posterior that the loss itself uses. The optimizer treats the loss's weights
    as it treats the model's.
    """

    def __init__(
        self, num_classes: int, feature_dim: int, name: str, params: dict[str, Any]
    ) -> None:
        super().__init__(num_classes, feature_dim)
        self.weight: float = params.pop("weight")
        self.miner: Any = _part("miner", params.pop("miner"))
        self.loss: Any = _made(name, params, num_classes=num_classes, embedding_size=feature_dim)
        # all but this one return distances where they are asked for distances
        falls = not self.loss.distance.is_inverted and name != "NormalizedSoftmaxLoss"
        self.sign = -1.0 if falls else 1.0

    @in_float32
    def terms(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        mined = self.miner(features, labels) if self.miner is not None else None
        return {"classification": self.weight * self.loss(features, labels, mined)}

    @in_float32
    def logits(self, features: Tensor) -> Tensor:
        scores: Tensor = self.sign * self.loss.get_logits(features)  # (N, K)
        return scores


class MetricHead(JointMetricHead):
    """A loss of the library on embeddings, added to softmax.

    L = softmax_weight * cross-entropy + weight * loss

    With `softmax_weight` 0 an image belongs to the class of the nearest mean embedding, of unit
    length where the loss's distance normalises.

    Deviations: where a batch has no pair of one class or none of two classes, or the miner finds
    none, some of the library's means are NaN; the loss is 0 there, as with our own losses.
    """

    def __init__(
        self, num_classes: int, feature_dim: int, name: str, params: dict[str, Any]
    ) -> None:
        super().__init__(
            num_classes,
            feature_dim,
            name,
            weight=params.pop("weight"),
            softmax_weight=params.pop("softmax_weight"),
            samples_per_class=params.pop("samples_per_class"),
        )
        self.miner: Any = _part("miner", params.pop("miner"))
        if name == "HistogramLoss":
            _require_bins(params["n_bins"], params["delta"])
        self.loss: Any = _made(name, params)
        if name == "HistogramLoss":
            _require_similarity(self.loss.distance)
            self.loss.compute_density = functools.partial(_density_within, self.loss)

    def metric(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        mined = self.miner(embeddings, labels) if self.miner is not None else None
        value: Tensor = self.loss(embeddings, labels, mined)
        if not value.isfinite() and embeddings.isfinite().all() and _lacks_pairs(labels, mined):
            return (0.0 * embeddings).sum()  # a mean over no pairs
        return value

    def metric_embedding(self, features: Tensor) -> Tensor:
        return unit_vectors(features) if self.loss.distance.normalize_embeddings else features


def _lacks_pairs(labels: Tensor, mined: tuple[Tensor, ...] | None) -> bool:
    """Whether a batch has no pair of one class or no pair of two, or the miner found none."""
    same = int((labels[:, None] == labels).sum())  # each image with itself, too
    if same == len(labels) or same == len(labels) ** 2:
        return True
    return mined is not None and any(len(indices) == 0 for indices in mined)


def _require_bins(count: float | None, width: float | None) -> None:
    """Refuse bins that do not fill HistogramLoss's range, -1 to 1: an image could be in none.

    Raises:
        ParameterError: They do not.
    """
    if count is None and width is None:
        return
    bins = count if count is not None else 2 / width if width else 0
    if not 1 <= round(bins) <= 1000 or abs(bins - round(bins)) > 1e-6:
        problem = "n_bins (or 2 / delta) should be a whole number from 1 to 1000"
        raise ParameterError("pml.HistogramLoss", [Problem((), problem)])


def _require_similarity(distance: Any) -> None:
    """Refuse a distance with values outside HistogramLoss's range, -1 to 1.

    Raises:
        ParameterError: It has some.
    """
    if not (distance.is_inverted and distance.normalize_embeddings and distance.p <= 2):
        problem = (
            "should be a similarity in [-1, 1], the range of the histogram: CosineSimilarity, or "
            "DotProductSimilarity of normalised embeddings, with p at most 2"
        )
        raise ParameterError("pml.HistogramLoss", [Problem(("distance",), problem)])


def _density_within(loss: Any, similarities: Tensor) -> Tensor:
    """HistogramLoss's density, where the library's index leaves the last bin at a cosine of 1."""
    last = (similarities.detach().float() + 1) / loss.delta >= round(2 / loss.delta)
    last &= similarities < 1 + 1e-5  # beyond rounding it is no cosine, and the library says so
    below = torch.where(last, 1 - 1e-4 * loss.delta, similarities)
    density: Tensor = type(loss).compute_density(loss, below)
    return density


def _made(name: str, params: dict[str, Any], **context: Any) -> Any:
    """The library's object.

    Raises:
        ParameterError: It refuses a combination of values.
    """
    values = {key: _part(key, value) if key in PARTS else value for key, value in params.items()}
    values = {key: value for key, value in values.items() if key not in PARTS or value is not None}
    try:
        return _class("losses", name)(**values, **context)
    except (TypeError, ValueError, AssertionError, NotImplementedError) as error:
        text = str(error).partition("\n")[0] or type(error).__name__
        raise ParameterError(f"pml.{name}", [Problem((), text)]) from None


def _part(key: str, chosen: dict[str, Any] | None) -> Any:
    if chosen is None:
        return None
    options = {name: value for name, value in chosen.items() if name != "name"}
    return _class(PARTS[key][0], chosen["name"])(**options)


def _library(module: str) -> Any:
    if importlib.util.find_spec("pytorch_metric_learning") is None:
        raise RequestError(f"losses pml.NAME need {LIBRARY}: pip install 'lossbench[pml]'")
    return importlib.import_module(f"pytorch_metric_learning.{module}")


def _class(module: str, name: str) -> Any:
    return getattr(_library(module), name)


def _names(module: str = "losses", base: str = "BaseMetricLossFunction") -> list[str]:
    found = vars(_library(module))
    root = next(c for c in _classes(found) for c in c.__mro__ if c.__name__ == base)
    other = {"GenericPairLoss", "EmbeddingsAlreadyPackagedAsTriplets", base}
    return [c.__name__ for c in _classes(found) if issubclass(c, root) and c.__name__ not in other]


def _classes(found: Mapping[str, Any]) -> Iterable[type]:
    return [value for value in found.values() if isinstance(value, type)]


def _fields(made: type, classifies: bool) -> Iterable[tuple[str, Any]]:
    """Parameter -> (type, field), as the registry's models are made."""
    number = Annotated[float, Field(ge=0)]
    yield "weight", (number, 1.0)
    if not classifies:
        yield "softmax_weight", (number, 1.0)
        yield "samples_per_class", (Annotated[int, Field(ge=2)], 4)
    for parameter in _signature(made):
        required = parameter.default is inspect.Parameter.empty
        if parameter.name in _FROM_TABLE | _NOT_OFFERED | _OWN | PARTS.keys():
            continue
        yield parameter.name, _field(parameter, required)
    for key, (module, base) in PARTS.items():
        if key == "weight_regularizer" and not classifies:
            continue
        check = AfterValidator(functools.partial(_checked_part, module=module, base=base))
        yield key, (Annotated[str | dict[str, Any] | None, check], None)


def _field(parameter: inspect.Parameter, required: bool) -> Any:
    default = ... if required else parameter.default
    if isinstance(default, bool):
        return bool, default
    if isinstance(default, str):
        return str, default
    if isinstance(default, int | float) or required:
        return int | float, default
    return Value, default


def _signature(made: type) -> list[inspect.Parameter]:
    """The constructor's parameters, with those that it hands on to its bases."""
    found: dict[str, inspect.Parameter] = {}
    for base in made.__mro__:
        if "__init__" in vars(base) and base not in (nn.Module, object):
            for parameter in inspect.signature(base.__init__).parameters.values():  # type: ignore[misc]
                found.setdefault(parameter.name, parameter)
    return list(found.values())


def _checked_part(value: Any, *, module: str, base: str) -> Any:
    """`MultiSimilarityMiner` or `{name: MultiSimilarityMiner, epsilon: 0.2}`, as the latter."""
    if value is None:
        return None
    chosen = {"name": value} if isinstance(value, str) else value
    if not isinstance(chosen.get("name"), str):
        raise ValueError("should be a name, or a mapping with a name")
    known = _names(module, base)
    if chosen["name"] not in known:
        raise ValueError(f"unknown name {chosen['name']!r}{did_you_mean(chosen['name'], known)}")
    made = _class(module, chosen["name"])
    options = {key: option for key, option in chosen.items() if key != "name"}
    offered = {p.name for p in _signature(made)} - _NOT_OFFERED - PARTS.keys()
    for key in options:
        if key not in offered:
            hint = did_you_mean(key, offered)
            raise ValueError(f"unknown key {key!r} of {chosen['name']}{hint}")
    try:
        made(**options)
    except Exception as error:  # the library's own words
        text = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"should be what {chosen['name']} takes: {text}") from None
    return chosen


LOSSES.provide("pml", metric_learning_entry, _names)
