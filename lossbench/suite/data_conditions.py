"""Keys of `dataset` that change the training set: label noise, imbalance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from lossbench.records import Strict

Rate = Annotated[float, Field(ge=0, lt=1)]
Ratio = Annotated[float, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, le=10**9)]
ClassName = Annotated[int, Field(ge=0)] | str
"""A class by number, counted from 0, or by name."""


class AsymmetricNoise(Strict):
    """Label noise that changes labels of a class to those of one other class.

    Attributes:
        rate: Share of the images of each mapped class whose label is changed, in [0, 1).
        map: Class -> class that its images are mistaken for, by name or number; or a list of the
            latter classes by number, one for each class; or `cifar10`, `cifar100` or `mnist` for
            the usual map of these data. By default the usual map of the data set.
        unmapped: Whether the map may leave classes out. With `keep`, these keep their labels.
    """

    rate: Rate
    map: str | list[Annotated[int, Field(ge=0)]] | dict[ClassName, ClassName] | None = None
    unmapped: Literal["refuse", "keep"] = "refuse"

    @model_serializer(mode="wrap")
    def _without_unused_keys(self, to_dict: SerializerFunctionWrapHandler) -> dict[str, Any]:
        unused = {"unmapped": "refuse", "map": None}
        return {k: v for k, v in to_dict(self).items() if k not in unused or v != unused[k]}


def _asymmetric(value: Any) -> Any:
    """`0.4` or `{rate: 0.4, map: cifar10}`."""
    if isinstance(value, bool | str | list):
        raise ValueError("should be a rate, or a mapping with a rate and a map")
    return {"rate": value} if isinstance(value, int | float) else value


KINDS_OF_NOISE = ("symmetric", "asymmetric", "from")


class LabelNoise(Strict):
    """Wrong labels of training images; exactly one of `symmetric`, `asymmetric` and `from`.

    Attributes:
        symmetric: Share of the labels that are wrong, in [0, 1); the wrong label is any of the
            other classes with equal probability.
        asymmetric: Share of the images of a class that get the label of a similar class, in
            [0, 1), or a mapping with the keys below.
        file: File with a label for each training image, in the order of the data set: `.npy`,
            `.npz`, `.pt`, `.csv` or `.txt`. A path if it has a `/` or begins with `.`; otherwise a
            name in the data root.
        key: Name of the labels in a file with several arrays (`.npz`, `.pt`).
        digest: Digest of the labels in the file; other labels are refused. `plan` fills it in.
        seed: Seed of the draw, the same for every row and every seed of the suite.
    """

    symmetric: Rate | None = None
    asymmetric: Annotated[AsymmetricNoise, BeforeValidator(_asymmetric)] | None = None
    file: str | None = Field(default=None, alias="from", min_length=1)
    key: str | None = None
    digest: str | None = None
    seed: Seed = 0

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        given = (self.symmetric, self.asymmetric, self.file)
        kinds = [k for k, value in zip(KINDS_OF_NOISE, given, strict=True) if value is not None]
        if len(kinds) != 1:
            raise ValueError(f"should have one of {_listed(KINDS_OF_NOISE)}{_not_these(kinds)}")
        if self.file is None:
            for name in ("key", "digest"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name!r} is only for labels 'from' a file, not {kinds[0]}")
        elif "seed" in self.model_fields_set:
            raise ValueError("'seed' is only for labels that are drawn, not 'from' a file")
        return self

    @model_serializer(mode="wrap")
    def _without_unused_keys(self, to_dict: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content = {"from" if k == "file" else k: v for k, v in to_dict(self).items()}
        if self.file is not None:
            content.pop("seed", None)
        return {k: v for k, v in content.items() if v is not None}

    @property
    def rate(self) -> float | None:
        """Rate of drawn noise; None for labels from a file."""
        return self.symmetric if self.asymmetric is None else self.asymmetric.rate

    @property
    def changes_labels(self) -> bool:
        return self.rate != 0

    @property
    def text(self) -> str:
        """Short description: `symmetric, 40 %`."""
        if self.file is not None:
            name = self.file.rpartition("/")[2]
            return f"{self.key} of {name}" if self.key else f"labels of {name}"
        kind = "symmetric" if self.asymmetric is None else "asymmetric"
        return f"{kind}, {100 * (self.rate or 0):g} %"

    def identifying(self) -> dict[str, Any]:
        """Content that determines the labels: the digest of a file, not its path."""
        return {"digest": self.digest} if self.file is not None else self.model_dump(mode="json")


class Imbalance(Strict):
    """Classes of unequal size; exactly one of `long_tail` and `step`.

    Attributes:
        long_tail: Images of the first class divided by those of the last, at least 1. The sizes
            fall exponentially in the order of the classes.
        step: Images of a class of the first half divided by those of a class of the second half,
            at least 1.
        seed: Seed of the draw, the same for every row and every seed of the suite.
    """

    long_tail: Ratio | None = None
    step: Ratio | None = None
    seed: Seed = 0

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        kinds = [k for k in ("long_tail", "step") if getattr(self, k) is not None]
        if len(kinds) != 1:
            raise ValueError(f"should have one of 'long_tail' and 'step'{_not_these(kinds)}")
        return self

    @model_serializer(mode="wrap")
    def _without_unused_keys(self, to_dict: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {k: v for k, v in to_dict(self).items() if v is not None}

    @property
    def text(self) -> str:
        """Short description: `long tail 100`."""
        if self.long_tail is not None:
            return f"long tail {self.long_tail:,g}"
        return f"step {self.step:,g}"


def yaml_keys(model: type[Strict]) -> Mapping[str, str]:
    """Key in a suite file -> name of the field, of all fields of a model."""
    return {field.alias or name: name for name, field in model.model_fields.items()}


def _listed(names: tuple[str, ...]) -> str:
    return f"{', '.join(map(repr, names[:-1]))} and {names[-1]!r}"


def _not_these(kinds: list[str]) -> str:
    return f", not {' and '.join(map(repr, kinds))}" if kinds else ""
