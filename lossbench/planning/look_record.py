"""Record of a table's looks: the seeds that `run --until-decided` adds, round by round."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from lossbench.planning.trial import digest_of
from lossbench.records import Strict

MAX_SEEDS = 1000
"""Largest number of seeds of a cell."""
Seed = Annotated[int, Field(ge=0, lt=2**31)]
CellIdentity = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


class LookRound(Strict):
    """Seeds that are added before a look at the table, and the cells that get them.

    Attributes:
        seeds: Added seeds.
        cells: Identities of the cells; see `Plan.cell_identities`.
    """

    seeds: tuple[Seed, ...] = Field(min_length=1, max_length=MAX_SEEDS)
    cells: tuple[CellIdentity, ...] = Field(min_length=1)


class LookRecord(Strict):
    """Rounds of a table, each recorded before its trials start.

    Attributes:
        table: Identity of the table without its seeds; see `looks.table_identity`.
        metric: Name of the metric that decides.
        max_seeds: Number of seeds per cell at which the rounds end.
        min_effect: The suite's `min_effect` of the metric; None if the suite has none.
        rounds: The rounds so far, first the suite's own seeds for all cells.
    """

    table: CellIdentity
    metric: str = Field(min_length=1, max_length=200)
    max_seeds: int = Field(ge=1, le=MAX_SEEDS)
    min_effect: float | None = Field(default=None, gt=0)
    rounds: tuple[LookRound, ...] = Field(min_length=1, max_length=MAX_SEEDS)

    @model_validator(mode="after")
    def _distinct_seeds(self) -> LookRecord:
        if len(self.seeds) < sum(len(each.seeds) for each in self.rounds):
            raise ValueError("rounds: a seed is added twice")
        if len(self.seeds) > self.max_seeds:
            raise ValueError("rounds: more seeds than max_seeds")
        return self

    @property
    def identity(self) -> str:
        """Hash of the table and its first seeds: other first seeds start anew."""
        return digest_of({"table": self.table, "first_seeds": sorted(self.rounds[0].seeds)})

    @property
    def seeds(self) -> frozenset[int]:
        """The seeds of all rounds."""
        return frozenset(seed for each in self.rounds for seed in each.seeds)

    def starts_with(self, other: LookRecord) -> bool:
        """Whether this record is the other one, perhaps with further rounds or cells."""
        both = (self, other)
        fixed = [(r.table, r.metric, r.max_seeds, r.min_effect) for r in both]
        return (
            fixed[0] == fixed[1]
            and len(other.rounds) <= len(self.rounds)
            and all(
                own.seeds == there.seeds and set(own.cells) >= set(there.cells)
                for own, there in zip(self.rounds, other.rounds, strict=False)
            )
        )
