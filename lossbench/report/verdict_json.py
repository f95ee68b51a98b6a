"""`verdicts.json`: everything that the report says about differences, for other programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from lossbench.analysis.comparison import Verdict, Verdicts
from lossbench.analysis.predictions import Examined, TestSet
from lossbench.analysis.rank_bootstrap import Rank
from lossbench.analysis.statistics import ALPHA, POWER, Interval, smallest_exact_p
from lossbench.analysis.tables import Table
from lossbench.suite.schema import Suite


def verdicts_json(
    suite: Suite,
    tables: Iterable[Table],
    test_set: TestSet | None,
    made_from: Mapping[str, Any],
) -> str:
    """One object: `suite`, `reference`, `metrics` (one a table with verdicts or ranks), `test_set`.

    `made_from` has the suite file, relative to the report, and the changes that were made to it.

    Errors and their differences are in the metric's unit, intervals are [low, high] at 95 %.
    `p` is that of a comparison alone, `p_holm` the corrected one that the verdict rests on.
    """
    content = {
        "suite": suite.suite,
        "made_from": [made_from],
        "reference": suite.reference,
        "alpha": ALPHA,
        "power": POWER,
        "metrics": [_metric(table) for table in tables if table.verdicts or table.ranks],
        "test_set": _test_set(test_set) if test_set else None,
    }
    return json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _metric(table: Table) -> dict[str, Any]:
    verdicts = table.verdicts
    return {
        "metric": table.metric,
        "unit": table.unit,
        "comparisons": verdicts.comparisons if verdicts else 0,
        "verdicts": [_verdict(verdict) for verdict in verdicts.listed] if verdicts else [],
        "resolution": _resolution(verdicts) if verdicts else [],
        "ranks": [_rank(rank) for rank in table.ranks.listed] if table.ranks else [],
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    gap = verdict.difference
    flips, exchanges = smallest_exact_p(gap.n)
    return {
        "variant": verdict.variant,
        "row": verdict.row,
        "reference": verdict.reference,
        "verdict": verdict.outcome,
        "remark": "; ".join(part for part in (verdict.reason, verdict.unmatched) if part),
        "seeds": gap.seeds,
        "differences": gap.values,
        "mean": gap.mean,
        "std": gap.std,
        "interval": _interval(gap.interval),
        "p": gap.p,
        "p_holm": verdict.p_holm,
        "seeds_to_decide": int(verdict.seeds) if verdict.seeds.isdigit() else None,
        "seeds_to_decide_text": verdict.seeds,
        "smallest_exact_p": {"sign_flips": flips, "unmatched": exchanges} if gap.n > 1 else None,
    }


def _resolution(verdicts: Verdicts) -> list[dict[str, Any]]:
    return [
        {"variant": f.variant, "n": f.n, "std": f.std, "rows": f.rows, "gap": f.gap}
        for f in verdicts.floors
    ]


def _rank(rank: Rank) -> dict[str, Any]:
    return {
        "row": rank.row,
        "mean": rank.mean,
        "interval": _interval(rank.interval),
        "by_variant": dict(rank.by_variant),
    }


def _test_set(test_set: TestSet) -> dict[str, Any]:
    return {"images": test_set.images, "cells": [_examined(entry) for entry in test_set.listed]}


def _examined(entry: Examined) -> dict[str, Any]:
    spread = entry.spread
    return {
        "variant": entry.variant,
        "row": entry.row,
        "seeds": entry.seeds,
        "error": entry.error,
        "interval": _interval(entry.interval),
        "difference": entry.difference,
        "difference_interval": _interval(entry.difference_interval),
        "mcnemar": [
            {
                "seed": test.seed,
                "row_wrong": test.row_wrong,
                "reference_wrong": test.reference_wrong,
                "p": test.p,
            }
            for test in entry.mcnemar
        ],
        "spread": {
            "std": spread.std,
            "test_set": spread.test_set,
            "share": spread.share,
            "share_interval": _interval(spread.interval),
        }
        if spread
        else None,
    }


def _interval(interval: Interval | None) -> list[float] | None:
    return [interval.low, interval.high] if interval else None
