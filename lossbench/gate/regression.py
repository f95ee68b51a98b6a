"""The decision of `lossbench check`: whether a cell has become worse.

The verdict on a cell of one metric depends on its seeds (a seed that diverged, or whose metric is
not finite, has no value):

| baseline | now | verdict |
| --- | --- | --- |
| no such cell | | `new` |
| values | the same values for the same seeds, and the same seeds without a value | `identical` |
| values | no value | `regression` |
| no value | no value | `pass` |
| no value | values | `improved` |
| values | values, and a larger share of seeds without one than chance explains | `regression` |
| values | values, and a larger share of seeds without one | `regression` or `undecided` |
| values | values, and no larger share of seeds without one | by the values, see below |
| values | not measured: selection chose another row, or the row was stopped early | `undecided` |
| values | not measured: no row of the loss finished all seeds, so none was chosen | `regression` |

Chance is judged by Fisher's exact test (one-sided). Trials that were not run are an error, not a
verdict. Values are compared as follows:

1. The difference is that of the means. If all seeds of one side are among the seeds of the other,
   only the shared seeds count, each compared with itself.
2. Two kinds of noise are estimated: the spread of the differences over the seeds (without shared
   seeds: the spread of both sides' values around their means), and the spread of the baseline's
   values over its seeds. Both are pooled over all rows and columns of the metric as far as these
   agree, like those of the verdicts (`lossbench.analysis.variance_pooling.pool_spreads`), but no
   cell's spread is below its own estimate.
3. `regression`: at least two seeds, worse by at least the minimum effect, and by more than the
   smaller of the two noise limits. The limits are set so that a check in which nothing changed
   raises a false alarm in about 5 % of checks, over all cells and both kinds together (Bonferroni).
   A few baseline seeds cannot show that one seed in ten trains badly, so the baseline's noise
   counts only if every current value is worse than every value of the baseline. `improved` is the
   mirror image.
4. `pass`: the worse end of the uncorrected 95 % interval of the difference is within the minimum
   effect (a non-inferiority test with the minimum effect as its margin). There is no correction for
   the number of cells: each cell has to show it.
5. Otherwise `undecided`: a relevant regression cannot be ruled out.

A cell with a larger share of seeds without a value than in the baseline does not pass, and these
seeds count towards the two seeds that a regression of its values needs.

In simulated checks without any change (normal values; 4 to 60 cells in one to three columns;
standard deviations that are equal, e^N(0, 0.7) or e^N(0, 1) per row or per cell, or 5 times those
of the others in one cell), false alarms occurred in at most 5.3 % of checks with three seeds
(3,000 to 12,000 checks per scenario; 7 % if each column were pooled by itself, 6.5 % if noisy rows
were left out of the pool) and in at most 3 % with five. With two seeds they occurred in less than
5 % for equal spreads, and with a few cells of unequal spread in up to 8 % in one column and 10 % in
several. With exponential noise and three seeds they occurred in 3 to 9 %.
`python -m benchmarks check` measures these rates.

The uncorrected interval and the noise limit are two statistics. If they disagree on whether the
cell has changed, the reason of the verdict explains it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from lossbench.analysis.number_format import difference_unit, format_spec, with_unit
from lossbench.analysis.statistics import LEVEL, Interval, larger_share_p
from lossbench.analysis.variance_pooling import Spread
from lossbench.gate.baseline import Baseline, BaselineCell, BaselineMetric
from lossbench.gate.compare import (
    CellPair,
    pair_cells,
    spreads_of_baseline,
    spreads_of_differences,
)

CheckVerdict = Literal["regression", "undecided", "new", "improved", "pass", "identical"]
ALPHA = 1 - LEVEL
"""Probability of a false alarm per check, and of an interval that misses the true difference."""
MIN_SEEDS = 2
"""Number of current seeds below which nothing is a regression: a single seed may train badly."""
_ROUNDING = 1e-9  # of means, as a share of the minimum effect


@dataclass(frozen=True)
class CheckedCell:
    """The verdict on one cell for one metric.

    Attributes:
        cell: Current cell; the baseline's if it was not measured.
        metric: Metric with its minimum effect.
        before: Cell of the baseline; None for a new cell.
        after: Current cell; None if it was not measured.
        verdict: CheckVerdict by the rule of this module.
        reason: Reason in one line; it explains an interval that seems to contradict the verdict.
        matched: Seeds that are compared with themselves; empty if means are compared.
        delta: Current mean minus mean of the baseline, in the metric's unit.
        interval: 95 % interval of delta, not corrected for the number of cells.
        noise_limit: Largest absolute delta that noise explains; None if unknown.
    """

    cell: BaselineCell
    metric: BaselineMetric
    before: BaselineCell | None
    after: BaselineCell | None
    verdict: CheckVerdict
    reason: str
    matched: tuple[int, ...] = ()
    delta: float | None = None
    interval: Interval | None = None
    noise_limit: float | None = None


def exit_code(cells: Iterable[CheckedCell]) -> int:
    """1 if a cell is a regression, else 3 if one is undecided, else 0."""
    verdicts = {cell.verdict for cell in cells}
    return 1 if "regression" in verdicts else 3 if "undecided" in verdicts else 0


def check_cells(
    baseline: Baseline, measured: Baseline, only: str | None = None
) -> list[CheckedCell]:
    """Judge all current cells, and the cells of the baseline that were not measured.

    In a suite with `selection`, cells of the baseline may lack a current result: on the test set
    if another row was chosen or none, on the held-out part if all seeds were stopped early.

    Args:
        baseline: Baseline of the same conditions; see `require_comparable`.
        measured: Current results.
        only: Glob of `--only`; other cells of the baseline are ignored.
    """
    pairs = pair_cells(baseline, measured)
    weighed = [p for p in pairs if p.before_values and p.after_values and not p.identical]
    of_differences, of_baseline = spreads_of_differences(weighed), spreads_of_baseline(baseline)
    checked = []
    for pair in pairs:
        cell = _judge_by_seeds(pair)
        if cell is None:
            key = pair.cell.key
            cell = _judge_by_values(
                pair, of_differences[key], of_baseline.get(key), alpha=ALPHA / len(weighed)
            )
        checked.append(cell)
    absent = [c for c in baseline.cells if c.matches_only(only) and c.key not in measured.by_key]
    return checked + [_judge_absent(cell, baseline, measured) for cell in absent]


def _judge_absent(cell: BaselineCell, baseline: Baseline, measured: Baseline) -> CheckedCell:
    """Judge a cell of the baseline that was not measured now."""
    verdict: CheckVerdict = "undecided"
    if cell.held_out:
        reason = "every seed was stopped early in favour of other rows"
    elif _could_choose(measured, cell.variant, cell.loss):
        reason = "selection chose a different row than in the baseline"
    else:
        verdict = "regression" if cell.values else "undecided"
        reason = f"nothing was chosen for {cell.loss}: none of its rows finished all seeds"
    return CheckedCell(cell, baseline.metric_by_name[cell.metric], cell, None, verdict, reason)


def _could_choose(measured: Baseline, variant: str, loss: str) -> bool:
    """Whether a row of a loss finished all seeds on the held-out part."""
    held_out = [cell for cell in measured.cells if cell.held_out]
    seeds = max((len(cell.seeds_with_result) for cell in held_out), default=0)
    return any(
        len(cell.seeds) == seeds
        for cell in held_out
        if (cell.variant, cell.loss) == (variant, loss)
    )


def _judge_by_seeds(pair: CellPair) -> CheckedCell | None:
    """Judge a cell without comparing values; None if they have to be compared."""
    if pair.before is None:
        return _checked(pair, "new", "not in the baseline")
    if pair.identical:
        if not pair.before_values:
            return _checked(pair, "identical", "the same seeds diverged")
        return replace(_checked(pair, "identical", "the same values for the same seeds"), delta=0.0)
    was, was_of = len(pair.before.diverged), len(pair.before.seeds_with_result)
    now, now_of = len(pair.cell.diverged), len(pair.cell.seeds_with_result)
    if not pair.after_values:
        verdict: CheckVerdict = "regression" if pair.before_values else "pass"
        return _checked(pair, verdict, _diverged_text(now, now_of, was, was_of))
    if not pair.before_values:
        return _checked(pair, "improved", _diverged_text(now, now_of, was, was_of))
    return None


def _checked(pair: CellPair, verdict: CheckVerdict, reason: str) -> CheckedCell:
    return CheckedCell(
        pair.cell, pair.metric, pair.before, pair.cell, verdict, reason, pair.matched
    )


def _diverged_text(now: int, now_of: int, was: int, was_of: int) -> str:
    """`2 of 3 seeds diverged; in the baseline none of 3`."""
    seeds = "seed" if now_of == 1 else "seeds"
    return (
        f"{now or 'none'} of {now_of} {seeds} diverged; in the baseline {was or 'none'} of {was_of}"
    )


def _judge_by_values(
    pair: CellPair, of_differences: Spread | None, of_baseline: Spread | None, alpha: float
) -> CheckedCell:
    """Judge a cell with values on both sides.

    Args:
        pair: The cell and its baseline.
        of_differences: Spread of the differences.
        of_baseline: Spread of the baseline.
        alpha: Probability of a false alarm that this cell may have.
    """
    assert pair.before is not None
    metric, delta, worse = pair.metric, pair.delta, pair.worsening
    factors = pair.variance_factors
    known = [
        (s, f) for s, f in zip((of_differences, of_baseline), factors, strict=True) if s is not None
    ]
    if not known:
        unknown = _checked(pair, "undecided", "the spread between seeds is unknown")
        return replace(unknown, delta=delta)
    spread, factor = known[0]
    half = spread.half_width(factor, ALPHA)
    (was, was_of), (now, now_of) = pair.diverged(pair.before), pair.diverged(pair.cell)
    more_diverge = now * was_of > was * now_of
    tests = len(known) + more_diverge
    counted = known if pair.separated else [w for w in known if w[0] is of_differences]
    limit = min((s.half_width(f, alpha / tests) for s, f in counted), default=None)
    seeds = len(pair.after_values) + (now if more_diverge and worse > 0 else 0)
    beyond_noise = limit is not None and abs(delta) > limit
    large = abs(delta) >= metric.min_effect * (1 - _ROUNDING)
    significant = seeds >= MIN_SEEDS and large and beyond_noise
    divergence = _diverged_text(now, now_of, was, was_of)
    unit = difference_unit(metric.unit)
    spec = format_spec(metric.unit, pair.before_values + pair.after_values)
    min_effect = with_unit(f"{metric.min_effect:g}", unit)

    def amount(difference: float | None) -> str:
        return "" if difference is None else with_unit(f"{difference:{spec}}", unit)

    verdict: CheckVerdict
    if significant and worse > 0:
        verdict = "regression"
        reason = f"worse by {amount(worse)}; the noise limit is {amount(limit)}"
        if more_diverge:
            reason += f"; {divergence}"
    elif more_diverge and larger_share_p((was, was_of), (now, now_of)) <= alpha / tests:
        verdict, reason = "regression", f"{divergence}, more than chance explains"
    elif more_diverge:
        verdict, reason = "undecided", divergence
    elif significant:
        verdict = "improved"
        reason = f"better by {amount(-worse)}; the noise limit is {amount(limit)}"
    elif worse + half <= metric.min_effect * (1 + _ROUNDING):
        verdict, reason = "pass", f"a worsening of {min_effect} or more is ruled out"
    else:
        verdict = "undecided"
        reason = (
            f"a worsening of up to {amount(worse + half)} cannot be ruled out; the minimum effect "
            f"is {min_effect}"
        )
    if abs(delta) <= half and significant:
        reason += (
            "; the interval contains 0 because the values vary more between seeds than in the "
            "baseline; the verdict uses the baseline's noise, and every value is "
            f"{'worse' if worse > 0 else 'better'} than every value of the baseline"
        )
    elif abs(delta) > half and verdict == "undecided":
        why = _why_undecided(seeds, large, worse, amount(limit))
        reason += f"; the interval excludes 0, but {why}"
    interval = Interval(delta - half, delta + half)
    checked = _checked(pair, verdict, reason)
    return replace(checked, delta=delta, interval=interval, noise_limit=limit)


def _why_undecided(seeds: int, large: bool, worse: float, limit: str) -> str:
    """Why a cell is undecided although its interval excludes 0."""
    if worse < 0:
        return "a cell with a larger share of diverged seeds cannot be improved"
    if seeds < MIN_SEEDS:
        return "a single seed may train badly"
    if not large:
        return "the difference is below the minimum effect"
    if not limit:
        return "the values overlap with those of the baseline"
    return (
        f"it is the interval of this cell alone: a regression must exceed {limit}, which chance "
        f"exceeds in at least one cell in {100 * ALPHA:g} % of checks"
    )
