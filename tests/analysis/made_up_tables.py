"""Made-up suites and tables."""

from __future__ import annotations

import math
from typing import Any

from lossbench.analysis.tables import Cell, Table, make_tables
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults

NAN = math.nan
TWO = "losses: [softmax, {lgm: {alpha: {grid: [0.0, 1.0]}}}]\n"
MNIST = (
    "variants: {2-D: {model: {feature_dim: 2}}, own: {model: {feature_dim: 3}}}\n"
    "published: table1_mnist_error\n"
)


def only_table(plan: Plan, results: Any) -> Table:
    [table] = make_tables(PlanWithResults(plan, results))
    return table


def cell(table: Table, row: str, variant: str = "default") -> Cell:
    return table.cells[variant, row]


def best_rows(table: Table) -> set[str]:
    return {c.row.label for c in table.cells.values() if c.best}


def errors(softmax: Any, alpha0: Any, alpha1: Any) -> dict[str, Any]:
    return {
        "default/softmax": softmax,
        "default/lgm(alpha=0)": alpha0,
        "default/lgm(alpha=1)": alpha1,
    }
