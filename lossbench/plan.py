"""Suite -> list[Trial]: losses x grids x variants x seeds, each frozen and hashed."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, Literal

from lossbench.errors import Problem, RequestError
from lossbench.needs import Needs
from lossbench.suite import Component, DatasetChoice, Recipe, Strict, Suite

PROTOCOL = 4
"""Part of every trial's identity. Raise it when the same trial would give other numbers."""


class Metric(Strict):
    """A number that a suite's evaluations give for each trial.

    Attributes:
        name: As in JSON and MLflow: `error`, `fgsm_0.3_eer`.
        label: As in a heading: `equal error rate, FGSM, ε = 0.3`.
        unit: Of what it is a share, `% of images`, or empty.
        higher_is_better: Else lower is.
    """

    name: str
    label: str
    unit: str = "% of images"
    higher_is_better: bool = False


class Artifact(Strict):
    """Arrays that a suite's evaluations store for each trial, for the report to draw.

    Attributes:
        name: Of the file, without `.npz`.
        kind: `detection`: how far other inputs can be told from normal ones.
        title: What the other inputs are.
    """

    name: str
    kind: Literal["detection"]
    title: str


class Trial(Strict):
    """One training: one cell of the table at one seed.

    Attributes:
        suite, variant, row: Labels. They are no part of the identity.
        loss, model, recipe, augment: With every default filled in.
        dataset, data_digest: What it is trained on; the digest covers every pixel and label.
        other_digests: Of the other data that its evaluations read, by the name in the suite.
        weights_digest: Of the file that the model starts from; empty: it is drawn at random.
        holdout: Share of the training set that is held out and measured instead of the test set;
            0 trains on everything and measures on the test set.
        evaluate: What is measured after the last epoch.
        threads: CPU threads of the training; another count gives other bits.
        workers: Processes that train it together.
        seed: Of initialisation, batch order and augmentation.
    """

    suite: str
    variant: str
    row: str
    loss: Component
    model: Component
    recipe: Recipe
    augment: tuple[Component, ...]
    dataset: DatasetChoice
    data_digest: str
    other_digests: dict[str, str]
    weights_digest: str = ""
    holdout: float
    evaluate: tuple[Component, ...]
    threads: int
    workers: int
    seed: int

    @property
    def identity(self) -> str:
        """Hash of everything that determines the numbers; digests stand for data and weights."""
        content = self.model_dump(mode="json", exclude={"suite", "variant", "row"})
        del content["dataset"]["name"]
        if self.weights_digest:
            content["model"]["params"].pop("checkpoint", None)
        else:
            del content["weights_digest"]
        return _digest(content)

    @property
    def name(self) -> str:
        """`variant/row/seed0`, with `/holdout` where a held-out part is measured."""
        stage = "/holdout" if self.holdout else ""
        return f"{self.variant}/{self.row}/seed{self.seed}{stage}"


@dataclass(frozen=True)
class Row:
    """A row of the table: a loss with its parameters.

    Attributes:
        label: The loss's name, with the parameters in which it differs from its namesakes.
        loss: With every default filled in.
        varied: Those parameters.
    """

    label: str
    loss: Component
    varied: Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """A suite laid out: its rows, its columns, and the trials of its cells.

    Attributes:
        suite: With every default filled in.
        rows: In the suite's order, grids expanded.
        data_digest: Of the data set.
        metrics: What the suite's evaluations give, in its order.
        artifacts: Likewise of arrays.
        other_digests: Of the other data that the evaluations read, by the name in the suite.
        compared: Rows that the suite's `selection` tests beside the chosen ones.
        needs: What each row's head needs, by variant and row label.
        weights: Digest of the file that a variant's model starts from, by variant, if any.
        table_identity: Hash of what all trials share.
    """

    suite: Suite
    rows: tuple[Row, ...]
    data_digest: str
    metrics: tuple[Metric, ...]
    artifacts: tuple[Artifact, ...] = ()
    other_digests: Mapping[str, str] = field(default_factory=dict)
    compared: tuple[Row, ...] = ()
    needs: Mapping[tuple[str, str], Needs] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def table_identity(self) -> str:
        shared = self.suite.model_dump(
            mode="json", include={"suite", "dataset", "recipe", "selection"}
        )
        del shared["dataset"]["name"]  # the digest stands for the data
        return _digest({**shared, "data_digest": self.data_digest, "protocol": PROTOCOL})

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """The trials to run first: all of them, or with `selection` those that choose."""
        holdout = self.suite.selection.holdout if self.suite.selection else 0.0
        return tuple(
            self.trial(row, variant, seed, holdout)
            for seed, variant, row in itertools.product(
                self.suite.seeds, self.suite.variants, self.rows
            )
        )

    def compared_model(self, variant: str) -> Component:
        """A variant's model with the digest of the weights that it starts from, not their place."""
        model = self.suite.variant_model(variant)
        if variant not in self.weights:
            return model
        params = {key: value for key, value in model.params.items() if key != "checkpoint"}
        return Component(name=model.name, params={**params, "weights": self.weights[variant]})

    def narrowed(self, only: str) -> Plan:
        """Some rows and variants only.

        Args:
            only: A glob for rows (by label or loss name), or VARIANT/ROW with a glob each.

        Raises:
            RequestError: Nothing matches.
        """
        wanted = [
            (name, row)
            for name in self.suite.variants
            for row in self.rows
            if matches(only, name, row.label, row.loss.name)
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
            compared=tuple(row for row in self.compared if row in rows),
        )

    def trial(self, row: Row, variant: str, seed: int, holdout: float = 0.0) -> Trial:
        suite = self.suite
        return Trial(
            suite=suite.suite,
            variant=variant,
            row=row.label,
            loss=row.loss,
            model=suite.variant_model(variant),
            recipe=suite.recipe,
            augment=tuple(suite.variants[variant].augment),
            dataset=suite.dataset,
            data_digest=self.data_digest,
            other_digests=dict(self.other_digests),
            weights_digest=self.weights.get(variant, ""),
            holdout=holdout,
            evaluate=tuple(sorted(suite.evaluate, key=lambda chosen: chosen.model_dump_json())),
            threads=suite.resources.cpus,
            workers=suite.resources.workers,
            seed=seed,
        )

    def choose(self, scores: Mapping[str, float]) -> dict[tuple[str, str], Row]:
        """Choose each loss's parameters by its held-out scores, for a suite with `selection`.

        Args:
            scores: Held-out metric by the identity of the trials that finished. A diverged
                trial has none, and its row can not be chosen.

        Returns:
            (variant, loss name) -> the row of the best mean. A loss of which no row finished
            all its seeds is left out.
        """
        assert self.suite.selection is not None
        [metric] = [m for m in self.metrics if m.name == self.suite.selection.metric]
        best = max if metric.higher_is_better else min
        chosen = {}
        for variant, name in itertools.product(
            self.suite.variants, dict.fromkeys(row.loss.name for row in self.rows)
        ):
            means = {}
            for row in (row for row in self.rows if row.loss.name == name):
                trials = [t for t in self.trials if (t.variant, t.row) == (variant, row.label)]
                values = [scores[t.identity] for t in trials if t.identity in scores]
                if len(values) == len(self.suite.seeds):
                    means[row.label] = (sum(values) / len(values), row)
            if means:
                chosen[variant, name] = best(means.values(), key=lambda scored: scored[0])[1]
        return chosen

    def final_trials(self, chosen: Mapping[tuple[str, str], Row]) -> tuple[Trial, ...]:
        """The chosen rows and those to compare with them, trained on the whole training set.

        They are measured on the test set. Empty while nothing is chosen.
        """
        if not chosen:
            return ()
        cells = [(variant, row.label, row) for (variant, _), row in chosen.items()]
        cells += [
            (variant, row.label, row) for variant in self.suite.variants for row in self.compared
        ]
        distinct = {(variant, label): row for variant, label, row in cells}
        return tuple(
            self.trial(row, variant, seed)
            for seed in self.suite.seeds
            for (variant, _), row in distinct.items()
        )


def matches(only: str, variant: str, row: str, loss: str) -> bool:
    """Whether `--only` means a cell: a glob for the row's label or loss, or VARIANT/ROW."""
    variant_glob, separator, row_glob = only.rpartition("/")
    return fnmatchcase(variant, variant_glob if separator else "*") and (
        fnmatchcase(row, row_glob) or fnmatchcase(loss, row_glob)
    )


def expand_grids(loss: Component) -> list[Component]:
    """`{alpha: {grid: [0.1, 0.3]}, lambda: 0.1}` -> one loss for each combination."""
    axes = [
        [(key, choice) for choice in (value["grid"] if is_grid(value) else [value])]
        for key, value in loss.params.items()
    ]
    return [Component(name=loss.name, params=dict(point)) for point in itertools.product(*axes)]


def is_grid(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"grid"}


def make_rows(losses: list[Component], suite: Suite) -> tuple[Row, ...]:
    """Label each loss by its name and what tells it from its namesakes.

    Raises:
        SuiteError: Two rows are the same.
    """
    rows = []
    for loss in losses:
        namesakes = [other for other in losses if other.name == loss.name]
        if namesakes.count(loss) > 1:
            message = f"{loss.name} stands twice with the same parameters"
            raise suite.origin.error([Problem(("losses",), message)])
        varied = {
            key: value
            for key, value in loss.params.items()
            if any(other.params[key] != value for other in namesakes)
        }
        inside = ",".join(f"{key}={_short(value)}" for key, value in varied.items())
        rows.append(Row(f"{loss.name}({inside})" if varied else loss.name, loss, varied))
    return tuple(rows)


def _short(value: Any) -> str:
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"  # 1.0 as 1; what does not fit in six digits stays whole
    return str(value)


def _digest(content: Any) -> str:
    text = json.dumps({"protocol": PROTOCOL, "content": content}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
