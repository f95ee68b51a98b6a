"""Forest plot as text: one line per row, its difference to the reference with its interval."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from lossbench.analysis.comparison import Verdict
from lossbench.analysis.number_format import NOTHING, PERCENT_SPEC, format_number, format_signed
from lossbench.analysis.statistics import Interval
from lossbench.analysis.tables import Table
from lossbench.report.verdict_text import format_seeds_to_decide, verdict_remark

WIDEST = 3.0
"""Longest interval that is drawn whole, in medians of their lengths."""
MIN_PLOT, MAX_PLOT = 16, 60
"""Characters of the plot; a narrow terminal leaves out columns to its right."""


@dataclass(frozen=True)
class ForestPanel:
    """All rows of a column, compared with its reference row.

    Attributes:
        variant: Name of the column.
        reference: Label of the reference row.
        verdicts: Verdicts in the table's order.
        margin: Largest difference that counts as none; None if there is no such number.
        shown: Range of differences that is drawn; it contains 0 and all differences, but not
            every end of an interval.
    """

    variant: str
    reference: str
    verdicts: tuple[Verdict, ...]
    margin: float | None
    shown: Interval


def forest_panels(table: Table) -> list[ForestPanel]:
    """One panel per column in which some row has a verdict."""
    by_column = table.verdicts.by_column if table.verdicts else {}
    panels = (make_panel(by_column[name]) for name in table.variants if name in by_column)
    return [panel for panel in panels if panel]


def make_panel(verdicts: Sequence[Verdict]) -> ForestPanel | None:
    """Panel of the verdicts of one column; None if no row has one."""
    if all(verdict.outcome == "none" for verdict in verdicts):
        return None
    first = verdicts[0]
    margin = next((v.margin for v in verdicts if v.margin is not None), None)
    shown = _shown(verdicts, margin)
    return ForestPanel(first.variant, first.reference, tuple(verdicts), margin, shown)


def _shown(verdicts: Sequence[Verdict], margin: float | None) -> Interval:
    """Range with all differences, in which a few very long intervals do not hide the others."""
    tested = [v for v in verdicts if v.outcome != "none"]
    means = [v.difference.mean for v in tested if v.difference.mean is not None]
    centres = [(v.interval, (v.interval.low + v.interval.high) / 2) for v in tested if v.interval]
    halves = [interval.high - centre for interval, centre in centres]
    longest = WIDEST * median(halves) if halves else 0.0
    reach = [
        (centre, min(half, longest)) for (_, centre), half in zip(centres, halves, strict=True)
    ]
    always = [0.0, *means, margin or 0.0, -(margin or 0.0)]
    low = min(*always, *(centre - half for centre, half in reach))
    high = max(*always, *(centre + half for centre, half in reach))
    pad = 0.04 * (high - low) or 1.0  # all differences are 0, without a spread
    return Interval(low - pad, high + pad)


@dataclass(frozen=True)
class _Signs:
    marks: dict[str, str]
    zero: str
    edge: str
    ends: str
    beyond: str
    line: str
    arrows: str
    plain: bool = False

    def text(self, text: str) -> str:
        """The text with the signs of numbers in ASCII, if the plot is."""
        return text.translate({0x2212: "-", 0xB1: "+-", 0x2013: "-"}) if self.plain else text


UNICODE = _Signs(
    {"better": "●", "worse": "■", "equivalent": "◆", "undecided": "○"},
    "│", "┊", "├┤", "◂▸", "─", "←→",
)  # fmt: skip
ASCII = _Signs(
    {"better": "*", "worse": "#", "equivalent": "=", "undecided": "o"},
    "|", ":", "[]", "<>", "-", "<>", plain=True,
)  # fmt: skip


@dataclass(frozen=True)
class TextForest:
    """A panel for the terminal, as wide as it allows, in ASCII where its encoding needs it.

    Attributes:
        panel: What is drawn.
        styles: Outcome -> style of its mark.
        higher_is_better: Whether positive differences are better.
        spec: Format specification of the differences.
    """

    panel: ForestPanel
    styles: dict[str, str]
    higher_is_better: bool = False
    spec: str = PERCENT_SPEC

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        signs = ASCII if options.ascii_only else UNICODE
        verdicts = self.panel.verdicts
        numbers = [signs.text(_numbers(verdict, self.spec)) for verdict in verdicts]
        seeds = [format_seeds_to_decide(verdict) for verdict in verdicts]
        label = min(max(cell_len(v.row) for v in verdicts), max(options.max_width // 3, 8))
        columns: list[tuple[str, Sequence[str]]] = [
            ("verdict", [v.outcome for v in verdicts]),
            ("difference", numbers),
        ]
        if any(seeds):
            columns.append(("seeds to decide", seeds))
        kept: list[tuple[int, str, Sequence[str]]] = []
        width = options.max_width - label - 1
        for heading, texts in columns:
            size = max(map(cell_len, (heading, *texts))) + 2
            if kept and width - size < MIN_PLOT:
                break
            kept.append((size, heading, texts))
            width -= size
        width = max(min(width, MAX_PLOT), 3)
        head = Text(" " * (label + 1) + self._sides(width, signs), style="bold")
        for size, heading, _ in kept:
            head.append(_right(heading, size) if heading != "verdict" else f"  {heading}")
        yield _fit(head, options)
        for i, verdict in enumerate(verdicts):
            first, *rest = wrap_label(verdict.row, label)  # a cut name could be that of two rows
            line = Text(set_cell_size(first, label + 1))
            style = self.styles.get(verdict.outcome, "")
            line.append_text(self._line(verdict, width, signs, style))
            for size, heading, texts in kept:
                if heading == "verdict":
                    line.append("  " + set_cell_size(texts[i], size - 2), style=style)
                else:
                    line.append(_right(texts[i] or signs.text(NOTHING), size))
            yield _fit(line, options)
            yield from (_fit(Text(part), options) for part in rest)
        axis = Text(" " * (label + 1) + signs.text(self._axis(width)), style="dim")
        if margin := self.panel.margin:
            axis.append(signs.text(f"  {signs.edge} ± {format_number(margin, self.spec)}"))
        yield _fit(axis, options)
        for verdict in verdicts:
            if remark := verdict_remark(verdict):
                yield Text(f"{verdict.row}: {remark}", style="dim")

    def _place(self, value: float, width: int) -> int:
        shown = self.panel.shown
        share = (value - shown.low) / (shown.high - shown.low)
        return min(max(round(share * (width - 1)), 0), width - 1)

    def _line(self, verdict: Verdict, width: int, signs: _Signs, style: str) -> Text:
        zero, margin = self._place(0.0, width), self.panel.margin
        drawn = [" "] * width
        for edge in (-margin, margin) if margin else ():
            drawn[self._place(edge, width)] = signs.edge
        drawn[zero] = signs.zero
        text = Text("".join(drawn), style="dim")
        if verdict.outcome == "none" or verdict.difference.mean is None:
            return text
        mean = self._place(verdict.difference.mean, width)
        first, last = mean, mean
        if verdict.interval:
            first, last = (
                self._place(end, width) for end in (verdict.interval.low, verdict.interval.high)
            )
            drawn[first : last + 1] = signs.line * (last + 1 - first)
            shown = self.panel.shown
            drawn[first] = signs.beyond[0] if verdict.interval.low < shown.low else signs.ends[0]
            drawn[last] = signs.beyond[1] if verdict.interval.high > shown.high else signs.ends[1]
            if first < zero < last:
                drawn[zero] = signs.zero if signs.plain else "┼"
        drawn[mean] = signs.marks[verdict.outcome]
        text = Text("".join(drawn), style="dim")
        text.stylize(f"not dim {style}".strip(), first, last + 1)
        return text

    def _sides(self, width: int, signs: _Signs) -> str:
        """`← better      worse →`."""
        words = ("worse", "better") if self.higher_is_better else ("better", "worse")
        left, right = f"{signs.arrows[0]} {words[0]}", f"{words[1]} {signs.arrows[1]}"
        gap = width - len(left) - len(right)
        return left + " " * gap + right if gap > 0 else " " * width

    def _axis(self, width: int) -> str:
        """Ends of the shown range, and 0 where there is room."""
        low, high = (
            format_signed(end, self.spec) for end in (self.panel.shown.low, self.panel.shown.high)
        )
        zero = self._place(0.0, width)
        if len(low) + len(high) + 1 > width:
            return " " * zero + "0"
        text = low + " " * (width - len(low) - len(high)) + high
        if len(low) < zero < width - len(high) - 1:
            text = f"{text[:zero]}0{text[zero + 1 :]}"
        return text


def _numbers(verdict: Verdict, spec: str) -> str:
    """`−2.62 [−3.87, −1.38]`."""
    gap, interval = format_signed(verdict.difference.mean, spec), verdict.interval
    if interval is None or verdict.outcome == "none":
        return gap
    return f"{gap} [{format_signed(interval.low, spec)}, {format_signed(interval.high, spec)}]"


def _right(text: str, size: int) -> str:
    return " " * (size - cell_len(text)) + text


def wrap_label(label: str, size: int) -> list[str]:
    """Lines of at most so many characters, broken after commas and brackets where possible."""
    lines = [""]
    for part in re.split(r"(?<=[,( ])", label):
        for piece in chop_cells(part, size):
            if lines[-1] and cell_len(lines[-1] + piece) > size:
                lines.append("")
            lines[-1] += piece
    return lines


def _fit(text: Text, options: ConsoleOptions) -> Text:
    """One line, cut if the terminal is narrower than the smallest plot."""
    text.rstrip()
    text.truncate(options.max_width)
    return text
