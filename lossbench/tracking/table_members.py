"""Which trials are in a table: the tags and the parent of their runs.

A trial's parent is one run, but it may be in several tables, as with `--seeds`: a tag lists their
labels, and the prepared view of a table filters by it. Results are found by identity, not by this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mlflow.entities import Run

from lossbench.planning.plan import Plan
from lossbench.planning.trial import Trial
from lossbench.tracking import names
from lossbench.tracking.run_tags import TagChanges


@dataclass(frozen=True)
class TrialRuns:
    """Finished runs of the trials of a suite.

    Attributes:
        members: Runs of the trials of a table, with their trials.
        others: The other runs.
    """

    members: Sequence[tuple[Run, Trial]]
    others: Sequence[Run]


def trial_runs(runs: Iterable[Run], wanted: Iterable[tuple[Run, Trial]]) -> TrialRuns:
    """Divide the runs of a suite into those of wanted trials and others.

    Args:
        runs: Finished runs of the suite.
        wanted: Runs of wanted trials, also in other suites, with their trials.
    """
    found = {r.info.run_id: r for r in runs if r.data.tags.get(names.KIND) != "table"}
    members = [(run, trial) for run, trial in wanted if found.pop(run.info.run_id, None)]
    return TrialRuns(members, list(found.values()))


def changed_tags(
    table: Run, plan: Plan, trials: TrialRuns, tables: Sequence[Run]
) -> Iterator[tuple[str, TagChanges]]:
    """Changes of the tags of trials, after a report of a table.

    The table of an unchanged suite is the parent of all its trials; other tables are only the
    parents of trials that have none, so that `--seeds 0` takes no trial away. A trial that is no
    longer in a table moves to another one that it is in, or has no parent.

    Args:
        table: Run of the table.
        plan: Plan of the table.
        trials: Runs of the suite's trials.
        tables: Runs of all tables of the suite.

    Yields:
        Id of a run whose tags are not right, and the changes.
    """
    own, label = table.info.run_id, plan.label
    parents = {run.info.run_id for run in tables}
    current = [run for run in tables if names.EARLIER not in run.data.tags]
    by_label = {run.data.tags.get(names.LABEL): run.info.run_id for run in current}
    for run, trial in trials.members:
        tags = run.data.tags
        wanted: dict[str, str] = {
            **names.cell_tags(trial),
            names.TABLES: names.with_label(tags.get(names.TABLES, ""), label),
        }
        if not plan.changes or tags.get(names.PARENT) not in parents:
            wanted |= {names.PARENT: own, names.TABLE: plan.table_identity}
        changed = {key: value for key, value in wanted.items() if tags.get(key) != value}
        if changed:
            yield run.info.run_id, changed
    for run in trials.others:
        labels = run.data.tags.get(names.TABLES, "")
        if f"|{label}|" not in labels:
            continue
        left = names.without_label(labels, label)
        changes: dict[str, str | None] = {names.TABLES: left}
        if run.data.tags.get(names.PARENT) == own:
            changes[names.PARENT] = next(filter(None, map(by_label.get, left.split("|"))), None)
        yield run.info.run_id, changes
