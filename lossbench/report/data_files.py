"""The report's numbers for other programs: CSV and JSON."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from csv import DictWriter
from typing import Any

from lossbench.analysis.comparison import Verdict, Verdicts
from lossbench.analysis.power import POWER
from lossbench.analysis.predictions import CellPredictions, PredictionAnalysis
from lossbench.analysis.rank_bootstrap import Rank
from lossbench.analysis.reproduction import PUBLISHED_SEEDS
from lossbench.analysis.statistics import ALPHA, Interval, smallest_exact_p
from lossbench.analysis.table_looks import TableLooks
from lossbench.analysis.tables import Cell, Table
from lossbench.report.look_text import describe_looks
from lossbench.report.verdict_text import format_seeds_to_decide, verdict_remark
from lossbench.suite.schema import Suite


def json_lines(tables: Iterable[Table]) -> str:
    """A JSON array with one object per cell and metric, one object per line."""
    objects = [
        {
            "suite": table.suite,
            "variant": cell.variant,
            **({"label": cell.row.entry_label} if cell.row.entry_label else {}),
            "loss": cell.row.loss.name,
            "params": cell.row.loss.params,
            **({"tuned": cell.row.tuned} if cell.row.tuned else {}),
            "metric": table.metric,
            "values": cell.summary.values,
            "mean": cell.summary.mean,
            "std": cell.summary.std,
            "n": cell.summary.n,
            "diverged": cell.summary.diverged,
            **({"changes": table.changes} if table.changes else {}),
        }
        for table in tables
        for cell in table.cells.values()
    ]
    lines = ",\n".join(json.dumps(o, allow_nan=False, ensure_ascii=False) for o in objects)
    return f"[\n{lines}\n]\n"


CSV_COLUMNS = [
    "suite",
    "variant",
    "row",
    "loss",
    "params",
    "metric",
    "mean",
    "std",
    "n",
    "diverged",
    "ci_low",
    "ci_high",
    "published_mean",
    "published_std",
    "published_gap",
    "published_gap_low",
    "published_gap_high",
    "published_outcome",
    "values",
    "changes",
]


def csv(tables: Iterable[Table]) -> str:
    """Tidy: one line per cell and metric. `params` and `values` are JSON; intervals are 95 %.

    `tuned` is only there with tuned recipe keys, also as JSON. `changes` lists the differences from
    the suite file.
    """
    listed = [(table, cell) for table in tables for cell in table.cells.values()]
    records = [_csv_record(table, cell) for table, cell in listed]
    columns = list(CSV_COLUMNS)
    if any(cell.row.tuned for _, cell in listed):
        columns.insert(columns.index("params") + 1, "tuned")
    text = io.StringIO()
    writer = DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def _csv_record(table: Table, cell: Cell) -> dict[str, Any]:
    summary, published = cell.summary, cell.published
    found = table.reproductions.get((cell.variant, cell.row.label))
    return {
        "suite": table.suite,
        "variant": cell.variant,
        "row": cell.row.label,
        "loss": cell.row.loss.name,
        "params": json.dumps(cell.row.loss.params, ensure_ascii=False),
        "tuned": json.dumps(dict(cell.row.tuned), ensure_ascii=False),
        "metric": table.metric,
        "mean": summary.mean,
        "std": summary.std,
        "n": summary.n,
        "diverged": summary.diverged,
        "ci_low": summary.interval.low if summary.interval else None,
        "ci_high": summary.interval.high if summary.interval else None,
        "published_mean": published.mean if published else None,
        "published_std": published.std if published else None,
        "published_gap": found.gap if found else None,
        "published_gap_low": found.interval.low if found and found.interval else None,
        "published_gap_high": found.interval.high if found and found.interval else None,
        "published_outcome": found.outcome if found else None,
        "values": json.dumps(summary.values),
        "changes": "; ".join(table.changes),
    }


def verdicts_json(
    suite: Suite,
    tables: Iterable[Table],
    test_set: PredictionAnalysis | None,
    made_from: Mapping[str, Any],
) -> str:
    """One object: `suite`, `reference`, `metrics` (those with verdicts, ranks or
    published numbers), `test_set`.

    `made_from` has the suite file, relative to the report, and the changes made to it.

    Errors and their differences are in the metric's unit, intervals are [low, high]: that of a
    verdict at the corrected level, others at 95 %. `p_holm` is the corrected p that decides the
    verdict; `paired_t_test` has the classic test, which uses no other row.
    """
    content = {
        "suite": suite.suite,
        "made_from": [made_from],
        "reference": suite.reference,
        "alpha": ALPHA,
        "power": POWER,
        "metrics": [
            _metric(table)
            for table in tables
            if table.verdicts or table.ranks or table.reproductions
        ],
        "test_set": _test_set(test_set) if test_set else None,
    }
    return json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _metric(table: Table) -> dict[str, Any]:
    verdicts = table.verdicts
    return {
        "metric": table.metric,
        "unit": table.unit,
        **({"looks": _looks(table.looks)} if table.looks else {}),
        "comparisons": verdicts.comparisons if verdicts else 0,
        "verdicts": [_verdict(verdict) for verdict in verdicts.listed] if verdicts else [],
        "resolution": _resolution(verdicts) if verdicts else [],
        "out_of_line": dict(verdicts.out_of_line) if verdicts else {},
        "ranks": [_rank(rank) for rank in table.ranks.listed] if table.ranks else [],
        **({"published": _published(table)} if table.reproductions else {}),
    }


def _published(table: Table) -> list[dict[str, Any]]:
    return [
        {
            "variant": variant,
            "row": row,
            "mean": found.published.mean,
            "std": found.published.std,
            "assumed_n": None if found.published.std is None else PUBLISHED_SEEDS,
            "measured_n": found.n,
            "gap": found.gap,
            "interval": _interval(found.interval),
            "margin": found.margin,
            "outcome": found.outcome,
        }
        for (variant, row), found in table.reproductions.items()
    ]


def _looks(looks: TableLooks) -> dict[str, Any]:
    """How seeds were added until the table was decided."""
    return {
        "state": looks.state,
        "text": describe_looks(looks),
        "max_seeds": looks.record.max_seeds,
        "rounds": [each.seeds for each in looks.record.rounds],
        "trainings": looks.trainings,
        "most_trainings": looks.most_trainings,
        "decided": [
            {
                "variant": decision.variant,
                "row": decision.row,
                "round": None if decision.look is None else decision.look + 1,
            }
            for decision in looks.decided.decisions
        ],
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    gap = verdict.difference
    flips, exchanges = smallest_exact_p(gap.n)
    return {
        "variant": verdict.variant,
        "row": verdict.row,
        "reference": verdict.reference,
        "verdict": verdict.outcome,
        "remark": verdict_remark(verdict),
        "seeds": gap.seeds,
        "differences": gap.values,
        "mean": gap.mean,
        "std": gap.std,
        "pooled_std": verdict.spread.sd if verdict.spread else None,
        "df": verdict.spread.df if verdict.spread else None,
        "interval": _interval(verdict.interval),
        "p_holm": verdict.p_holm,
        "margin": verdict.margin,
        "paired_t_test": {
            "interval": _interval(gap.interval),
            "p": gap.p,
            "p_holm": verdict.paired.p_holm,
            "verdict": verdict.paired.outcome,
        },
        "seeds_to_decide": verdict.seeds_to_decide,
        "seeds_to_decide_text": format_seeds_to_decide(verdict),
        "smallest_exact_p": {"sign_flips": flips, "unmatched": exchanges} if gap.n > 1 else None,
    }


def _resolution(verdicts: Verdicts) -> list[dict[str, Any]]:
    return [
        {"variant": d.variant, "n": d.n, "std": d.std, "rows": d.rows, "gap": d.difference}
        for d in verdicts.min_detectable
    ]


def _rank(rank: Rank) -> dict[str, Any]:
    return {
        "row": rank.row,
        "mean": rank.mean,
        "interval": _interval(rank.interval),
        "by_variant": dict(rank.by_variant),
    }


def _test_set(test_set: PredictionAnalysis) -> dict[str, Any]:
    return {
        "images": test_set.images,
        "cells": [
            _cell_predictions(entry) | ({"images": entry.images} if test_set.images is None else {})
            for entry in test_set.listed
        ],
    }


def _cell_predictions(entry: CellPredictions) -> dict[str, Any]:
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
