"""Early stopping: pruned rows, the epochs of pruning, and how often the best row is kept."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

import numpy as np
import pytest

from lossbench.planning.trial import Trial
from lossbench.records import EpochRecord, TrialResult
from lossbench.runner.halving import NextTrainings, next_trainings, rungs
from tests.synthetic_trials import EPOCHS, make_trial

Curves = Mapping[tuple[str, int], list[float]]
"""(row, seed) -> held-out error after each epoch."""


def history_of(errors: list[float]) -> tuple[EpochRecord, ...]:
    return tuple(
        EpochRecord(epoch=epoch, timestamp_ms=epoch, metrics={"holdout_error": float(error)})
        for epoch, error in enumerate(errors, 1)
    )


def result_of(trial: Trial, errors: list[float], status: str = "finished") -> TrialResult:
    return TrialResult(
        identity=trial.identity,
        status=status,
        metrics={"error": errors[-1]} if status == "finished" else {},
        history=history_of(errors),
        wall_time_sec=1.0,
        peak_memory_mib=1.0,
        device="cpu",
        environment={},
    )


class Selection:
    """Selection whose trials follow given curves; at `nan`, a trial diverges.

    Attributes:
        results: Results by identity.
        trained: Number of epochs that were trained.
        untils: For each round of training, the epochs up to which trials were trained.
    """

    def __init__(self, trials: list[Trial], curves: Curves) -> None:
        self.trials, self.curves = trials, curves
        self.results: dict[str, TrialResult] = {}
        self.paused: dict[str, TrialResult] = {}
        self.failing: set[str] = set()
        self.trained = 0
        self.untils: list[set[int]] = []

    def train(self, upcoming: NextTrainings, most: int | None = None) -> None:
        """Train at most `most` of the next trials, in their order."""
        todo = [t for t in self.trials if t.identity in upcoming.until]
        self.untils.append({upcoming.until[trial.identity] for trial in todo})
        for trial in todo[:most]:
            identity, until = trial.identity, upcoming.until[trial.identity]
            if identity in self.failing:
                continue
            errors = self.curves[trial.row, trial.seed][:until]
            lost = [epoch for epoch, error in enumerate(errors) if error != error]
            before = self.paused.get(identity)
            self.trained += until - (len(before.history) if before else 0)
            if lost:
                self.results[identity] = result_of(trial, errors[: lost[0]], "diverged")
            elif until == trial.recipe.epochs:
                self.results[identity] = result_of(trial, errors)
            else:
                self.paused[identity] = result_of(trial, errors, "stopped")

    def prune(self, upcoming: NextTrainings) -> None:
        for trial in self.trials:
            if trial.identity in upcoming.pruned:
                partial = self.paused.get(trial.identity)
                self.results[trial.identity] = partial or result_of(trial, [0.0], "stopped")

    def run(self) -> None:
        while True:
            upcoming = next_trainings(self.trials, self.results, self.paused)
            self.prune(upcoming)
            if not upcoming.until:
                if upcoming.pruned:
                    continue
                break
            before = len(self.results), self.trained
            self.train(upcoming)
            if not upcoming.pruned and before == (len(self.results), self.trained):
                break

    @property
    def chosen(self) -> str | None:
        """Row with the best mean, among those that finished all their seeds."""
        means = {}
        for row in dict.fromkeys(trial.row for trial in self.trials):
            there = [self.results.get(t.identity) for t in self.trials if t.row == row]
            errors = [r.metrics["error"] for r in there if r and r.status == "finished"]
            if len(errors) == len(there):
                means[row] = fmean(errors)
        return min(means, key=lambda row: means[row]) if means else None

    def ended(self, status: str) -> dict[str, list[int]]:
        """Rows with this status -> their seeds."""
        found: dict[str, list[int]] = {}
        for trial in self.trials:
            result = self.results.get(trial.identity)
            if result and result.status == status:
                found.setdefault(trial.row, []).append(trial.seed)
        return found


def flat(errors: Mapping[str, float], seeds: int = 1, epochs: int = EPOCHS) -> Curves:
    """Constant curves; those of two seeds differ by 0.1."""
    return {
        (row, seed): [error + seed / 10] * epochs
        for row, error in errors.items()
        for seed in range(seeds)
    }


def make_selection(curves: Curves, **others: str | int) -> Selection:
    keys = sorted(curves, key=lambda key: key[1])  # as in a plan, one seed of all rows first
    return Selection([make_trial(row, seed, **others) for row, seed in keys], curves)  # type: ignore[arg-type]


def test_the_better_half_continues_at_each_rung_with_all_seeds() -> None:
    selection = make_selection(flat({"a": 5, "b": 3, "c": 9, "d": 4, "e": 8}, seeds=3))
    selection.run()
    assert selection.ended("finished") == {"b": [0, 1, 2], "d": [0, 1, 2]}
    assert selection.ended("stopped") == {row: [0, 1, 2] for row in "ace"}
    lengths = {t.row: len(selection.results[t.identity].history) for t in selection.trials}
    assert lengths == {"a": 12, "b": 16, "c": 10, "d": 16, "e": 10}
    assert selection.untils == [{10}, {12}, {16}]
    assert selection.chosen == "b"


def test_a_row_is_compared_by_its_mean_over_seeds() -> None:
    curves = {("steady", seed): [5.0] * EPOCHS for seed in range(3)}
    curves |= {("lucky once", seed): [1.0 if seed == 0 else 9.0] * EPOCHS for seed in range(3)}
    selection = make_selection(curves)
    selection.run()
    assert selection.ended("stopped") == {"lucky once": [0, 1, 2]}
    assert selection.chosen == "steady"


def test_nothing_is_decided_before_every_seed_is_at_the_rung() -> None:
    selection = make_selection(flat({"a": 5, "b": 3}, seeds=2))
    for done in range(1, 4):
        upcoming = next_trainings(selection.trials, selection.results, selection.paused)
        selection.train(upcoming, most=1)
        upcoming = next_trainings(selection.trials, selection.results, selection.paused)
        assert upcoming.pruned == {}
        assert sorted(upcoming.until.values()) == [10] * (4 - done)
    selection.train(upcoming, most=1)
    assert set(next_trainings(selection.trials, {}, selection.paused).pruned) == {
        trial.identity for trial in selection.trials if trial.row == "a"
    }


def test_a_run_resumed_after_a_crash_makes_the_same_decisions() -> None:
    rng = np.random.default_rng(0)
    curves = {
        (row, seed): list(rng.normal(10, 3, EPOCHS)) for row in "abcdefgh" for seed in range(2)
    }
    whole = make_selection(curves)
    whole.run()
    for crash_after in range(1, 12):
        broken = make_selection(curves)
        for turn in range(crash_after):
            upcoming = next_trainings(broken.trials, broken.results, broken.paused)
            broken.prune(NextTrainings({}, dict(list(upcoming.pruned.items())[: 1 + turn % 2])))
            broken.train(upcoming, most=3)
        broken.paused.clear()  # a crash keeps only results; checkpoints report their epochs again
        broken.run()
        assert broken.ended("finished") == whole.ended("finished")
        assert broken.ended("stopped") == whole.ended("stopped")


def test_each_loss_and_column_is_pruned_separately() -> None:
    curves = flat({"a": 5, "b": 3})
    trials = [
        make_trial(row, 0, loss=loss, variant=variant)
        for loss, variant in (("lgm", "2-D"), ("l_softmax", "2-D"), ("lgm", "100-D"))
        for row in ("a", "b")
    ]
    selection = Selection(trials, curves)
    selection.run()
    kept = [t for t in trials if selection.results[t.identity].status == "finished"]
    assert [(t.loss.name, t.variant, t.row) for t in kept] == [
        ("lgm", "2-D", "b"), ("l_softmax", "2-D", "b"), ("lgm", "100-D", "b")
    ]  # fmt: skip


def test_the_only_row_of_a_loss_is_trained_without_pauses() -> None:
    selection = make_selection(flat({"a": 5}, seeds=2))
    selection.run()
    assert selection.untils == [{16}]


def test_trials_without_early_stopping_are_trained_without_pauses() -> None:
    trials = [t.model_copy(update={"stop_early": False}) for t in (make_trial("a", 0),)]
    assert next_trainings(trials, {}, {}) == NextTrainings({trials[0].identity: 16}, {})


def test_a_row_with_a_diverged_seed_counts_as_the_worst() -> None:
    curves = flat({"a": 1, "b": 5, "c": 6, "d": 7}, seeds=2)
    curves = {**curves, ("a", 1): [1.0] * 4 + [float("nan")] * 12}
    selection = make_selection(curves)
    selection.run()
    assert selection.ended("diverged") == {"a": [1]}
    assert selection.ended("stopped")["a"] == [0]
    assert selection.chosen == "b"
    reasons = next_trainings(
        [t for t in selection.trials if t.row in "ab"],
        {i: r for i, r in selection.results.items() if r.status == "diverged"},
        selection.paused,
    ).pruned
    assert "another seed of its row diverged" in next(iter(reasons.values()))


def test_no_row_continues_if_all_diverge() -> None:
    lost = {(row, s): [9.0, *[float("nan")] * 15] for row in "abc" for s in range(2)}
    selection = make_selection(lost)
    selection.run()
    assert (selection.chosen, len(selection.ended("diverged"))) == (None, 3)


def test_tied_rows_are_treated_alike() -> None:
    selection = make_selection(flat({"a": 5, "b": 5, "c": 5, "d": 9}))
    selection.run()
    assert list(selection.ended("finished")) == ["a", "b", "c"]


def test_a_failed_trial_leaves_its_loss_undecided() -> None:
    selection = make_selection(flat({"a": 5, "b": 3, "c": 4}))
    selection.failing = {selection.trials[0].identity}
    selection.run()
    assert selection.results == {}
    assert set(selection.paused) == {trial.identity for trial in selection.trials[1:]}
    selection.failing = set()
    selection.run()
    assert selection.chosen == "b"


def test_added_seeds_of_a_pruned_row_are_pruned() -> None:
    curves = flat({"a": 5, "b": 3}, seeds=3)
    first = make_selection({key: errors for key, errors in curves.items() if key[1] < 2})
    first.run()
    second = make_selection(curves)
    second.results = first.results
    second.run()
    assert second.ended("stopped") == {"a": [0, 1, 2]}
    assert second.ended("finished") == {"b": [0, 1, 2]}
    assert second.trained == EPOCHS  # those of the new seed of the row that continues


def test_points_of_a_later_round_are_compared_with_all_earlier_points() -> None:
    errors = {"a": 4, "b": 5, "c": 6, "d": 7}
    first = make_selection(flat(errors))
    first.run()
    assert list(first.ended("finished")) == ["a"]
    second = make_selection(flat(errors | {"e": 3, "f": 8, "g": 9, "h": 9.5}))
    second.results = first.results
    second.run()
    assert set(second.ended("finished")) == {"a", "e"}
    assert {t.row for t in second.trials if second.results[t.identity].status == "stopped"} == set(
        "bcdfgh"
    )
    assert second.chosen == "e"


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [(1, ()), (2, ()), (3, (2,)), (4, (3,)), (8, (5, 6)), (40, (25, 30)), (100, (63, 75))],
)
def test_rungs_are_late_and_never_the_last_epoch(epochs: int, expected: tuple[int, ...]) -> None:
    assert rungs(epochs) == expected


def simulated(
    rng: np.random.Generator, seeds: int, slowness: float, epochs: int = 40, rows: int = 8
) -> Curves:
    """Rows with final errors of 5, 5.3, ... %, a std of 0.5 over seeds and of 0.3 over epochs.

    Args:
        rng: Generator.
        seeds: Number of seeds.
        slowness: How much longer the best row takes to learn than the worst, as a factor.
    """
    done = np.arange(1, epochs + 1)
    return {
        (f"row {row}", seed): list(
            5 + 0.3 * row
            + 85 * np.exp(-done * 15 / epochs / (1 + (slowness - 1) * (1 - row / (rows - 1))))
            + rng.normal(0, 0.5)
            + rng.normal(0, 0.3, epochs)
        )
        for row in range(rows)
        for seed in range(seeds)
    }  # fmt: skip


@pytest.mark.parametrize("slowness", [1.0, 1.5])
@pytest.mark.parametrize("seeds", [1, 3])
def test_the_best_row_is_chosen_nearly_as_often_as_without_stopping(
    seeds: int, slowness: float
) -> None:
    rng = np.random.default_rng(1)
    hits, hits_without, share = [], [], []
    for _ in range(100):
        curves = simulated(rng, seeds, slowness)
        selection = make_selection(curves, epochs=40)
        selection.run()
        hits.append(selection.chosen == "row 0")
        last = {row: fmean(curves[row, s][-1] for s in range(seeds)) for row, _ in curves}
        hits_without.append(min(last, key=lambda row: last[row]) == "row 0")
        share.append(selection.trained / (40 * len(curves)))
    assert np.mean(hits) >= np.mean(hits_without) - 0.07
    assert max(share) <= 0.76
