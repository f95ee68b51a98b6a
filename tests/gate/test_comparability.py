"""Suites that cannot be compared with a baseline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lossbench.errors import RequestError
from tests.gate.files import BODY, STEADY, Fill, MakePlan, check
from tests.report.synthetic_report import HEAD


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("epochs: 8", "epochs: 3", "recipe.epochs: 8 in the baseline, 3 now"),
        ("epochs: 8", "clip_norm: 1, epochs: 8", "clip_norm: nothing in the baseline, 1.0 now"),
        ("lr: 0.01", "lr: 0.1", "recipe.optimizer.lr: 0.01 in the baseline, 0.1 now"),
        ("dataset: digits", "dataset: {name: digits, train_size: 100}", "train_size: null in the"),
        ("{feature_dim: 8}", "{feature_dim: 9}", "variants.B.model.feature_dim: 8 in the"),
        ("softmax, ", "", "cells: the suite has no A/softmax (error) with the baseline's"),
        ("center,", "{center: {weight: 0.1}},", "center.weight: 0.003 in the baseline, 0.1 now"),
        ("suite: synthetic", "suite: other", "suite: 'synthetic' in the baseline, 'other' now"),
    ],
)
def test_a_suite_that_differs_from_the_baseline_is_refused(
    written: Path, make_plan: MakePlan, fill: Fill, old: str, new: str, expected: str
) -> None:
    body, head = (text.replace(old, new) for text in (BODY, HEAD))
    plan = make_plan(body, head)
    with pytest.raises(RequestError) as caught:
        check(plan, fill(plan, STEADY), written)
    assert expected in str(caught.value)
    assert str(written) in str(caught.value)


def test_other_data_are_refused(written: Path, make_plan: MakePlan, fill: Fill) -> None:
    plan = make_plan(BODY)
    results = fill(plan, STEADY)
    content = json.loads(written.read_text(encoding="utf-8"))
    content["data"] = {**content["data"], "digest": "f" * 16}
    written.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(RequestError, match=f"data.digest: {'f' * 16} in the baseline, 0123"):
        check(plan, results, written)


def test_an_added_evaluation_does_not_make_a_baseline_incomparable(
    written: Path, make_plan: MakePlan, fill: Fill
) -> None:
    plan = make_plan(BODY + "evaluate: [error, top5_error]\n")
    text, code = check(plan, fill(plan, STEADY), written)
    assert code == 0
    assert "8 identical" in text
    other = make_plan(BODY + "evaluate: [{error: {}}, {fgsm: {epsilons: [0.1]}}]\n")
    assert check(other, fill(other, STEADY), written)[1] == 0


def test_a_cell_is_found_under_another_label(
    make_plan: MakePlan, fill: Fill, written: Path
) -> None:
    labelled = make_plan(BODY.replace("center,", "{center: {label: ours}},"))
    renamed = {k.replace("center", "ours"): values for k, values in STEADY.items()}
    text, code = check(labelled, fill(labelled, renamed), written)
    assert code == 0
    assert "A/ours" in text
