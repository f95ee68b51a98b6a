"""Progress display: a bar, the running trials, the time left."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from lossbench.planning.trial import Trial
from lossbench.records import EpochRecord, TrialResult


class Display:
    """Live display on a terminal; otherwise only failures, divergences and notes are printed.

    Args:
        console: Console on standard error.
        total_trials, total_epochs: Number of trials to run, and of their epochs.
        until: Epoch after which a trial is paused, by its identity; all other trials run to the
            end.
        measure_only: Whether the trials are trained already and only measured.
    """

    def __init__(
        self,
        console: Console,
        total_trials: int,
        total_epochs: int,
        until: Mapping[str, int] | None = None,
        *,
        measure_only: bool = False,
    ) -> None:
        self._console = console
        self._until = until or {}
        self._first_state = "measuring" if measure_only else "starting"
        self._total, self._done, self._failed, self._diverged = total_trials, 0, 0, 0
        self._running: dict[str, tuple[Trial, EpochRecord | None]] = {}
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            expand=True,
            speed_estimate_period=600,
        )
        self._task: TaskID = self._bar.add_task("", total=total_epochs)
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4)

    def __enter__(self) -> Display:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live.is_started:
            self._running = {}
            self._live.stop()

    def started(self, trial: Trial) -> None:
        """Show a trial as running, also one that restarts because its worker died."""
        _, last = self._running.get(trial.identity, (trial, None))
        if last:
            self._bar.advance(self._task, -last.epoch)
        self._running[trial.identity] = (trial, None)

    def epoch(self, trial: Trial, record: EpochRecord) -> None:
        before = self._running.get(trial.identity, (trial, None))[1]
        self._running[trial.identity] = (trial, record)
        self._bar.advance(self._task, record.epoch - (before.epoch if before else 0))

    def ended(self, trial: Trial, result: TrialResult) -> None:
        self._leave(trial)
        self._done += 1
        if result.status == "diverged":
            self._diverged += 1
            self._console.print(Text(f"diverged: {trial.name}: {result.reason}", "yellow"))

    def paused(self, trial: Trial) -> None:
        self._leave(trial)
        self._done += 1

    def failed(self, trial: Trial, message: str) -> None:
        self._leave(trial)
        self._failed += 1
        self._console.print(Text(f"failed: {trial.name}: {message}", "red"))

    def note(self, message: str) -> None:
        self._console.print(Text(message, "yellow"))

    def _leave(self, trial: Trial) -> None:
        _, last = self._running.pop(trial.identity, (trial, None))
        due = self._until.get(trial.identity, trial.recipe.epochs)
        self._bar.advance(self._task, due - (last.epoch if last else 0))

    def _render(self) -> Group:
        counts = f"{self._done}/{self._total} trials, {len(self._running)} running"
        counts += f", {self._failed} failed" if self._failed else ""
        counts += f", {self._diverged} diverged" if self._diverged else ""
        self._bar.update(self._task, description=counts)
        table = Table.grid(padding=(0, 2))
        running = list(self._running.values())
        lines = self._console.size.height - 2  # without the bar and the cursor's line
        shown = running if len(running) <= lines else running[: max(lines - 1, 0)]
        for trial, record in shown:
            table.add_row(Text(f"  {trial.name}", "dim"), *self._state(trial, record))
        if len(shown) < len(running):
            table.add_row(Text(f"  and {len(running) - len(shown)} more", "dim"))
        return Group(self._bar, table)

    def _state(self, trial: Trial, record: EpochRecord | None) -> tuple[str, str]:
        if record is None:
            return self._first_state, ""
        errors = [v for k, v in record.metrics.items() if k in ("test_error", "holdout_error")]
        error = f"error {errors[0]:.2f} %" if errors else ""
        return f"epoch {record.epoch}/{trial.recipe.epochs}", error
