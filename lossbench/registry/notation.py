"""Notation of a loss: its title and its symbols, for LaTeX tables."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_GREEK = (
    "alpha|beta|gamma|delta|epsilon|varepsilon|zeta|eta|theta|kappa|lambda|mu|nu|xi|pi|rho|sigma|"
    "tau|phi|varphi|chi|psi|omega"
)
Symbol = Annotated[str, Field(pattern=rf"^(\\({_GREEK})|[A-Za-z])(_[A-Za-z0-9])?$")]
"""A letter in LaTeX's math mode, perhaps with an index."""


class Notation(BaseModel):
    r"""Name and symbols of a loss in its paper, for LaTeX tables.

    Attributes:
        title: Name with its usual spelling, as in `L-GM`; empty for the name in suites.
        symbols: Parameter -> symbol of the paper; parameters for which it has none are left out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    title: str = Field(default="", max_length=60)
    symbols: dict[str, Symbol] = Field(default={})
