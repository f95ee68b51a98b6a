"""Refused values of `tune`: each message names the file, the key and the nearest valid name."""

from __future__ import annotations

from pathlib import Path

import pytest

from lossbench.assembly.check import check
from lossbench.planning.plan import Plan
from lossbench.suite.load import load_suite
from lossbench.suite.origin import SuiteError

LR = "recipe.optimizer.lr"
SUITE = """\
suite: tuning
dataset: digits
model: {name: digits_cnn, feature_dim: 2}
recipe: {epochs: 2, batch_size: 64, optimizer: {name: sgd, lr: 0.05}}
seeds: [0]
reference: softmax
losses: [softmax, {lgm: {alpha: 0.3, lambda: 0.1}}]
tune: {recipe.optimizer.lr: {grid: [0.01, 0.1, 1]}}
selection: {holdout: 0.2}
"""
SEARCH = f"{{{LR}: {{search: {{low: 0.01, high: 1}}}}}}"


def plan_of(folder: Path, *overrides: str) -> Plan:
    path = folder / "suite.yaml"
    path.write_text(SUITE, encoding="utf-8")
    return check(load_suite(path, overrides), folder)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["tune={recipe.optimizer.lrr: {grid: [1]}}"],
            f"tune.recipe.optimizer.lrr: is no key of the recipe that can be tuned; did you mean "
            f"'{LR}'?",
        ),
        (["tune={optimizer.lr: {grid: [1]}}"], f"did you mean '{LR}'?"),
        (["tune={recipe.optimizer.beta1: {grid: [0.9]}}"], "is no key of the recipe that can be"),
        (["tune={recipe.precision: {grid: [bfloat16]}}"], "tune.recipe.precision: cannot be tuned"),
        (["tune={recipe.input.mean: {grid: [1]}}"], "tune.recipe.input.mean: cannot be tuned"),
        (["tune={recipe: {optimizer: {lr: 1}}}"], "tune.recipe: is no key of the recipe"),
        ([f"tune.{LR}=0.1"], f"tune.{LR}: should be {{grid: [0.01, 0.1]}} or {{search:"),
        ([f"tune.{LR}.grid=[]"], f"tune.{LR}.grid: should be a list of at least one value"),
        ([f"tune.{LR}.grid=[0.1, -1]"], f"tune.{LR}.grid: -1: should be greater than 0"),
        ([f"tune.{LR}.grid=[0.1, big]"], f"tune.{LR}.grid: 'big': should be"),
        ([f"tune.{LR}.grid=[1, 0.1, 1.0]"], f"tune.{LR}.grid: has the value 1.0 twice"),
        (
            [f"tune={{{LR}: {{search: {{low: 0, high: 1}}}}}}", "selection.samples=4"],
            f"tune.{LR}.search.low: should be greater than 0, not 0",
        ),
        (
            [f"tune={{{LR}: {{search: {{low: 1, high: 0.1}}}}}}", "selection.samples=4"],
            f"tune.{LR}.search: low (1) should be less than high (0.1)",
        ),
        (
            ["tune={recipe.batch_size: {search: {low: 16.5, high: 64}}}", "selection.samples=4"],
            "tune.recipe.batch_size.search.low: should be",
        ),
        (["tune={recipe.batch_size: {grid: [1]}}"], "tune.recipe.batch_size.grid: 1: should be"),
        (
            ["tune={recipe.batch_size: {grid: [33]}}", "resources.workers=2"],
            "tune.recipe.batch_size: should be a multiple of resources.workers (2)",
        ),
        (
            ["tune={recipe.epochs: {grid: [2, 4]}}", "selection.stop_early=true"],
            "tune.recipe.epochs: cannot be tuned with selection.stop_early",
        ),
        (
            [
                "tune={recipe.optimizer.nesterov: {grid: [false, true]}, "
                "recipe.optimizer.momentum: {grid: [0, 0.9]}}"
            ],
            "tune: recipe.optimizer.nesterov needs a momentum greater than 0 (recipe.optimizer."
            "nesterov=True, recipe.optimizer.momentum=0.0)",
        ),
        (
            ["tune={recipe.schedule.warmup: {grid: [1, 3]}}"],
            "tune: recipe.schedule.warmup 3 epochs are longer than the training (2 epochs) (recipe."
            "schedule.warmup=3.0)",
        ),
        (
            ["recipe.schedule={name: cosine, warmup: 2}", "tune={recipe.epochs: {grid: [4, 1]}}"],
            "tune: recipe.schedule.warmup 2 epochs are longer than the training (1 epoch) (recipe."
            "epochs=1)",
        ),
        (["selection=null"], "tune: needs a held-out part; add selection: {holdout: 0.2}"),
        ([f"tune={SEARCH}"], f"tune.{LR}.search: needs a number of points; add selection.samples"),
        (["selection.samples=4"], "selection.samples: neither a loss nor `tune` has a search"),
        (
            [
                f"tune={{{LR}: {{grid: [1]}}, recipe.optimizer.weight_decay: {{search: [0, 1]}}}}",
                "selection.samples=4",
            ],
            "tune: has a grid and a search; use only one of them",
        ),
        (
            [f"tune={SEARCH}", "selection.samples=4", "losses.lgm.alpha={grid: [0.1, 1]}"],
            "losses.lgm.alpha.grid: is a grid, but `tune` has searches; use only grids or only "
            "searches: {search: [0.1, 1]}",
        ),
        (
            ["losses.lgm.alpha={search: [0.1, 1]}", "selection.samples=4"],
            "losses.lgm.alpha.search: is searched, but `tune` has grids",
        ),
        (
            ["losses.lgm.alpha={grid: [0.1, 0.2, 0.3, 0.4, 0.5]}"],
            "losses.lgm: has 15 points to choose from, but softmax has 3; with `tune` all losses "
            "need the same number",
        ),
        (
            [
                f"tune={{{LR}: {{search: [0.01, 0.1]}}}}",
                "selection.samples=5",
                "losses.lgm.alpha={search: {low: 0.1, high: 1}}",
            ],
            "losses.lgm: has 5 points to choose from, but softmax has 2; with `tune` all losses "
            "need the same number: give `tune` more values, or set selection.samples to 2",
        ),
        (
            ["tune={recipe.schedule.gamma: {grid: [0.1, 0.5]}}"],
            "tune.recipe.schedule.gamma: is no key of the recipe that can be tuned: the schedule "
            "constant has only warmup, warmup_from",
        ),
        (
            [
                f"tune.{LR}.grid=[{', '.join(str(i / 100) for i in range(1, 41))}]",
                f"losses.lgm.alpha={{grid: [{', '.join(str(i / 100) for i in range(40))}]}}",
            ],
            "losses.lgm: the grids of the loss and those of `tune` give 1,600 rows; at most "
            "1,000 are allowed",
        ),
        (["reference=softmax(lr=1)"], "'softmax(lr=1)' is no row; did you mean 'softmax'?"),
        (["selection.compare=[center]"], "is none of the suite's rows: no center"),
    ],
)
def test_a_wrong_tune_is_refused(tmp_path: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(SuiteError) as refused:
        plan_of(tmp_path, *overrides)
    assert message in str(refused.value)


def test_a_message_names_the_line_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(SUITE.replace("optimizer.lr: {grid", "optimizer.Lr: {grid"), encoding="utf-8")
    with pytest.raises(SuiteError, match=r"suite\.yaml:8: tune\.recipe\.optimizer\.Lr: is no key"):
        check(load_suite(path), tmp_path)


def test_values_have_the_types_of_the_recipe(tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path,
        "tune={recipe.optimizer.weight_decay: {grid: [0, 1]}, recipe.batch_size: {grid: [32]}}",
    )
    tuned = [row.tuned for row in plan.rows if row.entry == "softmax"]
    assert [list(map(type, values.values())) for values in tuned] == [[float, int]] * 2
    assert [row.label for row in plan.rows][:2] == [
        "softmax(weight_decay=0)",
        "softmax(weight_decay=1)",
    ]


def test_searched_batch_sizes_are_integers_and_heads_are_tried_with_the_smallest(
    tmp_path: Path,
) -> None:
    tune = "tune={recipe.batch_size: {search: {low: 16, high: 64, log: true}}}"
    plan = plan_of(tmp_path, tune, "selection.samples=6")
    assert all(type(row.tuned["recipe.batch_size"]) is int for row in plan.rows)
    with pytest.raises(SuiteError, match="a batch of 6 does not hold two classes of 4"):
        plan_of(
            tmp_path,
            "tune={recipe.batch_size: {grid: [6, 64]}}",
            "losses=[triplet]",
            "reference=triplet",
        )


def test_a_key_with_dots_needs_no_quotes_in_set(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, f"tune.{LR}.grid=[0.5]", "tune.recipe.epochs.grid=[2, 3]")
    assert plan.suite.tune == {LR: {"grid": [0.5]}, "recipe.epochs": {"grid": [2, 3]}}
    quoted = plan_of(tmp_path, f'tune."{LR}".grid=[0.5]')
    assert quoted.suite.tune == {LR: {"grid": [0.5]}}


def test_edges_know_the_limits_of_the_optimizer(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "tune={recipe.optimizer.weight_decay: {grid: [0, 1]}}")
    assert plan.limits["softmax", "recipe.optimizer.weight_decay"] == (0, None)


def test_rows_to_compare_are_named_without_tuned_values(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"is none of the suite's rows: lgm\(untuned\)$"):
        plan_of(tmp_path, "selection.compare=[{lgm: {alpha: 0.7, lambda: 0.1}}]")
