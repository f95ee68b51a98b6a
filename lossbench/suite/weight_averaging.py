"""Key `recipe.weight_averaging`: which average of the weights is measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from lossbench.records import Strict

_DEFAULTS: dict[Any, dict[str, float]] = {"ema": {"decay": 0.999}, "swa": {"start": 0.75}}


class WeightAveraging(Strict):
    """Average of the weights during the training, which is measured in place of the last weights.

    Attributes:
        name: `ema`, an exponential moving average over all steps; `swa`, stochastic weight
            averaging, a mean over epochs (Izmailov et al., UAI 2018).
        decay: Weight of the average so far in each step, in [0, 1); 0.999 by default; a key of
            `ema`.
        start: Share of the training from which on the weights at the end of each epoch are
            averaged, in [0, 1); 0.75 by default; a key of `swa`.
    """

    name: Literal["ema", "swa"]
    decay: float | None = Field(default=None, ge=0, lt=1)
    start: float | None = Field(default=None, ge=0, lt=1)

    @model_validator(mode="before")
    @classmethod
    def _with_defaults(cls, value: Any) -> Any:
        """`ema` or `{name: ema, decay: 0.99}`."""
        given = {"name": value} if isinstance(value, str) else value
        if not isinstance(given, Mapping):
            raise ValueError(f"should be a name, or a mapping with a name, not {value!r}")
        name = given.get("name")
        return {**_DEFAULTS.get(name if isinstance(name, str) else None, {}), **given}

    @model_validator(mode="after")
    def _own_keys_only(self) -> WeightAveraging:
        [own] = _DEFAULTS[self.name]
        other = "start" if own == "decay" else "decay"
        if getattr(self, other) is not None:
            raise ValueError(f"{other} is no key of {self.name}, which has {own}")
        if getattr(self, own) is None:
            raise ValueError(f"{own} of {self.name} should be a number, not None")
        return self

    @model_serializer(mode="wrap")
    def _without_other_keys(self, to_dict: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in to_dict(self).items() if value is not None}

    @property
    def description(self) -> str:
        """Name of what is measured, as part of a sentence."""
        if self.name == "ema":
            return f"exponential moving average of the weights (decay {self.decay:g})"
        return (
            f"mean of the weights at the ends of the epochs from {100 * (self.start or 0):g} % of "
            "the training on (stochastic weight averaging)"
        )
