from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lossbench.errors import RequestError
from lossbench.planning.changes import file_label
from lossbench.planning.plan import Plan
from lossbench.planning.rows import make_rows
from lossbench.records import Metric
from lossbench.suite.grammar import expand_grids
from lossbench.suite.load import load_suite

Write = Callable[..., Path]


def plan_of(path: Path, *overrides: str, digest: str = "d") -> Plan:
    suite = load_suite(path, overrides)
    losses = [
        point.model_copy(update={"params": {"alpha": 0.1, **point.params}})
        for loss in suite.losses
        for point in expand_grids(loss)
    ]
    return Plan(suite, make_rows(losses, suite), digest, (Metric(name="error", label="error"),))


def test_labels_show_the_varied_parameters(write_suite: Write) -> None:
    plan = plan_of(write_suite())
    assert [row.label for row in plan.rows] == ["softmax", "lgm(alpha=0)", "lgm(alpha=0.3)"]


def test_one_trial_for_each_cell_and_seed(write_suite: Write) -> None:
    plan = plan_of(write_suite(), "variants={a: {}, b: {model: {feature_dim: 3}}}")
    cells = {(t.variant, t.row, t.seed) for t in plan.trials}
    assert len(plan.trials) == len(cells) == 2 * 3 * 2
    assert len({t.identity for t in plan.trials}) == 12
    assert [t.seed for t in plan.trials[:6]] == [0] * 6  # one seed everywhere first


@pytest.mark.parametrize(
    ("milestones", "expected"),
    [
        ("[1, 1.9]", ()),
        (
            "[1, 2]",
            (
                "schedule multistep: milestone 2 is not before the end of the training (2 epochs), "
                "so the learning rate does not change there",
            ),
        ),
        (
            "[2.5, 4]",
            (
                "schedule multistep: milestones 2.5, 4 are not before the end of the training "
                "(2 epochs), so the learning rate does not change there",
            ),
        ),
    ],
)
def test_milestones_after_the_training_are_a_warning(
    write_suite: Write, milestones: str, expected: tuple[str, ...]
) -> None:
    schedule = f"recipe.schedule={{name: multistep, milestones: {milestones}}}"
    assert plan_of(write_suite(), schedule).warnings == expected
    assert plan_of(write_suite()).warnings == ()


def test_identity_depends_on_content_not_on_labels(write_suite: Write) -> None:
    first = plan_of(write_suite()).trials[0]
    renamed = first.model_copy(update={"suite": "other", "variant": "v", "row": "r"})
    assert type(first).model_validate(renamed.model_dump()).identity == first.identity
    assert plan_of(write_suite()).trials[0].identity == first.identity


@pytest.mark.parametrize(
    "override",
    [
        "recipe.epochs=3",
        "recipe.optimizer.lr=0.04",
        "recipe.input.mean=1",
        "dataset.train_size=100",
        "model.feature_dim=3",
        "seeds=[5]",
        "resources.cpus=2",
        "losses.softmax.alpha=0.2",
        "variants={default: {augment: [mirror]}}",
        "selection={holdout: 0.2}",
    ],
)
def test_identity_changes_with_everything_that_affects_the_training(
    write_suite: Write, override: str
) -> None:
    plain, changed = plan_of(write_suite()), plan_of(write_suite(), override)
    assert plain.trials[0].identity != changed.trials[0].identity


@pytest.mark.parametrize("override", ["evaluate=[error, top5_error]", "keep_weights=false"])
def test_identity_of_the_training_is_independent_of_what_is_measured(
    write_suite: Write, override: str
) -> None:
    plain, changed = plan_of(write_suite()), plan_of(write_suite(), override)
    assert plain.trials[0] != changed.trials[0]
    assert [t.identity for t in plain.trials] == [t.identity for t in changed.trials]
    assert plain.table_identity == changed.table_identity


def test_identity_changes_with_the_data(write_suite: Write) -> None:
    plans = [plan_of(write_suite(), digest=digest) for digest in "ab"]
    assert plans[0].trials[0].identity != plans[1].trials[0].identity


def test_new_rows_and_seeds_belong_to_the_same_table(write_suite: Write) -> None:
    plain = plan_of(write_suite())
    assert plan_of(write_suite(), "seeds=[7]").table_identity == plain.table_identity
    assert plan_of(write_suite(), "recipe.epochs=9").table_identity != plain.table_identity


def test_identity_depends_on_the_digest_of_the_data_not_on_their_name(write_suite: Write) -> None:
    plain = plan_of(write_suite())
    renamed = plan_of(write_suite(), "dataset=./elsewhere/digits")
    assert [t.identity for t in renamed.trials] == [t.identity for t in plain.trials]
    assert renamed.table_identity == plain.table_identity


def test_a_changed_copy_has_its_own_identity(write_suite: Write) -> None:
    trial = plan_of(write_suite()).trials[0]
    assert trial.identity  # computed once before the copy
    assert trial.model_copy(update={"seed": 9}).identity != trial.identity


def test_nearly_equal_parameters_keep_different_labels(write_suite: Write) -> None:
    plan = plan_of(write_suite(("[0.0, 0.3]", "[0.1234567, 0.1234568]")))
    assert len({row.label for row in plan.rows}) == 3


def test_a_repeated_row_is_refused(write_suite: Write) -> None:
    with pytest.raises(RequestError, match="lgm is given twice"):
        plan_of(write_suite(("[0.0, 0.3]", "[0.3, 0.3]")))


@pytest.mark.parametrize(
    ("only", "cells"),
    [
        (
            "lgm*",
            {
                ("a", "lgm(alpha=0)"),
                ("a", "lgm(alpha=0.3)"),
                ("b", "lgm(alpha=0)"),
                ("b", "lgm(alpha=0.3)"),
            },
        ),
        (
            "lgm",
            {
                ("a", "lgm(alpha=0)"),
                ("a", "lgm(alpha=0.3)"),
                ("b", "lgm(alpha=0)"),
                ("b", "lgm(alpha=0.3)"),
            },
        ),
        ("lgm(alpha=0)", {("a", "lgm(alpha=0)"), ("b", "lgm(alpha=0)")}),
        ("b/softmax", {("b", "softmax")}),
        ("b/*", {("b", "softmax"), ("b", "lgm(alpha=0)"), ("b", "lgm(alpha=0.3)")}),
    ],
)
def test_only_matches_rows_and_columns(
    write_suite: Write, only: str, cells: set[tuple[str, str]]
) -> None:
    plan = plan_of(write_suite(), "variants={a: {}, b: {model: {feature_dim: 3}}}").narrowed(only)
    assert {(t.variant, t.row) for t in plan.trials} == cells


def test_only_keeps_identities(write_suite: Write) -> None:
    plan = plan_of(write_suite())
    assert {t.identity for t in plan.narrowed("lgm*").trials} < {t.identity for t in plan.trials}


def test_only_without_a_match_lists_the_cells(write_suite: Write) -> None:
    with pytest.raises(RequestError, match="default/softmax"):
        plan_of(write_suite()).narrowed("lgn*")


def test_file_labels_are_distinct_and_plain() -> None:
    changes = [
        ("only lgm*",), ("only lgm",), ("only lgm?",), ("only 2-D/lgm*",), ("only 2-D_lgm*",),
        ("recipe.epochs=20",), ("recipe.epochs=20", "only lgm"), ("recipe.epochs=2",),
        ("recipe.optimizer={name: sgd, lr: 0.1}",), ("title=../../etc",), ("only " + "ä" * 300,),
        ("seeds " + ",".join(map(str, range(100))),), ("seeds " + ",".join(map(str, range(101))),),
    ]  # fmt: skip
    labels = [file_label("small", listed) for listed in changes]
    assert len(set(labels)) == len(labels)
    for label in labels:
        assert label.startswith("small@")
        assert len(label) < 120
        assert set(label) <= set("abcdefghijklmnopqrstuvwxyzDäÄ0123456789_.,=+-@") - set("äÄ")
    assert file_label("small", ("b=1", "a=2")) == file_label("small", ("a=2", "b=1"))
    assert file_label("small", ()) == "small"
