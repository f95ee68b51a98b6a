"""Status of a plan by its stored results, and the costs of its trials on this machine."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from lossbench.errors import NothingRecordedError
from lossbench.planning.costs import Costs
from lossbench.planning.plan import Plan
from lossbench.planning.status import PlanStatus

ESTIMATE_FROM = 5e8
"""Number of input values over all epochs from which the cost is estimated before the start."""


@dataclass(frozen=True)
class LocalPlanStatus(PlanStatus):
    """Status of a plan, with the costs of its trials on this machine."""

    def costs(self, data_root: Path, probe_sec: float) -> Costs:
        """Return the costs of trials on this machine: measured ones, else probes of a few steps.

        Args:
            data_root: Folder of prepared data sets.
            probe_sec: Maximum time for all probes.
        """
        from lossbench.runner.prober import local_prober, measured_costs

        device, _ = self.machine
        with local_prober(device, data_root, self.plan.plugins) as prober:
            return measured_costs(
                self.trials, self.results, prober, probe_sec, lambda: self.processor_share
            )

    @cached_property
    def processor_share(self) -> float:
        """Fraction of a processor per thread if all trials are started that fit this machine."""
        from lossbench.runner.probe import processor_share

        device, concurrent = self.machine
        if device != "cpu":
            return 1.0
        resources = self.plan.suite.resources
        started = min(concurrent, len(self.left) or 1)
        return processor_share(started * resources.cpus * resources.workers)

    @cached_property
    def machine(self) -> tuple[str, int]:
        """Device, and number of trials that run at a time."""
        from lossbench.runner.capacity import this_machine

        found = this_machine(self.plan.suite.resources)
        return found.device, found.trials

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings of the plan, and one about the processor of this machine, if there is one."""
        from lossbench.planning.processor import precision_warning

        found = precision_warning(self.plan, lambda: self.machine[0])
        return self.plan.warnings if found is None else (*self.plan.warnings, found)

    def is_large(self, data_root: Path) -> bool:
        """Whether a run is so large that its costs are estimated before it starts."""
        if not self.left and not self.expected_trials:
            return False
        from lossbench.data.facts import view_of
        from lossbench.data.suite_data import open_dataset

        values = 0
        for name, settings in self.plan.settings.items():
            dataset = open_dataset(settings.dataset, data_root, verify=False)
            images = self.plan.columns[name].facts.train_images
            shape = dataset.image_shape(view_of(settings.recipe))
            values += self.epochs_left(name) * images * math.prod(shape)
        return values >= ESTIMATE_FROM


def load_status(plan: Plan, tracking_uri: str | None) -> LocalPlanStatus:
    """Return the status of a plan by its stored results; without a database there are none."""
    from lossbench.planning.selection import load_plan_with_results
    from lossbench.tracking.store import Tracker

    if plan.missing:
        return LocalPlanStatus(plan, plan.trials, {})
    try:
        tracker = Tracker.open(tracking_uri, create=False)
    except NothingRecordedError:
        return LocalPlanStatus(plan, plan.trials, {})
    found = load_plan_with_results(plan, tracker)
    left = [trial for trial in found.trials if trial.identity not in found.results]
    changed = tracker.changed_code(left)
    status = LocalPlanStatus(found.plan, found.trials, found.results, changed)
    weightless = [trial for trial in status.to_measure if not tracker.has_weights(trial)]
    return replace(status, weightless=weightless)
