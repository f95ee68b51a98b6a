"""`lossbench plan`: what is done and what is left of a suite, and what that costs."""

from __future__ import annotations

import contextlib
import enum
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lossbench.cli.common import load_plan
from lossbench.cli.console import err, out
from lossbench.cli.options import (
    DEFAULT_DATA_ROOT,
    DataRootOption,
    IgnoredOutputOption,
    OnlyOption,
    PluginOption,
    SeedsOption,
    SetOption,
    SuiteArgument,
    TrackingOption,
)
from lossbench.errors import NothingRecordedError
from lossbench.planning.costs import Costs, Forecast
from lossbench.planning.durations import format_duration
from lossbench.planning.fairness import small_classes
from lossbench.planning.plan import Plan
from lossbench.planning.status import PlanStatus
from lossbench.planning.trial import Trial
from lossbench.records import Results
from lossbench.suite.schema import Holdout

UNKNOWN = "their identities, what is done and what the rest takes are unknown without the data"
BUSY_SHARE = 0.85
"""Share of a processor for each thread below which `plan` calls the machine busy."""
_SMALL = 5e8
"""Numbers that go into a network in all: with fewer nothing is tried before a run."""


@dataclass(frozen=True)
class LocalPlanStatus(PlanStatus):
    """Status of a plan, with the costs of its trials on this machine."""

    def costs(self, data_root: Path, probe_sec: float) -> Costs:
        """The costs of trials on this machine: of those that ran, or estimated from some steps."""
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
        """The device, and the number of trials that run at a time."""
        from lossbench.runner.capacity import this_machine

        found = this_machine(self.plan.suite.resources)
        return found.device, found.trials

    def is_large(self, data_root: Path) -> bool:
        """Whether the costs of a run should be estimated before it starts."""
        from lossbench.data.facts import view_of
        from lossbench.data.suite_data import open_dataset

        suite = self.plan.suite
        dataset = open_dataset(suite.dataset, data_root, verify=False)
        images = suite.dataset.train_size or len(dataset.splits["train"].labels)
        numbers = math.prod(dataset.image_shape(view_of(suite.recipe)))
        return self.epochs_left * images * numbers >= _SMALL


def load_status(plan: Plan, tracking_uri: str | None) -> LocalPlanStatus:
    """The status of a plan by the stored results; without a database there are none."""
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
    return LocalPlanStatus(found.plan, found.trials, found.results, tracker.changed_code(left))


def format_counts(found: PlanStatus) -> str:
    """`6 trials, 3 to do; then about 4 more, chosen by these`."""
    if found.plan.missing:
        return f"{len(found.trials)} trials; {UNKNOWN}"
    text = f"{len(found.trials)} trials, {len(found.left)} to do"
    more = len(found.expected_trials)
    return f"{text}; then about {more} more, chosen by these" if more else text


def print_changed_code(out: Console, found: LocalPlanStatus) -> None:
    """Why trials are to be run again that ran before."""
    for what, count in found.changed_code.items():
        trials = "1 trial was" if count == 1 else f"{count} trials were"
        out.print(f"{what} changed since {trials} trained; they are to be trained again")


def print_cells(out: Console, found: LocalPlanStatus) -> None:
    """Rows by columns: how many seeds of each cell have a result."""
    plan, trials, results = found.plan, found.trials, found.results
    variants = list(plan.suite.variants)
    rows: dict[str, dict[str, list[Trial]]] = {}
    for trial in trials:
        label = trial.row if trial.holdout or not plan.suite.selection else f"{trial.row}, final"
        rows.setdefault(label, {}).setdefault(trial.variant, []).append(trial)
    cells = {
        variant: [
            Text(variant if plan.has_columns else "done", "bold"),
            *(
                _unknown_cell(columns.get(variant, []))
                if plan.missing
                else _cell(columns.get(variant, []), results)
                for columns in rows.values()
            ),
        ]
        for variant in variants
    }
    names = [Text("row", "bold"), *(Text(label) for label in rows)]
    for part in _side_by_side(names, list(cells.values()), out.width):
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        for _ in part:
            table.add_column(no_wrap=True)
        for line in zip(*part, strict=True):
            table.add_row(*line)
        out.print(table)


def print_data(out: Console, plan: Plan) -> None:
    """Which part of the data is used for what, the classes that were chosen, and warnings."""
    for line in plan.facts.notes:
        out.print(Text(f"data: {line}"), soft_wrap=True)
    for line in (*plan.facts.warnings, *plan.search_notes):
        out.print(Text(f"warning: {line}", "yellow"), soft_wrap=True)
    if plan.suite.dataset.classes is not None:
        out.print(f"classes: {', '.join(plan.facts.class_names)}", highlight=False, soft_wrap=True)
    for line in small_classes(plan):
        out.print(line, highlight=False, soft_wrap=True)


def print_missing(out: Console, plan: Plan) -> None:
    """Which data are missing, and how to get them."""
    for message in plan.missing:
        out.print(Text(f"missing: {message}", "yellow"), soft_wrap=True)


def _side_by_side(
    names: list[Text], columns: Sequence[list[Text]], width: int
) -> Iterator[list[list[Text]]]:
    """The columns of each table: the names, and as many others as have room."""

    def room(column: list[Text]) -> int:
        return max(cell.cell_len for cell in column) + 2

    part = [names]
    for column in columns:
        if len(part) > 1 and sum(map(room, [*part, column])) > width:
            yield part
            part = [names]
        part.append(column)
    yield part


def _unknown_cell(trials: Sequence[Trial]) -> Text:
    return Text(f"?/{len(trials)}" if trials else "–", "dim")


def _cell(trials: Sequence[Trial], results: Results) -> Text:
    if not trials:
        return Text("–", "dim")
    there = [results[t.identity] for t in trials if t.identity in results]
    diverged = sum(result.status == "diverged" for result in there)
    complete = len(there) == len(trials)
    text = Text(f"{len(there)}/{len(trials)}", "green" if complete else "" if there else "dim")
    if complete:
        text.append(" ✓", "green")
    if diverged:
        text.append(f" {diverged} diverged", "yellow")
    guessing = sum(result.no_better_than_guessing for result in there)
    if guessing:
        text.append(f" {guessing} no better than guessing", "yellow")
    stopped = sum(result.status == "stopped" for result in there)
    if stopped:
        text.append(f" {stopped} stopped", "dim")
    return text


def print_trials(out: Console, found: LocalPlanStatus) -> None:
    """A line for each trial, with its identity."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("variant", "row", "seed", "identity", "state"):
        table.add_column(heading, no_wrap=True)
    for trial in found.trials:
        result = found.results.get(trial.identity)
        known = not found.plan.missing
        identity = trial.identity if known else "unknown"
        state = (result.status if result else "to do") if known else "unknown"
        table.add_row(trial.variant, Text(trial.row), str(trial.seed), identity, Text(state))
    out.print(table)


def format_forecast(found: LocalPlanStatus, forecast: Forecast) -> list[str]:
    """Return the lines that describe a forecast."""
    suite, (device, _) = found.plan.suite, found.machine
    hours = forecast.work_sec * suite.resources.workers / 3600
    work = f"{hours * suite.resources.cpus:.2g} CPU-hours"
    if device == "cuda":
        share = 1.0 if suite.resources.gpus == "auto" else suite.resources.gpus
        work += f", {hours * share:.2g} GPU-hours"
    duration = format_duration(forecast.wall_time_sec)
    basis = ", ".join(f"{count} {kind}" for kind, count in forecast.basis.items())
    lines = [
        f"about {duration} here ({device}, {forecast.concurrent} at a time); {work}; "
        f"up to {forecast.memory_mib:,.0f} MiB per trial",
        f"estimated from its cells ({basis}); excludes start-up; parallel trials slow each other "
        "down",
    ]
    if "probed" in forecast.basis and found.processor_share < BUSY_SHARE:
        share_text = f"{100 * found.processor_share:.0f} % of a processor"
        lines.append(
            f"other processes keep this machine busy: each thread gets {share_text}, which the "
            "estimate includes"
        )
    at_the_end = sorted({chosen.name for chosen in suite.evaluate} - {"error", "top5_error"})
    if at_the_end and set(forecast.basis) - {"ran"}:
        lines.append(f"excludes the evaluations after training: {', '.join(at_the_end)}")
    return lines


def as_json(found: LocalPlanStatus, forecast: Forecast | None) -> str:
    cells: dict[tuple[str, str, Holdout], dict[str, Any]] = {}
    counted = None if found.plan.missing else 0
    for trial in found.trials:
        cell = cells.setdefault(
            (trial.variant, trial.row, trial.holdout),
            {"variant": trial.variant, "row": trial.row, "holdout": trial.holdout}
            | {"trials": 0, **dict.fromkeys(("finished", "diverged", "stopped"), counted)},
        )
        cell["trials"] += 1
        result = found.results.get(trial.identity)
        if result:
            cell[result.status] += 1
    forecast_content = None
    if forecast:
        forecast_content = {
            "trials": forecast.trials,
            "wall_time_sec": round(forecast.wall_time_sec, 1),
            "work_sec": round(forecast.work_sec, 1),
            "memory_mib": round(forecast.memory_mib),
            "concurrent": forecast.concurrent,
            "cells": dict(forecast.basis),
            "processor_share": round(found.processor_share, 2)
            if "probed" in forecast.basis
            else None,
        }
    content = {
        "suite": found.plan.suite.suite,
        "cells": list(cells.values()),
        "data": {"notes": found.plan.facts.notes, "warnings": found.plan.facts.warnings},
        "coming": len(found.expected_trials),
        "changed_code": dict(found.changed_code),
        "forecast": forecast_content,
        "missing": list(found.plan.missing),
    }
    return json.dumps(content, indent=1)


class Format(enum.StrEnum):
    """Formats in which a plan can be printed."""

    text = "text"
    json = "json"


def plan(
    suite: SuiteArgument,
    set_: SetOption = [],  # noqa: B006
    only: OnlyOption = None,
    seeds: SeedsOption = None,
    data_root: DataRootOption = DEFAULT_DATA_ROOT,
    tracking_uri: TrackingOption = None,
    output: IgnoredOutputOption = None,
    plugin: PluginOption = [],  # noqa: B006
    audit: Annotated[
        bool,
        typer.Option(
            "--audit",
            help="List all differences between rows besides the loss; exit 1 if one is unfair.",
        ),
    ] = False,
    trials: Annotated[
        bool, typer.Option("--trials", help="Print one line per trial, with its identity.")
    ] = False,
    format_: Annotated[
        Format, typer.Option("--format", help="Format on standard output.")
    ] = Format.text,
    probe: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0,
            max=3600,
            help="Maximum time for timing training steps, from which the cost is estimated.",
        ),
    ] = 15.0,
) -> None:
    """Check a suite; show its progress and the remaining cost.

    If its data are not on this machine, show the table, which data are missing, and how to get
    them.

    \b
    Examples:
      lossbench plan suites/digits.yaml
      lossbench plan suites/digits.yaml --only '*/lgm*' --seeds 0 --trials
      lossbench plan suites/mnist.yaml --data-root data --probe 60
      lossbench plan suites/digits.yaml --audit
    """
    del output
    laid_out = load_plan(suite, set_, only, seeds, data_root, plugin, without_data=True)
    if audit:
        print_audit(laid_out, tracking_uri)
        return
    found = load_status(laid_out, tracking_uri)
    if trials:
        print_trials(out, found)
        out.print(format_counts(found), highlight=False)
        print_changed_code(out, found)
        print_missing(out, laid_out)
        return
    if format_ is Format.text:
        print_cells(out, found)
        out.print(format_counts(found), highlight=False)
        print_changed_code(out, found)
        print_data(out, found.plan)
        print_missing(out, laid_out)
    forecast = None
    if (found.left or found.expected_trials) and not laid_out.missing:
        with err.status("timing a few steps of each cell"):
            forecast = found.forecast(found.costs(data_root, probe), found.machine[1])
    if format_ is Format.json:
        typer.echo(as_json(found, forecast))
    elif forecast:
        for line in format_forecast(found, forecast):
            out.print(line, highlight=False)


_STYLES = {"fails": "bold red", "warning": "yellow", "listed": ""}
"""Level of a difference -> its style in the terminal."""


def print_audit(plan: Plan, tracking_uri: str | None) -> None:
    """Print the differences between rows besides the loss; exit with 1 if the audit fails."""
    from lossbench.planning.fairness import audit
    from lossbench.planning.selection import PlanWithResults, load_plan_with_results
    from lossbench.report.escaping import plain_sentence
    from lossbench.tracking.store import Tracker

    found = PlanWithResults(plan, {})
    if not plan.missing:
        with contextlib.suppress(NothingRecordedError):
            tracker = Tracker.open(tracking_uri, create=False)
            found = load_plan_with_results(plan, tracker)
    differences = audit(found.plan, found.trials, found.results)
    basis = f"{len(found.results)} of {len(found.trials)} trials measured"
    if plan.missing:
        basis = (
            "without the data, the training requirements of the losses, small classes and "
            "measured differences are unknown"
        )
        print_missing(out, plan)
    table = Table(box=None, pad_edge=False, show_header=False)
    for difference in differences:
        table.add_row(
            Text(difference.level, _STYLES[difference.level]), Text(plain_sentence(difference.text))
        )
    out.print(table)
    failed = sum(difference.level == "fails" for difference in differences)
    verdict = "audit passed: the rows differ only in the loss and in what is listed"
    if failed:
        verdict = f"audit failed: {failed} avoidable difference{'s' * (failed > 1)}"
    out.print(f"{verdict}; {basis}", highlight=False)
    if failed:
        raise typer.Exit(1)
