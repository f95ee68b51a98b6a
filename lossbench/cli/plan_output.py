"""Output of `lossbench plan`: the table of progress, the trials, the forecast, JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lossbench.cli.local_status import LocalPlanStatus
from lossbench.cli.until_decided import ExpectedRounds
from lossbench.planning.column_text import column_texts
from lossbench.planning.costs import Forecast
from lossbench.planning.durations import format_duration
from lossbench.planning.fairness import small_classes, tuning_texts
from lossbench.planning.plan import Plan
from lossbench.planning.selection import is_complete
from lossbench.planning.status import PlanStatus
from lossbench.planning.trial import Trial
from lossbench.records import Results, TrialResult
from lossbench.suite.schema import Holdout

UNKNOWN = "without the data, their identities, their progress and the remaining cost are unknown"
_ORIGINS = {"ran": "with results", "probed": "timed", "guessed": "estimated from the others"}
"""Origin of a cell's cost -> its text."""
MAX_COLUMNS = 8
"""Number of columns whose cells are printed; the trials of further ones are counted."""
MAX_NAME_WIDTH = 30
"""Characters at which a column's name is wrapped in the list of columns."""
BUSY_SHARE = 0.85
"""Fraction of a processor per thread below which the machine is reported as busy."""


def format_counts(status: PlanStatus, rounds: ExpectedRounds | None = None) -> str:
    """Return the counts of trials: planned, to train, to measure, and those that will follow.

    Args:
        status: Status of the plan.
        rounds: Rounds of seeds that are added until the table is decided, if there are any.
    """
    if status.plan.missing:
        return f"{len(status.trials)} trials; {UNKNOWN}"
    text = f"{len(status.trials)} trials, {len(status.left)} to train"
    text += f", {len(status.to_measure)} to measure"
    more = len(status.expected_trials)
    if rounds:
        return f"{text}; {rounds.text}"
    return f"{text}; about {more} more follow, depending on their results" if more else text


def print_changed_code(console: Console, status: LocalPlanStatus) -> None:
    """Print which changes of code require training again."""
    for what, count in status.changed_code.items():
        trials = "1 trial" if count == 1 else f"{count} trials"
        console.print(f"the code of {what} has changed: {trials} will be trained again")


def print_weightless(console: Console, status: LocalPlanStatus) -> None:
    """Print how many trials to measure have to be trained again, because of their weights."""
    if count := len(status.weightless):
        verb = "has" if count == 1 else "have"
        again = "it has to be trained again" if count == 1 else "they have to be trained again"
        text = f"{count} of the trials to measure {verb} no stored weights: {again}"
        console.print(Text(text, "yellow"), soft_wrap=True)


def print_cells(console: Console, status: LocalPlanStatus) -> None:
    """Print the table of cells, with the numbers of trials that are trained and measured.

    The points of an entry that is searched or tuned share a line. Of many columns, those with
    trials to train or to measure come first.
    """
    plan, trials, results = status.plan, status.trials, status.results
    variants, left_out = _columns_to_print(status)
    rows: dict[str, dict[str, list[Trial]]] = {}
    for trial in trials:
        rows.setdefault(_line(trial, plan), {}).setdefault(trial.variant, []).append(trial)
    pairs = []
    for variant in variants:
        own = [columns.get(variant, []) for columns in rows.values()]
        heading = f"{variant} trained" if plan.has_variants else "trained"
        trained, measured = [Text(heading, "bold")], [Text("measured", "bold")]
        for seeds in own:
            trained.append(_unknown_cell(seeds) if plan.missing else _trained_cell(seeds, results))
            measured.append(
                _unknown_cell(seeds) if plan.missing else _measured_cell(seeds, results)
            )
        pairs.append([trained, measured])
    names = [Text("row", "bold"), *(Text(label) for label in rows)]
    for index, part in enumerate(_side_by_side(names, pairs, console.width)):
        if index:
            console.print()
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        for _ in part:
            table.add_column(no_wrap=True)
        for line in zip(*part, strict=True):
            table.add_row(*line)
        console.print(table)
    if left_out:
        others = [trial for trial in trials if trial.variant in left_out]
        with_result = sum(trial.identity in results for trial in others)
        complete = sum(is_complete(trial, results) for trial in others)
        console.print(
            f"and {len(left_out)} other columns: {with_result} of {len(others)} trials trained, "
            f"{complete} measured; --only 'COLUMN/*' prints one of them",
            highlight=False,
            soft_wrap=True,
        )


def _columns_to_print(status: LocalPlanStatus) -> tuple[list[str], set[str]]:
    """Columns whose cells are printed, in the suite's order, and the other ones."""
    unfinished = {t.variant for t in status.trials if not is_complete(t, status.results)}
    names = list(status.plan.suite.variants)
    first = sorted(names, key=lambda name: name not in unfinished)[:MAX_COLUMNS]
    return [name for name in names if name in first], set(names).difference(first)


def _line(trial: Trial, plan: Plan) -> str:
    """Label of the line with a trial."""
    if plan.suite.selection is None:
        return trial.row
    if not trial.holdout:
        return f"{trial.row}, final"
    entries = {search.entry for search in plan.searches}
    if plan.suite.tune:
        entries |= {row.entry for row in plan.rows}
    return f"{trial.entry}, all points" if trial.entry in entries else trial.row


def print_columns(console: Console, plan: Plan) -> None:
    """Print the settings in which the columns differ, one column per line."""
    texts = column_texts(plan)
    if not texts:
        return
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(max_width=MAX_NAME_WIDTH, overflow="fold")
    table.add_column(overflow="fold")
    for name, text in texts.items():
        table.add_row(Text(f"  {name}"), Text(text))
    console.print("columns:")
    console.print(table)


def print_data(console: Console, plan: Plan, warnings: Sequence[str]) -> None:
    """Print the use of the data, tuned keys, warnings, and the chosen classes."""
    for line in plan.notes:
        console.print(Text(f"data: {line}"), soft_wrap=True)
    for line in plan.weight_notes:
        console.print(Text(f"weights: {line}"), soft_wrap=True)
    for line in tuning_texts(plan):
        console.print(Text(f"tuning: {line}"), soft_wrap=True)
    for line in (*warnings, *plan.search_notes):
        console.print(Text(f"warning: {line}", "yellow"), soft_wrap=True)
    for line in plan.by_column(lambda variant: _chosen_classes(plan, variant)):
        console.print(line, highlight=False, soft_wrap=True)
    for line in plan.by_column(lambda variant: small_classes(plan.columns[variant].facts)):
        console.print(line, highlight=False, soft_wrap=True)


def _chosen_classes(plan: Plan, variant: str) -> Iterator[str]:
    if plan.settings[variant].dataset.classes is not None:
        yield f"classes: {', '.join(plan.columns[variant].facts.class_names)}"


def print_missing(console: Console, plan: Plan) -> None:
    """Print which data are missing, and how to get them."""
    for message in plan.missing:
        console.print(Text(f"missing: {message}", "yellow"), soft_wrap=True)


def _side_by_side(
    names: list[Text], groups: Sequence[list[list[Text]]], width: int
) -> Iterator[list[list[Text]]]:
    """Yield the columns of each table: the row names, and as many groups as fit into the width."""

    def room(column: list[Text]) -> int:
        return max(cell.cell_len for cell in column) + 2

    part = [names]
    for group in groups:
        if len(part) > 1 and sum(map(room, [*part, *group])) > width:
            yield part
            part = [names]
        part += group
    yield part


def _unknown_cell(trials: Sequence[Trial]) -> Text:
    return Text(f"?/{len(trials)}" if trials else "–", "dim")


def _trained_cell(trials: Sequence[Trial], results: Results) -> Text:
    if not trials:
        return Text("–", "dim")
    finished = [results[t.identity] for t in trials if t.identity in results]
    diverged = sum(result.status == "diverged" for result in finished)
    complete = len(finished) == len(trials)
    text = Text(
        f"{len(finished)}/{len(trials)}", "green" if complete else "" if finished else "dim"
    )
    guessing = sum(result.no_better_than_guessing for result in finished)
    pruned = sum(result.pruned for result in finished)
    if complete and not diverged:
        text.append(" ✓", "green")
    for count, what, style in (
        (diverged, "diverged", "yellow"),
        (guessing, "no better than guessing", "yellow"),
        (pruned, "pruned", "dim"),
    ):
        if count:
            text.append(f", {count} {what}", style)
    return text


def _measured_cell(trials: Sequence[Trial], results: Results) -> Text:
    if not trials:
        return Text("–", "dim")
    measured = sum(is_complete(trial, results) for trial in trials)
    complete = measured == len(trials)
    style = "green" if complete else "" if measured else "dim"
    return Text(f"{measured}/{len(trials)}", style)


def print_trials(console: Console, status: LocalPlanStatus) -> None:
    """Print one line per trial, with its identity and the evaluations that it lacks."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("variant", "row", "seed", "identity", "trained", "measured"):
        table.add_column(heading, no_wrap=True)
    for trial in status.trials:
        result = status.results.get(trial.identity)
        known = not status.plan.missing
        identity = trial.identity if known else "unknown"
        trained = (result.status if result else "to train") if known else "unknown"
        table.add_row(
            trial.variant,
            Text(trial.row),
            str(trial.seed),
            identity,
            Text(trained),
            Text(_measured_text(result) if known else "unknown"),
        )
    console.print(table)


def _measured_text(result: TrialResult | None) -> str:
    """Whether all evaluations of a trial are measured, or which are not."""
    if result is None or result.status != "finished":
        return "–"
    return f"lacks {', '.join(result.unmeasured)}" if result.unmeasured else "all"


def format_forecast(
    status: LocalPlanStatus, forecast: Forecast, rounds: ExpectedRounds | None = None
) -> list[str]:
    """Return the lines that describe a forecast.

    Args:
        status: Status of the plan.
        forecast: Its forecast.
        rounds: Rounds of seeds that are added until the table is decided, if there are any.
    """
    suite, (device, _) = status.plan.suite, status.machine
    hours = forecast.work_sec * suite.resources.workers / 3600
    work = f"{hours * suite.resources.cpus:.2g} CPU-hours"
    if device == "cuda":
        share = 1.0 if suite.resources.gpus == "auto" else suite.resources.gpus
        work += f", {hours * share:.2g} GPU-hours"
    duration = format_duration(forecast.wall_time_sec)
    basis = ", ".join(f"{count} {_ORIGINS[kind]}" for kind, count in forecast.basis.items())
    about, following = "about", "the trials that are expected to follow"
    if rounds and rounds.trainings is None:
        about, following = "at most about", "all trials that may follow"
    includes = f"; includes {following}" if status.expected_trials else ""
    lines = [
        f"{about} {duration} here ({device}, {forecast.concurrent} at a time); {work}; "
        f"up to {forecast.memory_mib:,.0f} MiB per trial",
        f"basis of the estimate, in cells: {basis}{includes}; excludes start-up; concurrent trials "
        "slow each other down",
    ]
    if "probed" in forecast.basis and status.processor_share < BUSY_SHARE:
        share_text = f"{100 * status.processor_share:.0f} % of a processor"
        lines.append(
            f"other processes keep this machine busy: each thread gets {share_text}, which the "
            "estimate includes"
        )
    evaluations = {e.name for own in status.plan.settings.values() for e in own.evaluate}
    at_the_end = sorted(evaluations - {"error", "top5_error"})
    if at_the_end and set(forecast.basis) - {"ran"}:
        lines.append(f"excludes the evaluations after training: {', '.join(at_the_end)}")
    if count := len(status.to_measure):
        trials = "1 trained trial" if count == 1 else f"{count} trained trials"
        lines.append(f"excludes the evaluations to measure of {trials}")
    return lines


def as_json(
    status: LocalPlanStatus, forecast: Forecast | None, rounds: ExpectedRounds | None = None
) -> str:
    """Return the status of a plan, its forecast, and the rounds that are expected, as JSON."""
    cells: dict[tuple[str, str, Holdout], dict[str, Any]] = {}
    counted = None if status.plan.missing else 0
    for trial in status.trials:
        cell = cells.setdefault(
            (trial.variant, trial.row, trial.holdout),
            {"variant": trial.variant, "row": trial.row, "holdout": trial.holdout}
            | {
                "trials": 0,
                **dict.fromkeys(("finished", "diverged", "stopped", "measured"), counted),
            },
        )
        cell["trials"] += 1
        result = status.results.get(trial.identity)
        if result:
            cell[result.status] += 1
            cell["measured"] += not result.unmeasured
    forecast_content = None
    if forecast:
        forecast_content = {
            "trials": forecast.trials,
            "wall_time_sec": round(forecast.wall_time_sec, 1),
            "work_sec": round(forecast.work_sec, 1),
            "memory_mib": round(forecast.memory_mib),
            "concurrent": forecast.concurrent,
            "cells": dict(forecast.basis),
            "processor_share": round(status.processor_share, 2)
            if "probed" in forecast.basis
            else None,
        }
    content = {
        "suite": status.plan.suite.suite,
        "cells": list(cells.values()),
        "data": {"notes": status.plan.notes, "warnings": status.warnings},
        "to_train": None if status.plan.missing else len(status.left),
        "to_measure": None if status.plan.missing else len(status.to_measure),
        "coming": len(status.expected_trials),
        **({"until_decided": rounds.content} if rounds else {}),
        "changed_code": dict(status.changed_code),
        "forecast": forecast_content,
        "missing": list(status.plan.missing),
    }
    return json.dumps(content, indent=1)
