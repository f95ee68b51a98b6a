"""A suite's results against its baseline: whether they can be compared, and the comparison."""

from __future__ import annotations

from collections.abc import Callable

from lossbench.errors import RequestError, did_you_mean
from lossbench.plan import Plan
from lossbench.report.baseline import Baseline, BaselineCell, differences, param_differences
from lossbench.report.regression import Finding, compare


def judge(
    baseline: Baseline,
    measured: Baseline,
    plan: Plan,
    asked: Callable[[BaselineCell], bool],
    path: str,
) -> list[Finding]:
    """Compare what was measured with the baseline.

    Args:
        baseline: What the cells must reach.
        measured: What they reach.
        plan: That of `measured`.
        asked: Whether the request is about a cell of the baseline.
        path: Of the baseline, for messages.

    Raises:
        RequestError: The two can not be compared: another suite, data set or recipe, or cells of
            the baseline that the suite no longer has.
    """
    if baseline.suite != measured.suite:
        raise RequestError(f"{path}: suite: it is of {baseline.suite!r}, not {measured.suite!r}")
    different = differences(baseline, measured)
    if different:
        lines = "\n".join(f"{path}: {line}" for line in different)
        raise RequestError(f"{lines}\nnothing was compared: the conditions are not the same")
    there = measured.by_key
    gone = [cell for cell in baseline.cells if asked(cell) and cell.key not in there]
    unchosen = [cell for cell in gone if _may_be_chosen(cell, plan)]
    lost = [cell for cell in gone if cell not in unchosen]
    if lost:
        raise RequestError("\n".join(f"{path}: {_lost(cell, measured)}" for cell in lost))
    findings = compare(baseline, measured)
    if all(finding.verdict == "new" for finding in findings):
        raise RequestError(f"{path}: cells: the baseline has none of those that were asked for")
    reason = "in the baseline the held-out part chose it, and here another row"
    return findings + [
        Finding(cell, baseline.metric[cell.metric], cell, None, "undecided", reason)
        for cell in unchosen
    ]


def _may_be_chosen(cell: BaselineCell, plan: Plan) -> bool:
    """Whether the suite has the row, and would test it if the held-out part chose it."""
    return (
        plan.suite.selection is not None
        and cell.metric in {metric.name for metric in plan.metrics}
        and any((row.loss.name, row.loss.params) == (cell.loss, cell.params) for row in plan.rows)
    )


def _lost(cell: BaselineCell, measured: Baseline) -> str:
    """What became of a cell of the baseline that the suite does not have."""
    here = [c for c in measured.cells if (c.variant, c.metric) == (cell.variant, cell.metric)]
    near = [c for c in here if c.row == cell.row] or [c for c in here if c.loss == cell.loss]
    text = f"cells: the suite has no {cell.name} ({cell.metric}) with the baseline's parameters"
    if len(near) == 1:
        return f"{text}: {cell.loss}.{param_differences(cell.params, near[0].params)}"
    return text + did_you_mean(cell.row, {c.row for c in here})
