"""Rankings over several suites, against slow counting and scipy."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import friedmanchisquare, rankdata, wilcoxon

from lossbench.analysis.rank_tests import cliques, columns_to_decide, friedman_p, signed_rank_p
from lossbench.analysis.ranking import Ranking, rank_suites
from lossbench.errors import RequestError
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults, choose_rows, final_trials
from lossbench.report.ranking_report import write_ranking
from tests.report.synthetic_report import result_of

Suites = Callable[..., PlanWithResults]


@pytest.fixture
def suite(make_plan: Callable[..., Plan]) -> Suites:
    """Name, losses and errors by row label -> a suite with results, two seeds each."""

    def make(
        name: str, losses: str, errors: dict[str, float | None], more: str = ""
    ) -> PlanWithResults:
        plan = make_plan(f"seeds: [0, 1]\nlosses: {losses}\n{more}")
        plan = replace(plan, suite=plan.suite.model_copy(update={"suite": name}))
        trials = plan.trials
        results = {t.identity: _result(t, errors[t.row]) for t in trials if errors[t.row]}
        if plan.suite.selection:
            scores = {i: r.metrics["error"] for i, r in results.items()}
            final = final_trials(plan, choose_rows(plan, scores))
            results |= {t.identity: _result(t, errors[t.row]) for t in final}
        return PlanWithResults(plan, results)

    return make


def _result(trial: object, error: float | None) -> object:
    assert error is not None
    status = "diverged" if math.isnan(error) else "finished"
    return result_of(trial, error + 0.1 * trial.seed, status=status)  # type: ignore[attr-defined]


def slow_signed_rank(differences: list[float]) -> float:
    """All signs, one by one."""
    there = [d for d in differences if d]
    ranks = rankdata(np.abs(there))
    seen = sum(r for r, d in zip(ranks, there, strict=True) if d > 0)
    centre = ranks.sum() / 2
    sums = [
        sum(r for r, sign in zip(ranks, signs, strict=True) if sign)
        for signs in itertools.product([0, 1], repeat=len(there))
    ]
    return float(np.mean([abs(s - centre) >= abs(seen - centre) - 1e-9 for s in sums]))


@pytest.mark.parametrize("seed", range(8))
def test_signed_ranks_count_all_signs(seed: int) -> None:
    random = np.random.default_rng(seed)
    ties = [float(d) for d in random.integers(-3, 5, 9)]
    assert signed_rank_p(ties) == pytest.approx(slow_signed_rank(ties))
    distinct = random.normal(0.4, 1, 20)
    assert signed_rank_p(list(distinct)) == pytest.approx(wilcoxon(distinct, method="exact").pvalue)


def test_signed_ranks_at_their_ends() -> None:
    assert signed_rank_p([0, 0, 0]) == signed_rank_p([]) == 1
    assert signed_rank_p([math.inf, 1, 2, 3, 4, 5]) == pytest.approx(2 / 2**6)
    assert signed_rank_p([1.0] * 100) == pytest.approx(2 / 2**100)


def test_friedman_is_a_function_of_scipys_chi_square() -> None:
    from scipy.stats import f

    scores = np.random.default_rng(0).integers(0, 6, (7, 4)).astype(float)  # with ties
    chi = friedmanchisquare(*scores.T).statistic
    expected = f.sf(6 * chi / (7 * 3 - chi), 3, 18)
    assert friedman_p(scores) == pytest.approx(expected)
    assert friedman_p(np.ones((5, 3))) is None
    assert friedman_p(np.ones((1, 3))) is None
    assert friedman_p(np.array([[1.0, 2], [3, 4], [5, 6]])) == pytest.approx(0.25)


@pytest.mark.parametrize(("rows", "expected"), [(2, 6), (3, 7), (6, 10)])
def test_fewest_columns_are_the_fewest(rows: int, expected: int) -> None:
    pairs = rows * (rows - 1) / 2
    assert columns_to_decide(rows) == expected
    assert (
        signed_rank_p([1.0] * expected) * pairs
        <= 0.05
        < signed_rank_p([1.0] * (expected - 1)) * pairs
    )


def test_bars_join_what_is_not_told_apart() -> None:
    assert cliques([1, 2, 3, 4], {(0, 3)}) == [(0, 2), (1, 3)]
    assert cliques([1, 2, 3], set()) == [(0, 2)]
    assert cliques([1, 2, 3], {(0, 1), (0, 2), (1, 2)}) == []
    assert cliques([1, 2, 3], {(0, 1), (0, 2)}) == [(1, 2)]


def test_few_columns_decide_nothing_and_say_so(suite: Suites) -> None:
    losses = "[softmax, center, lgm]"
    found = rank_suites(
        [
            suite("a", losses, {"softmax": 3, "center": 2, "lgm": 1}),
            suite("b", losses, {"softmax": 30, "center": 30, "lgm": 10}),
        ]
    )
    assert [(r.label, r.mean, r.ranks) for r in found.listed] == [
        ("lgm", 1, (1, 1)),
        ("center", 2.25, (2, 2.5)),
        ("softmax", 2.75, (3, 2.5)),
    ]
    assert not found.decided
    assert found.together == ((0, 2),)
    assert "too few columns to tell any two losses apart" in found.answer
    assert "Nothing can be decided between any pair" in " ".join(found.notes)
    assert "7 columns would be the fewest" in " ".join(found.notes)


def test_enough_columns_decide(suite: Suites) -> None:
    names = "abcdefgh"
    found = rank_suites(
        [
            suite(name, "[softmax, lgm]", {"softmax": 3.0 + i, "lgm": 1.0 + 0.5 * i})
            for i, name in enumerate(names)
        ]
    )
    [pair] = found.pairs
    assert (pair.better, pair.other, pair.wins, pair.losses) == ("lgm", "softmax", 8, 0)
    assert pair.p_holm == pytest.approx(2 / 2**8)
    assert found.together == ()
    assert found.answer.endswith("better than softmax")


def test_rows_of_a_grid_are_matched_by_their_parameters(suite: Suites) -> None:
    grid = "[softmax, {lgm: {alpha: {grid: [0.1, 0.3]}}}]"
    other = "[softmax, {lgm: {alpha: {grid: [0.3, 1.0]}}}]"
    found = rank_suites(
        [
            suite("a", grid, {"softmax": 3, "lgm(alpha=0.1)": 1, "lgm(alpha=0.3)": 2}),
            suite("b", other, {"softmax": 3, "lgm(alpha=0.3)": 2, "lgm(alpha=1)": 1}),
        ]
    )
    assert [r.label for r in found.listed] == ["lgm(alpha=0.3)", "softmax"]
    [warning] = found.warnings
    assert "lgm(alpha=0.1) (1 of 2)" in warning
    assert "lgm(alpha=1) (1 of 2)" in warning


def test_what_the_held_out_part_chose_counts_as_the_loss(suite: Suites) -> None:
    chosen = "[softmax, {lgm: {alpha: {grid: [0.1, 0.3]}}}]"
    found = rank_suites(
        [
            suite(
                "a",
                chosen,
                {"softmax": 3, "lgm(alpha=0.1)": 1, "lgm(alpha=0.3)": 2},
                "evaluate: [error]\nselection: {holdout: 0.2}\n",
            ),
            suite("b", "[softmax, {lgm: {alpha: 1.0}}]", {"softmax": 3, "lgm": 2}),
        ]
    )
    assert [r.label for r in found.listed] == ["lgm", "softmax"]
    assert [cell.row.loss.params["alpha"] for cell in found.listed[0].cells] == [0.1, 1.0]
    assert "parameters differ between columns" in found.notes[-1]
    assert found.notes[-1].endswith(": lgm.")


def test_what_is_missing_is_told(suite: Suites) -> None:
    losses = "[softmax, center, lgm]"
    whole = suite("a", losses, {"softmax": 3, "center": 2, "lgm": math.nan})
    part = suite("b", losses, {"softmax": 3, "center": None, "lgm": 1})
    empty = suite("c", losses, {"softmax": None, "center": None, "lgm": None})
    found = rank_suites([whole, part, empty])
    told = " ".join(found.warnings)
    assert [(r.label, r.ranks) for r in found.listed] == [("softmax", (1, 2)), ("lgm", (2, 1))]
    assert "c · error: left out, it has no result" in told
    assert "center (1 of 2)" in told
    assert "a · error: lgm n=0, 2 of 2 diverged" in told
    with pytest.raises(RequestError, match="nothing to rank: c · error: left out"):
        rank_suites([empty])
    lone = suite("d", "[lgm]", {"lgm": 1})
    both = suite("e", "[lgm, softmax]", {"lgm": 1, "softmax": 2})
    with pytest.raises(RequestError, match=r"only lgm has a result .* 2 columns"):
        rank_suites([both, lone])
    with pytest.raises(RequestError, match="--metric eror: no suite has it; they have error"):
        rank_suites([whole], ["eror"])


def test_files_agree_and_the_page_escapes(suite: Suites, tmp_path: Path) -> None:
    losses = "[softmax, {lgm: {covariance: {grid: ['</script><b>', 'x']}}}]"
    errors = {"softmax": 3.0, "lgm(covariance=</script><b>)": 1.0, "lgm(covariance=x)": math.nan}
    found: Ranking = rank_suites([suite("a", losses, errors), suite("b", losses, errors)])
    page, *others = write_ranking(found, tmp_path / "out", "lossbench rank '<i>'")
    assert {p.name for p in (page, *others)} == {
        f"ranking.{e}" for e in ("html", "md", "csv", "json")
    }
    text = page.read_text(encoding="utf-8")
    assert text.count("</script>") == 1
    assert "<b>" not in text
    assert "<i>" not in text
    assert "too few columns" in text
    content = json.loads((tmp_path / "out" / "ranking.json").read_text(encoding="utf-8"))
    lines = list(
        csv.DictReader(io.StringIO((tmp_path / "out" / "ranking.csv").read_text(encoding="utf-8")))
    )
    for row in content["losses"]:
        own = [float(line["rank"]) for line in lines if line["loss"] == row["label"]]
        assert own == row["ranks"]
    assert content["losses"][0]["means"] == pytest.approx([1.05, 1.05])
    assert content["losses"][-1]["means"] == [None, None]
