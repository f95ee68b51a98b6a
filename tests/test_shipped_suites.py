"""Every suite in `suites/`: parsed, planned, dry-run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lossbench.assembly import check
from lossbench.report.published import published_numbers, published_problem
from lossbench.suite import load_suite
from lossbench.trial import run_trial

SUITES = sorted((Path(__file__).resolve().parent.parent / "suites").glob("*.yaml"))
STAND_INS = {"mnist": (28, 1, 10)}
"""Side, channels and classes of random images in place of data that cannot be shipped."""


@pytest.fixture
def data_root(make_folder: Callable[..., Path], tmp_path: Path) -> Path:
    for name, (side, channels, classes) in STAND_INS.items():
        make_folder(name, side=side, channels=channels, classes=classes)
    return tmp_path / "data"


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_a_shipped_suite_plans_and_takes_one_step(
    path: Path, data_root: Path, tmp_path: Path
) -> None:
    suite = load_suite(path, ["recipe.epochs=1"])
    assert suite.suite == path.stem
    assert suite.title
    plan = check(suite, data_root)
    cells = {(t.variant, t.row): t for t in plan.trials}
    assert len(plan.trials) == len(cells) * len(suite.seeds)
    for number, trial in enumerate(cells.values()):
        if number % 4 == 0:  # every row is dry-run by `check` already
            folder = tmp_path / str(number)
            folder.mkdir()
            result = run_trial(trial, data_root=data_root, artifacts=folder)
            assert len(result.history) == 1


def test_published_numbers_find_their_rows(data_root: Path) -> None:
    suites = [suite for suite in map(load_suite, SUITES) if suite.published is not None]
    assert suites
    for suite in suites:
        assert published_problem(suite.published, suite.variants) is None
        rows = check(suite, data_root).rows
        for variant in suite.variants:
            found = published_numbers(suite.published, "error", variant, rows)
            assert set(found) == {row.label for row in rows}


def test_digits_has_all_losses_and_mnist_is_table_1(data_root: Path) -> None:
    plans = {path.stem: check(load_suite(path), data_root) for path in SUITES}
    table_1 = {
        "softmax", "center", "l_softmax", "lgm(alpha=0)", "lgm(alpha=0.3)", "lgm(alpha=1)",
    }  # fmt: skip
    assert {row.label for row in plans["mnist"].rows} == table_1
    assert {row.label for row in plans["digits"].rows} == table_1 | {"contrastive", "triplet"}
    assert len(plans["digits"].trials) == 8 * 2 * 3
    assert len(plans["mnist"].trials) == 6 * 2 * 3


def test_real_mnist_learns(real_mnist: Path, tmp_path: Path) -> None:
    path = next(path for path in SUITES if path.stem == "mnist")
    overrides = ["recipe.epochs=1", "dataset.train_size=6000", "dataset.test_size=1000"]
    plan = check(load_suite(path, overrides), real_mnist).narrowed("100-D/lgm(alpha=1)")
    result = run_trial(plan.trials[0], data_root=real_mnist, artifacts=tmp_path)
    assert result.status == "finished"
    assert result.metrics["error"] < 15
