"""A suite's results against its baseline: whether they can be compared, and the comparison."""

from __future__ import annotations

from collections.abc import Callable

from lossbench.errors import RequestError, did_you_mean
from lossbench.gate.baseline import (
    Baseline,
    BaselineCell,
    CellKey,
    cell_key,
    differences,
    param_differences,
)
from lossbench.gate.from_results import conditions_of, data_of, metrics_of
from lossbench.gate.regression import Finding, Verdict, compare
from lossbench.planning.plan import Plan

Asked = Callable[[BaselineCell], bool]
"""Whether the request is about a cell of the baseline."""


def require_comparable(baseline: Baseline, plan: Plan, asked: Asked, path: str) -> None:
    """Find before any result is looked at whether a suite can be compared with a baseline.

    Args:
        baseline: What the cells must reach.
        plan: The suite, laid out.
        asked: See `Asked`.
        path: Of the baseline, for messages.

    Raises:
        RequestError: Another suite, data set or recipe, or cells of the baseline that the suite
            no longer has.
    """
    if baseline.suite != plan.suite.suite:
        raise RequestError(f"{path}: suite: it is of {baseline.suite!r}, not {plan.suite.suite!r}")
    different = differences(baseline, data_of(plan), conditions_of(plan), metrics_of(plan))
    if different:
        lines = "\n".join(f"{path}: {line}" for line in different)
        raise RequestError(f"{lines}\nnothing was compared: the conditions are not the same")
    planned = _planned(plan)
    lost = [cell for cell in baseline.cells if asked(cell) and cell.key not in planned]
    if lost:
        raise RequestError("\n".join(f"{path}: {_lost(cell, plan)}" for cell in lost))
    if not planned & baseline.by_key.keys():
        raise RequestError(f"{path}: cells: the baseline has none of those that were asked for")


def judge(baseline: Baseline, measured: Baseline, asked: Asked) -> list[Finding]:
    """Compare what was measured with a comparable baseline.

    Returns:
        The findings of all measured cells, and of those in the baseline that were not measured
        now. These are cells of a suite with `selection`: of the test set, where another row was
        chosen or none, and of the held-out part, where every seed was stopped early.
    """
    gone = [cell for cell in baseline.cells if asked(cell) and cell.key not in measured.by_key]
    return compare(baseline, measured) + [_absent(c, baseline, measured) for c in gone]


def _absent(cell: BaselineCell, baseline: Baseline, measured: Baseline) -> Finding:
    """The finding of a cell of the baseline that was not measured now."""
    verdict: Verdict = "undecided"
    if cell.held_out:
        reason = "every seed was stopped early, behind other rows"
    elif _has_chosen(measured, cell.variant, cell.loss):
        reason = "in the baseline the held-out part chose it, and here another row"
    else:
        verdict = "regression" if cell.values else "undecided"
        reason = f"nothing was chosen for {cell.loss}: no row of it finished all its seeds"
    return Finding(cell, baseline.metric[cell.metric], cell, None, verdict, reason)


def _has_chosen(measured: Baseline, variant: str, loss: str) -> bool:
    """Whether the held-out part could choose a row of a loss: one that finished all seeds."""
    held_out = [cell for cell in measured.cells if cell.held_out]
    seeds = max((len(cell.planned) for cell in held_out), default=0)
    return any(
        len(cell.seeds) == seeds
        for cell in held_out
        if (cell.variant, cell.loss) == (variant, loss)
    )


def _planned(plan: Plan) -> set[CellKey]:
    return {
        cell_key(variant, row.loss.name, row.loss.params, metric.name)
        for variant in plan.suite.variants
        for row in plan.rows
        for metric in metrics_of(plan)
    }


def _lost(cell: BaselineCell, plan: Plan) -> str:
    """What became of a cell of the baseline that the suite does not have."""
    text = f"cells: the suite has no {cell.name} ({cell.metric}) with the baseline's parameters"
    near = [r for r in plan.rows if r.label == cell.row]
    near = near or [r for r in plan.rows if r.loss.name == cell.loss]
    if cell.variant not in plan.suite.variants:
        return f"cells: the suite has no variant {cell.variant!r}" + did_you_mean(
            cell.variant, plan.suite.variants
        )
    if len(near) == 1 and near[0].loss.name == cell.loss:
        changed = param_differences(cell.params, near[0].loss.params)
        return f"{text}: {cell.loss}.{changed}" if changed else f"{text}: it does not measure it"
    return text + did_you_mean(cell.row, {row.label for row in plan.rows})
