"""Reports of suites with tuned recipe keys: names of rows, chosen values, figures, data files."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from lossbench.analysis.predictions import ReadArrays
from lossbench.analysis.ranked_columns import find_columns, match_rows
from lossbench.analysis.tables import make_tables
from lossbench.analysis.tuned_choices import tuned_choices
from lossbench.assembly.check import check
from lossbench.planning.selection import PlanWithResults
from lossbench.planning.trial import Trial
from lossbench.records import TrialResult
from lossbench.report.build import build_report
from lossbench.report.chosen_table import chosen_table
from lossbench.report.data_files import csv, json_lines
from lossbench.report.figures.sensitivity import sensitivity_figure
from lossbench.report.figures.style import entry_colours, figure_style
from lossbench.report.formats import markdown
from lossbench.report.remarks import make_remarks
from lossbench.report.terminal import terminal_table
from lossbench.suite.load import load_suite
from tests.report.synthetic_report import result_of

LR = "recipe.optimizer.lr"
DECAY = "recipe.optimizer.weight_decay"
SUITE = """\
suite: tuning
dataset: digits
model: {name: digits_cnn, feature_dim: 2}
recipe: {epochs: 2, batch_size: 64, optimizer: {name: sgd, lr: 0.05}}
variants: {2-D: {}, 3-D: {model: {feature_dim: 3}}}
seeds: [0, 1]
reference: softmax
losses: [softmax, center]
"""
GRID = (
    f"tune: {{{LR}: {{grid: [0.001, 0.01, 0.1, 1]}}}}\n"
    "selection: {holdout: 0.2, compare: [softmax]}\n"
)
TWO_KEYS = (
    f"tune: {{{LR}: {{grid: [0.01, 0.1]}}, {DECAY}: {{grid: [0, 0.001]}}}}\n"
    "selection: {holdout: 0.2}\n"
)
NO_ARRAYS: ReadArrays = lambda identity, name: None  # noqa: E731


def error(trial: Trial) -> float:
    """Error with its minimum at another learning rate for each loss and column; nan: diverged."""
    params = trial.recipe.optimizer.params
    best = {"softmax": 0.1, "center": 0.01}[trial.loss.name] * (10 if trial.variant == "3-D" else 1)
    if params["lr"] > 20 * best:
        return math.nan
    return 5 + 3 * abs(math.log10(params["lr"] / best)) + 0.1 * trial.seed + params["weight_decay"]


def result(trial: Trial) -> TrialResult:
    value = error(trial)
    return result_of(trial, value, status="diverged" if math.isnan(value) else "finished")


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., PlanWithResults]:
    def make(more: str = GRID, *, tested: bool = True) -> PlanWithResults:
        path = tmp_path / "suite.yaml"
        path.write_text(SUITE + more, encoding="utf-8")
        plan = check(load_suite(path), tmp_path)
        first = PlanWithResults(plan, {t.identity: result(t) for t in plan.trials})
        return (
            replace(first, results={t.identity: result(t) for t in first.trials})
            if tested
            else first
        )

    return make


Make = Callable[..., PlanWithResults]


def test_the_table_of_the_test_set_has_one_row_per_entry_in_all_columns(make: Make) -> None:
    held_out, tested = make_tables(make())
    assert [row.label for row in tested.rows] == ["softmax", "softmax(untuned)", "center"]
    assert set(tested.cells) == {
        (variant, row.label) for variant in ("2-D", "3-D") for row in tested.rows
    }
    lrs = {place: cell.row.tuned.get(LR) for place, cell in tested.cells.items()}
    assert lrs["2-D", "center"] == 0.01
    assert lrs["3-D", "center"] == 0.1
    assert lrs["2-D", "softmax"] == 0.1
    assert lrs["3-D", "softmax"] == 1.0
    assert lrs["2-D", "softmax(untuned)"] is None
    assert len(held_out.rows) == 8
    assert tested.verdicts is not None
    verdicts = [(v.variant, v.row, v.reference) for v in tested.verdicts.listed]
    assert verdicts == [
        (variant, row, "softmax")
        for variant in ("2-D", "3-D")
        for row in ("softmax(untuned)", "center")
    ]
    assert tested.ranks is not None


def test_the_chosen_values_and_their_edges_are_in_a_table(make: Make) -> None:
    found = make()
    held_out, tested = make_tables(found)
    choices = {(c.entry, c.variant): c for c in tuned_choices(found)}
    assert choices["softmax", "3-D"].tuned == {"lr": 1.0}
    assert choices["softmax", "3-D"].edges == {"lr": False}
    assert choices["softmax", "2-D"].edges == {}
    shown = chosen_table(tested, held_out)
    assert shown is not None
    assert [[cell.text for cell in row] for row in shown.rows] == [
        ["softmax", "2-D", "0.1", "5.05 ± 0.07", "–"],
        ["softmax", "3-D", "1", "5.05 ± 0.07", "lr: upper end"],
        ["center", "2-D", "0.01", "5.05 ± 0.07", "–"],
        ["center", "3-D", "0.1", "5.05 ± 0.07", "–"],
    ]
    assert shown.notes == (
        "Each loss was tuned with 4 points in each column: lr one of 0.001, 0.01, 0.1, 1.",
        "softmax(untuned) has the recipe's own values: lr=0.05.",
    )


def test_warnings_name_the_points_that_diverged_in_one_line(make: Make) -> None:
    warnings = make_remarks(make_tables(make()))[0].warnings
    assert "2-D: center diverged at 1 of 4 held-out points: lr=1" in warnings
    assert sum("diverged" in line for line in warnings) == 1
    assert any(f"3-D: softmax chose {LR}=1, the largest of the 4 values" in w for w in warnings)


def test_data_files_have_the_tuned_values_where_there_are_any(make: Make) -> None:
    tables = make_tables(make())
    cells = json.loads(json_lines(tables))
    tested = [c for c in cells if c["metric"] == "error"]
    assert [c.get("tuned") for c in tested if c["variant"] == "2-D"] == [
        {LR: 0.1},
        None,
        {LR: 0.01},
    ]
    assert all(set(c["tuned"]) == {LR} for c in cells if c["metric"] == "holdout_error")
    assert csv(tables).splitlines()[0].startswith("suite,variant,row,loss,params,tuned,metric,")
    plain = make_tables(make(""))
    assert "tuned" not in json_lines(plain)
    assert "tuned" not in csv(plain)


def test_texts_show_the_chosen_values_and_fold_the_points(make: Make) -> None:
    found = make()
    text = markdown(make_tables(found))
    assert "<details><summary>Held-out error" in text
    assert text.count("Values chosen on the held-out part") == 1
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(terminal_table(found))
    printed = console.export_text()
    assert "Values chosen on the held-out part" in printed
    assert "softmax(lr=" not in printed
    chosen_so_far = markdown(make_tables(make(tested=False)))
    assert "Values chosen on the held-out part" in chosen_so_far


def test_one_figure_has_the_points_of_all_losses(make: Make) -> None:
    found = make()
    held_out = make_tables(found)[0]
    colours = entry_colours(found.plan.rows)
    with figure_style():
        drawn = sensitivity_figure(held_out, "2-D", colours)
    assert drawn is not None
    assert (drawn.title, drawn.name) == ("Sensitivity to lr, 2-D", "sensitivity-2-D")
    svg = drawn.svg.decode()
    for text in ("softmax", "center", "chosen", "diverged", "lr"):
        assert f"<!-- {text} -->" in svg


def test_reports_have_sensitivity_figures_and_no_second_one_of_the_same_points(
    make: Make, tmp_path: Path
) -> None:
    for more, figures in (
        (GRID, {"sensitivity-2-D", "sensitivity-3-D"}),
        (
            TWO_KEYS,
            {"sensitivity-2-D", "sensitivity-3-D"}
            | {f"selection-{v}-{loss}" for v in ("2-D", "3-D") for loss in ("softmax", "center")},
        ),
        ("", set()),
    ):
        output = tmp_path / f"report{len(more)}"
        build_report(make(more), NO_ARRAYS, output, "lossbench report")
        drawn = {path.stem for path in (output / "figures").glob("se*.png")}
        assert drawn == figures
        page = (output / "report.html").read_text(encoding="utf-8")
        assert ("Values chosen on the held-out part" in page) == bool(more)
        assert ("tab:tuning-chosen" in (output / "table.tex").read_text(encoding="utf-8")) == bool(
            more
        )


def test_a_ranking_has_one_row_per_entry(make: Make) -> None:
    columns = find_columns([make()], [])
    rows, changed = match_rows(columns.cells)
    assert set(rows) == {"softmax", "center"}
    assert changed == ["softmax", "center"]
