"""Table of the uncertainty from the finite test set, by the stored predictions."""

from __future__ import annotations

from collections.abc import Sequence

from lossbench.analysis.number_format import format_signed, format_signed_interval
from lossbench.analysis.predictions import RESAMPLES, CellPredictions, McNemar, PredictionAnalysis
from lossbench.analysis.statistics import ALPHA
from lossbench.report.display import (
    Column,
    DisplayCell,
    DisplayTable,
    name_cells,
    name_columns,
)
from lossbench.report.value_text import counted

TITLE = "Uncertainty from the test set"
HEADINGS = (
    "error (95 % over images)",
    "difference (95 % over images)",
    "McNemar",
    "std from the test set",
    "share of the variance",
)


def uncertainty_table(test_set: PredictionAnalysis, has_variants: bool) -> DisplayTable:
    """One line per cell with stored predictions."""
    rows = tuple(
        (*name_cells(entry.row, entry.variant, has_variants), *_cells(entry))
        for entry in test_set.listed
    )
    columns = (*name_columns(has_variants), *map(Column, HEADINGS))
    return DisplayTable("", columns, rows, notes=_notes(test_set.images))


def _cells(entry: CellPredictions) -> list[DisplayCell]:
    """Cells under `HEADINGS`."""
    over, gap, spread = entry.interval, entry.difference_interval, entry.spread
    mcnemar, std, share = DisplayCell(), DisplayCell(), DisplayCell()
    if entry.mcnemar:
        mcnemar = DisplayCell(
            _format_mcnemar(entry.mcnemar),
            detail=f"of {counted(len(entry.mcnemar), 'seed')}",
        )
    if spread:
        low, high = 100 * spread.interval.low, 100 * spread.interval.high
        std = DisplayCell(f"{spread.test_set:.2f}", detail=f"std over seeds {spread.std:.2f}")
        share = DisplayCell(f"{100 * spread.share:.0f} %", detail=f"{low:.0f} to {high:.0f} %")
    gap_interval = format_signed_interval(gap) if gap else ""
    interval = f"{over.low:.2f} to {over.high:.2f}" if over else ""
    return [
        DisplayCell(f"{entry.error:.2f}", detail=interval),
        DisplayCell(format_signed(entry.difference), detail=gap_interval),
        mcnemar,
        std,
        share,
    ]


def _format_mcnemar(tests: Sequence[McNemar]) -> str:
    """`2 better, 0 worse`: numbers of seeds with p < 0.05."""
    significant = [test for test in tests if test.p < ALPHA]
    better = sum(test.row_wrong < test.reference_wrong for test in significant)
    return f"{better} better, {len(significant) - better} worse"


def _notes(images: int | None) -> tuple[str, ...]:
    return (
        f"95 % over images: {RESAMPLES:,} resamples of {_images_text(images)}, the same for "
        "all rows and seeds. It covers the choice of test images for these trained networks, not "
        "the variation between seeds.",
        f"McNemar: seeds with p < {ALPHA:g} in the exact test of two networks on the same images, "
        "uncorrected. Reported per seed, not pooled, because seeds share their images.",
        "Std from the test set: the part of the standard deviation over seeds that would vanish "
        "with infinitely many test images. Share of the variance: its square as a share of the "
        "variance over seeds, at most 100 %, with a 95 % interval. The part can exceed the "
        "standard deviation over seeds if that is small by chance.",
    )


def _images_text(images: int | None) -> str:
    return "each column's test images" if images is None else f"the {images:,} test images"
