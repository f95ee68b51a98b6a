"""Rows that the searches of a plan propose, given the scores so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version

from lossbench.planning.plan import Plan
from lossbench.planning.rows import Row, make_rows, own_values
from lossbench.planning.search import Point, Search, SearchPoints, propose
from lossbench.planning.trial import digest_of
from lossbench.suite.grammar import SearchRange

Scores = Mapping[str, float]
"""Trial identity -> metric on the held-out part; NaN for trials that will never have one."""


def with_searched_rows(plan: Plan, scores: Scores) -> Plan:
    """The plan with the points that its searches propose given these scores."""
    if not plan.searches:
        return plan
    selection = plan.suite.selection
    assert selection is not None
    search_points = dict(plan.search_points)
    replaced: list[tuple[int, int, str]] = []  # replaced points, all points, versions of Optuna

    def points_of(search: Search, variant: str) -> tuple[Point, ...]:
        identity = search_identity(plan, search, variant)
        stored = search_points.get(identity)
        proposals = propose(
            search,
            selection.samples or 0,
            partial(_mean_score, plan, scores, variant),
            stored.points if stored else (),
            own_values(search, plan.settings[variant].recipe),
        )
        if stored and proposals.replaced:
            replaced.append((proposals.replaced, len(proposals.values), stored.optuna))
        if stored is None or len(stored.points) < len(proposals.values):
            search_points[identity] = SearchPoints(
                loss=search.loss.name,
                variant=variant,
                optuna=_versions(stored),
                points=proposals.values,
            )
        return proposals.points

    rows = make_rows(plan.losses, plan.suite, points_of)
    whole = replace(
        plan.with_rows(rows), search_points=search_points, search_notes=_search_notes(replaced)
    )
    return whole if plan.only is None else whole.narrowed(plan.only)


def _search_notes(replaced: Sequence[tuple[int, int, str]]) -> tuple[str, ...]:
    """One line if stored points of searches differ from those of a replay, otherwise none.

    Args:
        replaced: For each search with such points the number of replaced points, the number of all
            points, and the versions of Optuna that proposed them.
    """
    if not replaced:
        return ()
    points, all_points = sum(n for n, _, _ in replaced), sum(n for _, n, _ in replaced)
    searches = "a search" if len(replaced) == 1 else f"{len(replaced)} searches"
    versions = ", ".join(dict.fromkeys(text for _, _, text in replaced))
    return (
        f"{points} of {all_points} points of {searches}, stored with Optuna {versions}, differ "
        f"from those that are proposed now with Optuna {version('optuna')}; the stored points are "
        "used",
    )


def search_identity(plan: Plan, search: Search, variant: str) -> str:
    """Hash of a search in a column: its spaces, and its trials without their seeds."""
    selection = plan.suite.selection
    assert selection is not None
    trial = plan.trial(Row("", search.loss, {}), variant, 0, plan.columns[variant].holdout)
    spaces = {
        name: space.model_dump() if isinstance(space, SearchRange) else list(space)
        for name, space in search.all_spaces.items()
    }
    content = {"trial": trial.identity, "spaces": spaces, "whole": sorted(search.integers)}
    return digest_of({**content, "metric": selection.metric})


def _versions(stored: SearchPoints | None) -> str:
    """Versions of Optuna that proposed the points of a search, including the installed one."""
    known = stored.optuna.split(", ") if stored else []
    return ", ".join(dict.fromkeys([*known, version("optuna")]))


def _mean_score(plan: Plan, scores: Scores, variant: str, point: Point) -> float | None:
    """Mean score of a point, lower is better; see `search.Score`."""
    metric, holdout = plan.selection_metric, plan.columns[variant].holdout
    assert metric is not None
    row = Row("", point.loss, {}, tuned=point.tuned)
    trials = [plan.trial(row, variant, seed, holdout) for seed in plan.suite.seeds]
    values = [scores.get(trial.identity) for trial in trials]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    mean = sum(known) / len(known)
    return -mean if metric.higher_is_better else mean
