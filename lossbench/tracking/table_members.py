"""Which trials are in a table: the tags and the parent of their runs.

A trial's parent is one run, but it may be in several tables, as with `--seeds`: a tag lists their
labels, and the prepared view of a table filters by it. Results are found by identity, not by this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from lossbench.planning.plan import Plan
from lossbench.planning.trial import Trial
from lossbench.tracking import names
from lossbench.tracking.run_tags import TagChanges
from lossbench.tracking.stored_run import StoredRun


@dataclass(frozen=True)
class TrialRuns:
    """Finished runs of the trials of a suite.

    Attributes:
        members: Runs of the trials of a table, with their trials.
        others: The other runs.
    """

    members: Sequence[tuple[StoredRun, Trial]]
    others: Sequence[StoredRun]


def trial_runs(runs: Iterable[StoredRun], wanted: Iterable[tuple[StoredRun, Trial]]) -> TrialRuns:
    """Divide the runs of a suite into those of wanted trials and others.

    Args:
        runs: Finished runs of the suite.
        wanted: Runs of wanted trials, also in other suites, with their trials.
    """
    found = {r.run_id: r for r in runs if r.tags.get(names.KIND) != "table"}
    members = [(run, trial) for run, trial in wanted if found.pop(run.run_id, None)]
    return TrialRuns(members, list(found.values()))


def changed_tags(
    table: StoredRun, plan: Plan, trials: TrialRuns, tables: Sequence[StoredRun]
) -> Iterator[tuple[str, TagChanges]]:
    """Changes of the tags of trials, after a report of a table.

    The table of an unchanged suite is the parent of all its trials; other tables are only the
    parents of trials that have none, so that `--seeds 0` takes no trial away. A trial that is no
    longer in a table moves to another one that it is in, or has no parent.

    Args:
        table: StoredRun of the table.
        plan: Plan of the table.
        trials: Runs of the suite's trials.
        tables: Runs of all tables of the suite.

    Yields:
        Id of a run whose tags are not right, and the changes.
    """
    own, label = table.run_id, plan.label
    parents = {run.run_id for run in tables}
    current = [run for run in tables if names.EARLIER not in run.tags]
    by_label = {run.tags.get(names.LABEL): run.run_id for run in current}
    for run, trial in trials.members:
        tags = run.tags
        wanted: dict[str, str] = {
            **names.cell_tags(trial),
            names.TABLES: names.with_label(tags.get(names.TABLES, ""), label),
        }
        if not plan.changes or tags.get(names.PARENT) not in parents:
            wanted |= {names.PARENT: own, names.TABLE: plan.table_identity}
        changed = {key: value for key, value in wanted.items() if tags.get(key) != value}
        if changed:
            yield run.run_id, changed
    for run in trials.others:
        labels = run.tags.get(names.TABLES, "")
        if f"|{label}|" not in labels:
            continue
        left = names.without_label(labels, label)
        changes: dict[str, str | None] = {names.TABLES: left}
        if run.tags.get(names.PARENT) == own:
            changes[names.PARENT] = next(filter(None, map(by_label.get, left.split("|"))), None)
        yield run.run_id, changes
