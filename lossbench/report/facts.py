"""How the numbers of a report were made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lossbench.planning.fairness import Difference, audit
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.records import TrialResult
from lossbench.suite.dump import suite_yaml
from lossbench.suite.schema import DatasetChoice

FAIRNESS_TITLE, PROVENANCE_TITLE = "Fairness audit", "Provenance"


@dataclass(frozen=True)
class Facts:
    """How the numbers were made.

    Attributes:
        dataset: Name of the data set, with classes, numbers of images, imbalance and label noise
            if the suite has them.
        varied: Names of the variants; empty for a suite without variants.
        progress: Number of planned trials that have a result.
        suite_yaml: Suite with every default filled in and grids expanded.
        devices: Device -> number of trials.
        environments: `python 3.11.2, torch 2.13.0` -> number of trials.
        data_digest: Digest of the data set.
        command: Command that made the report.
        differences: Differences between the rows besides the loss.
    """

    dataset: str
    varied: str
    progress: str
    suite_yaml: str
    devices: Mapping[str, int]
    environments: Mapping[str, int]
    data_digest: str
    command: str
    differences: Sequence[Difference] = ()

    @property
    def difference_summary(self) -> str:
        """Whether only the loss differs; the sentence before the list of differences."""
        rows = f"the rows of each variant ({self.varied})" if self.varied else "the rows"
        return f"Only the loss differs between {rows}{', except for:' if self.differences else '.'}"


def gather_facts(found: PlanWithResults, command: str) -> Facts:
    """Facts about the trials that have a result, and the differences between the rows."""
    plan, suite, trials = found.plan, found.plan.suite, found.trials
    results = [found.results[t.identity] for t in trials if t.identity in found.results]
    ran = [result for result in results if not result.pruned]
    diverged = sum(result.status == "diverged" for result in results)
    unmeasured = sum(bool(result.unmeasured) for result in results)
    return Facts(
        dataset="; ".join(plan.by_column(lambda variant: [_dataset_text(plan, variant)])),
        varied=", ".join(suite.variants) if suite.has_variants else "",
        progress=f"{len(results)} of {len(trials)} trials run"
        + (f", {unmeasured} not fully measured" if unmeasured else "")
        + (f", {diverged} diverged" if diverged else "")
        + (f", {len(results) - len(ran)} stopped early" if len(ran) < len(results) else ""),
        suite_yaml=suite_yaml(plan.expanded_suite),
        devices=Counter(result.device for result in ran),
        environments=Counter(_environment(result) for result in ran),
        data_digest="; ".join(plan.by_column(lambda name: [plan.columns[name].data_digest])),
        command=command,
        differences=audit(plan, trials, found.results),
    )


def _dataset_text(plan: Plan, variant: str) -> str:
    """Name of a column's data set, with classes and numbers of images if the suite limits them."""
    dataset = plan.settings[variant].dataset
    classes = plan.columns[variant].facts.class_names if dataset.classes is not None else ()
    sizes = [f"classes {', '.join(classes)}"] if classes else []
    sizes += [
        f"{size} {split} images"
        for split, size in (("training", dataset.train_size), ("test", dataset.test_size))
        if size is not None
    ]
    sizes += _conditions(dataset)
    return dataset.name + (f" ({'; '.join(sizes)})" if sizes else "")


def _conditions(dataset: DatasetChoice) -> Iterator[str]:
    """Conditions of the training set: imbalance, label noise."""
    if dataset.per_class is not None:
        yield f"{dataset.per_class} training images per class"
    if dataset.imbalance is not None:
        yield dataset.imbalance.text
    if dataset.label_noise is not None:
        yield f"label noise: {dataset.label_noise.text}"


def _environment(result: TrialResult) -> str:
    names = {"code": "code digest"}
    versions = result.environment.items()
    return ", ".join(f"{names.get(name, name)} {version}" for name, version in versions)
