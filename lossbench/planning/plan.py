"""Plan of a suite: its rows, columns and trials."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property

from lossbench.errors import ParameterError, RequestError
from lossbench.planning.changes import file_label
from lossbench.planning.head_requirements import DryRunHead, HeadKey, HeadRequirements, head_key
from lossbench.planning.look_record import LookRecord
from lossbench.planning.omitted_defaults import (
    OmittedDefaults,
    recipe_without_defaults,
    without_defaults,
)
from lossbench.planning.planned_column import PlannedColumn
from lossbench.planning.recipe_notes import unreached_milestones, weight_notes
from lossbench.planning.revisions import TrainingParts, revisions_of
from lossbench.planning.rows import Row
from lossbench.planning.search import Search, SearchPoints
from lossbench.planning.trial import PROTOCOL, PlannedEvaluation, Trial, digest_of
from lossbench.planning.tuning import BATCH_SIZE, tuned_recipe
from lossbench.records import Artifact, Metric, Plugin
from lossbench.registry import Notation
from lossbench.suite.columns import ColumnSettings, column_settings
from lossbench.suite.schema import Component, Holdout, LossEntry, Suite


@dataclass(frozen=True)
class Plan:
    """A checked suite with its rows, its columns, and the trials of its cells.

    Attributes:
        suite: Suite with every default filled in.
        rows: Rows in the suite's order, with grids expanded.
        table_digest: Digest of the data of the first column, with the validation set if
            `selection` chooses on it; part of the table's identity.
        metrics: Metrics of the evaluations, in the suite's order.
        artifacts: Arrays that the evaluations store, in the suite's order.
        columns: Variant -> digests, facts and evaluations of the column, also of those that
            `--only` leaves out; by default those of a suite that reads no other data.
        compared: Rows that the suite's `selection` tests in addition to the chosen ones; with
            `tune`, they have the recipe's own values and are not among `rows`.
        losses: Losses and searches that make the rows.
        only: Glob of `--only`; None for a plan of all cells.
        changes: Differences from the suite file, as in `recipe.epochs=3`, `only lgm*`.
        more_seeds: Seeds with stored results that the suite does not ask for.
        sources: Digests of the code of components from plugins, as in `Trial`.
        file_digests: Digests of the whole files of plugin components, as in `Trial`.
        plugins: Plugins of the command line.
        missing: Messages about data that are not on this machine. If there are any, the digests are
            empty and the identities of the trials are meaningless.
        head_requirements: Extra training requirements of each row's head; see `head_key`.
        unusable_heads: Reason why the dry run of a row's head failed. Only rows that a search
            proposes after its first round can be here; other rows with a failure are refused when
            the suite is checked.
        dry_run_head: Dry run of a single head; None if the data are missing.
        search_points: Points that the searches have proposed so far, stored ones included, by
            `searched_rows.search_identity`.
        search_notes: A line if stored points of searches differ from those of a replay.
        limits: (loss name, parameter) -> smallest and largest valid value, each possibly None.
        notation: Loss name -> name and symbols of the paper, for LaTeX tables.
        omitted: Defaults that the suite has and its trials leave out.
        looks: Stored record of the seeds that are added until the table is decided, which begin
            with the suite's; None if there is none. It is loaded with the results.
        other_looks: Stored records of the same table that begin with other seeds.
    """

    suite: Suite
    rows: tuple[Row, ...]
    table_digest: str
    metrics: tuple[Metric, ...]
    artifacts: tuple[Artifact, ...] = ()
    columns: Mapping[str, PlannedColumn] = field(default_factory=dict)
    compared: tuple[Row, ...] = ()
    losses: tuple[LossEntry | Search, ...] = ()
    only: str | None = None
    changes: tuple[str, ...] = ()
    more_seeds: tuple[int, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    file_digests: Mapping[str, str] = field(default_factory=dict)
    plugins: tuple[Plugin, ...] = ()
    missing: tuple[str, ...] = ()
    limits: Mapping[tuple[str, str], tuple[float | None, float | None]] = field(
        default_factory=dict
    )
    head_requirements: Mapping[HeadKey, HeadRequirements] = field(default_factory=dict)
    unusable_heads: Mapping[HeadKey, str] = field(default_factory=dict)
    dry_run_head: DryRunHead | None = field(default=None, compare=False, repr=False)
    search_points: Mapping[str, SearchPoints] = field(default_factory=dict)
    search_notes: tuple[str, ...] = ()
    notation: Mapping[str, Notation] = field(default_factory=dict)
    omitted: OmittedDefaults = field(default_factory=dict)
    looks: LookRecord | None = None
    other_looks: tuple[LookRecord, ...] = ()

    def __post_init__(self) -> None:
        missing = [name for name in self.suite.variants if name not in self.columns]
        if missing:
            holdout = self.suite.selection.holdout if self.suite.selection else 0.0
            made = {
                name: PlannedColumn(
                    data_digest=self.table_digest,
                    holdout=holdout,
                    evaluations=tuple(
                        PlannedEvaluation(name=chosen.name, params=chosen.params)
                        for chosen in self.settings[name].evaluate
                    ),
                )
                for name in missing
            }
            object.__setattr__(self, "columns", {**self.columns, **made})

    @cached_property
    def settings(self) -> Mapping[str, ColumnSettings]:
        """Variant -> complete settings of the column."""
        return {name: column_settings(self.suite, name) for name in self.suite.variants}

    @cached_property
    def table_identity(self) -> str:
        """Hash of the suite's name, data, recipe, selection and tuned keys; the table's run is
        found by it."""
        shared = self.suite.model_dump(
            mode="json", include={"suite", "recipe", "selection", "tune"}
        )
        shared["dataset"] = self.suite.dataset.identifying()
        if shared["selection"]:
            for key, absent in (("samples", None), ("stop_early", False)):
                if shared["selection"][key] == absent:
                    del shared["selection"][key]
            for compared in shared["selection"]["compare"]:
                compared.pop("label", None)
        # `digest_of` also adds the protocol; this one is kept so that stored tables are found
        return digest_of({**shared, "data_digest": self.table_digest, "protocol": PROTOCOL})

    @property
    def has_variants(self) -> bool:
        """Whether the suite has variants; otherwise the table has a single unnamed column."""
        return self.suite.has_variants

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on the use of the data, one line each, with the columns that they apply to."""
        return self.by_column(lambda variant: self.columns[variant].facts.notes)

    @property
    def weight_notes(self) -> tuple[str, ...]:
        """Lines on an average of the weights that is measured, with the columns they apply to."""
        return self.by_column(lambda v: weight_notes(self.settings[v].recipe))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Caveats about the numbers, one line each, with the columns that they apply to."""
        return self.by_column(self.column_warnings)

    def column_warnings(self, variant: str) -> tuple[str, ...]:
        """Caveats about the numbers of a column, one line each."""
        recipe = self.settings[variant].recipe
        recipes = [tuned_recipe(recipe, r.tuned) for r in self.all_rows if r.applies_to(variant)]
        unreached = dict.fromkeys(text for each in recipes for text in unreached_milestones(each))
        return (*self.columns[variant].facts.warnings, *unreached)

    @property
    def all_rows(self) -> tuple[Row, ...]:
        """The rows, and those to compare that are not among them."""
        return (*self.rows, *(row for row in self.compared if row not in self.rows))

    def by_column(self, lines_of: Callable[[str], Iterable[str]]) -> tuple[str, ...]:
        """The distinct lines of all columns, with the names of their columns if not of all.

        Args:
            lines_of: Returns the lines of a column, given its name.
        """
        columns: dict[str, list[str]] = {}
        for variant in self.suite.variants:
            for line in dict.fromkeys(lines_of(variant)):
                columns.setdefault(line, []).append(variant)
        whole = len(self.suite.variants)
        return tuple(
            line if len(variants) == whole else f"{', '.join(variants)}: {line}"
            for line, variants in columns.items()
        )

    @property
    def label(self) -> str:
        """Name for files: `digits`, or `digits@recipe.epochs=3` if the suite was changed."""
        return file_label(self.suite.suite, self.changes)

    @property
    def expanded_suite(self) -> Suite:
        """The suite with its grids expanded and with all defaults of its losses.

        A suite with a search in `tune` keeps its losses as they are written.
        """
        if any(search.tuned for search in self.searches):
            return self.suite
        losses = {
            row.loss.model_dump_json(): LossEntry(**dict(row.loss), label=row.entry_label)
            for row in self.rows
        }
        return self.suite.model_copy(update={"losses": list(losses.values())})

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """The trials to run first: all of them, or with `selection` those on the held-out part.

        With a record of looks, each cell has the seeds recorded for it.
        """
        if self.looks is not None:
            return tuple(
                self.trial(row, variant, seed)
                for each in self.looks.rounds
                for seed, variant, row in itertools.product(
                    each.seeds, self.suite.variants, self.rows
                )
                if self.cell_identities.get((variant, row.label)) in each.cells
            )
        first, *others = self.suite.seeds
        cells = [
            self.trial(row, variant, first, self.columns[variant].holdout)
            for variant, row in itertools.product(self.suite.variants, self.rows)
            if row.applies_to(variant)
        ]
        return (*cells, *(trial.with_seed(seed) for seed in others for trial in cells))

    @cached_property
    def cell_identities(self) -> dict[tuple[str, str], str]:
        """(variant, row label) -> identity of the cell, which is that of its training of seed 0."""
        return {
            (variant, row.label): self.trial(row, variant, 0).identity
            for variant, row in itertools.product(self.suite.variants, self.rows)
            if row.applies_to(variant)
        }

    @property
    def searches(self) -> tuple[Search, ...]:
        return tuple(loss for loss in self.losses if isinstance(loss, Search))

    @property
    def selection_metric(self) -> Metric | None:
        """The metric by which `selection` chooses; None without `selection`."""
        if self.suite.selection is None:
            return None
        [metric] = [m for m in self.metrics if m.name == self.suite.selection.metric]
        return metric

    def variants_with(self, metric: Metric) -> tuple[str, ...]:
        """Names of the columns in which a metric is measured."""
        return tuple(
            name
            for name in self.suite.variants
            if any(
                metric.name in (evaluation.metrics or [metric.name])  # unknown without a check
                for evaluation in self.columns[name].evaluations
            )
        )

    def with_rows(self, rows: tuple[Row, ...]) -> Plan:
        """The plan with other rows; new heads go through a dry run."""
        requirements, unusable = dict(self.head_requirements), dict(self.unusable_heads)
        for row, variant in itertools.product(rows, self.suite.variants):
            key = head_key(variant, row.loss)
            known = key in requirements or key in unusable
            if self.dry_run_head is None or known or not row.applies_to(variant):
                continue
            try:
                requirements[key] = self.dry_run_head(variant, row.loss)
            except ParameterError as error:
                unusable[key] = str(error)
        return replace(self, rows=rows, head_requirements=requirements, unusable_heads=unusable)

    def model_with_weights_digest(self, variant: str) -> Component:
        """A variant's model with the digest of its initial weights instead of their path."""
        model, digest = self.settings[variant].model, self.columns[variant].weights_digest
        if not digest:
            return model
        params = {key: value for key, value in model.params.items() if key != "checkpoint"}
        return Component(name=model.name, params={**params, "weights": digest})

    def narrowed(self, only: str) -> Plan:
        """The plan with only those rows and variants that a glob matches.

        Args:
            only: Glob for rows (by label, entry or loss name), or a glob for each part of
                VARIANT/ROW.

        Raises:
            RequestError: No cell matches.
        """
        wanted = [
            (name, row)
            for name in self.suite.variants
            for row in self.rows
            if row.applies_to(name) and matches(only, name, row.label, row.entry, row.loss.name)
        ]
        variants = {n: v for n, v in self.suite.variants.items() if any(n == w for w, _ in wanted)}
        rows = tuple(row for row in self.rows if any(row is w for _, w in wanted))
        if not variants or not rows:
            cells = (
                f"{variant}/{row.label}" for variant in self.suite.variants for row in self.rows
            )
            raise RequestError(f"--only {only}: matches no cell of {', '.join(cells)}")
        return replace(
            self,
            suite=self.suite.model_copy(update={"variants": variants}),
            rows=rows,
            compared=tuple(
                row
                for row in self.compared
                if row in rows
                or (
                    row not in self.rows
                    and any(matches(only, n, row.label, row.entry, row.loss.name) for n in variants)
                )
            ),
            only=only,
            looks=None,  # of the whole table
            other_looks=(),
        )

    def trial(self, row: Row, variant: str, seed: int, holdout: Holdout = 0.0) -> Trial:
        """The trial of a cell with a seed."""
        suite, column, settings = self.suite, self.columns[variant], self.settings[variant]
        recipe, augment = settings.recipe, settings.augment
        model = without_defaults("model", settings.model, self.omitted)
        used = {f"loss {row.loss.name}", f"model {model.name}"}
        used |= {f"augmentation {chosen.name}" for chosen in augment}
        used |= {f"optimizer {recipe.optimizer.name}", f"schedule {recipe.schedule.name}"}
        stop_early = bool(holdout and suite.selection and suite.selection.stop_early)
        recipe, facts = tuned_recipe(recipe, row.tuned), column.facts
        recipe = recipe_without_defaults(recipe, self.omitted)
        if BATCH_SIZE in row.tuned:
            facts = replace(facts, steps=facts.tuned_steps.get(recipe.batch_size, {}))
        parts = TrainingParts(recipe, augment, row.loss, holdout, stop_early, facts)
        on_validation = holdout == "validation"
        return Trial(
            suite=suite.suite,
            variant=variant,
            row=row.label,
            entry_label=row.entry_label,
            loss=row.loss,
            model=model,
            recipe=recipe,
            augment=augment,
            dataset=settings.dataset,
            data_digest=column.validation_digest if on_validation else column.data_digest,
            weights_digest=column.weights_digest,
            sources=_only(used, self.sources),
            file_digests=_only(used, self.file_digests),
            revisions=revisions_of(parts),
            holdout=holdout,
            holdout_labels=suite.selection.holdout_labels
            if holdout and suite.selection
            else "noisy",
            stop_early=stop_early,
            evaluate=column.evaluations,
            keep_weights=suite.keep_weights,
            threads=suite.resources.cpus,
            workers=suite.resources.workers,
            seed=seed,
        )


def matches(only: str, variant: str, *row_names: str) -> bool:
    """Whether the glob of `--only` matches a cell.

    Args:
        only: A glob for the row, or VARIANT/ROW.
        variant: Name of the column.
        row_names: Names of the row, one of which has to match: its label, its entry, its loss.
    """
    variant_glob, separator, row_glob = only.rpartition("/")
    return fnmatchcase(variant, variant_glob if separator else "*") and any(
        name == row_glob or fnmatchcase(name, row_glob)  # a label may have [ or *
        for name in row_names
    )


def _only(keys: Set[str], digests: Mapping[str, str]) -> dict[str, str]:
    return {key: digests[key] for key in sorted(keys & digests.keys())}
