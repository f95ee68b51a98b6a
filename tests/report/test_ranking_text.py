"""A ranking in words."""

from __future__ import annotations

import math

from lossbench.analysis.ranking import rank_suites
from lossbench.report.ranking_text import ranking_answer, ranking_notes, ranking_warnings
from tests.synthetic_plans import MakeSuite


def test_few_columns_are_in_the_answer_and_the_notes(make_suite: MakeSuite) -> None:
    losses = "[softmax, center, lgm]"
    found = rank_suites(
        [
            make_suite("a", losses, {"softmax": 3, "center": 2, "lgm": 1}),
            make_suite("b", losses, {"softmax": 30, "center": 30, "lgm": 10}),
        ]
    )
    assert "too few columns for a significant difference" in ranking_answer(found)
    notes = " ".join(ranking_notes(found))
    assert "No difference between any pair of losses can be significant here" in notes
    assert "At least 7 columns are needed" in notes


def test_the_answer_names_the_losses_that_the_best_one_beats(make_suite: MakeSuite) -> None:
    found = rank_suites(
        [make_suite(name, "[softmax, lgm]", {"softmax": 3, "lgm": 1}) for name in "abcdefgh"]
    )
    assert found.first == ("lgm",)
    assert ranking_answer(found) == "average rank 1.00 of 2 in 8 columns; better than softmax"


def test_missing_and_diverged_results_are_warnings(make_suite: MakeSuite) -> None:
    losses = "[softmax, center, lgm]"
    whole = make_suite("a", losses, {"softmax": 3, "center": 2, "lgm": math.nan})
    part = make_suite("b", losses, {"softmax": 3, "center": None, "lgm": 1})
    empty = make_suite("c", losses, {"softmax": None, "center": None, "lgm": None})
    left_out, unranked, incomplete = ranking_warnings(rank_suites([whole, part, empty]))
    assert left_out == "c · error: left out, it has no result"
    assert unranked.endswith("in some column: center (1 of 2)")
    assert incomplete == "incomplete: a · error: lgm n=0, 2 of 2 diverged"


def test_a_note_names_losses_with_different_parameters(make_suite: MakeSuite) -> None:
    found = rank_suites(
        [
            make_suite("a", "[softmax, {lgm: {alpha: 0.1}}]", {"softmax": 3, "lgm": 1}),
            make_suite("b", "[softmax, {lgm: {alpha: 1.0}}]", {"softmax": 3, "lgm": 2}),
        ]
    )
    *_, note = ranking_notes(found)
    assert "with different parameters" in note
    assert note.endswith(": lgm.")
