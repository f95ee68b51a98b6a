"""What `lossbench check` does: read the baseline, compare it or replace it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from lossbench.errors import RequestError
from lossbench.gate.baseline import Baseline, BaselineCell, dump, read_baseline
from lossbench.gate.compare import judge, require_comparable
from lossbench.gate.formats import FORMATS, terminal_text
from lossbench.gate.from_results import measure
from lossbench.gate.regression import exit_code
from lossbench.gate.update import parse_min_effects, update
from lossbench.planning.plan import Plan, matches
from lossbench.planning.selection import PlanWithResults
from lossbench.records import Results
from lossbench.suite.files import write_atomically


@dataclass(frozen=True)
class Request:
    """A check, or an update.

    Attributes:
        plan: The suite, laid out; narrowed to what was asked for.
        path: Of the baseline.
        only: The glob of `--only`, if given.
        command: Runs the suite as it was asked about.
    """

    plan: Plan
    path: Path
    only: str | None
    command: str

    def read(self, *, missing_ok: bool = False) -> Baseline | None:
        """The baseline; None where it may be missing and is.

        Raises:
            RequestError: It cannot be used.
        """
        if missing_ok and not self.path.exists():
            return None
        return read_baseline(self.path)

    def require_comparable(self, baseline: Baseline) -> None:
        """Find before any result is looked at whether the suite can be compared.

        Raises:
            RequestError: Another suite, data set or recipe, or cells that the suite has not.
        """
        require_comparable(baseline, self.plan, self._asked, str(self.path))

    def measure(self, results: Results) -> Baseline:
        """The results in the form of a baseline.

        Raises:
            RequestError: One is missing.
        """
        return measure(PlanWithResults(self.plan, results), self.command)

    def check(self, baseline: Baseline, measured: Baseline, format: str) -> tuple[Text, int]:
        """The findings in a form (`text` or one of `FORMATS`), and the exit code."""
        findings = judge(baseline, measured, self._asked)
        if format == "text":
            text = terminal_text(findings, baseline, measured)
        else:
            text = Text(FORMATS[format](findings, baseline, measured))
        return text, exit_code(findings)

    def update(
        self, old: Baseline | None, measured: Baseline, min_effects: Sequence[str], *, accept: bool
    ) -> list[str]:
        """Write the baseline.

        Returns:
            What was done, each one line.

        Raises:
            RequestError: It would lower a bar and `accept` is off, or the request is wrong.
        """
        new, lower = update(
            old, measured, self._stays, parse_min_effects(min_effects), str(self.path)
        )
        if lower and not accept:
            lines = "\n".join(f"  {line}" for line in lower)
            raise RequestError(
                f"{self.path}: this would lower a bar; nothing was written\n{lines}\n"
                "--accept writes it all the same"
            )
        write_atomically(self.path, dump(new).encode())
        cells = f"{len(new.cells)} cells, measured {new.measured} on {new.device}"
        return [f"{self.path}: {cells}", *(f"accepted: {line}" for line in lower)]

    def _asked(self, cell: BaselineCell) -> bool:
        return self.only is None or matches(self.only, cell.variant, cell.row, cell.loss)

    def _stays(self, cell: BaselineCell) -> bool:
        return not self._asked(cell)
