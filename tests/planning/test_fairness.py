"""The fairness audit: each thing that it can find, and nothing where there is nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from lossbench.assembly.check import check
from lossbench.planning.fairness import Difference, audit
from lossbench.planning.plan import Plan
from lossbench.planning.trial import Trial
from lossbench.records import TrialResult
from lossbench.suite.load import load_suite

Write = Callable[..., Path]
NOWHERE = Path("/nonexistent/data")


@pytest.fixture
def make(write_suite: Write) -> Callable[..., Plan]:
    return lambda *overrides: check(load_suite(write_suite(), overrides), NOWHERE)


def result(trial: Trial, **other: Any) -> TrialResult:
    fields: dict[str, Any] = {
        "identity": trial.identity,
        "status": "finished",
        "metrics": {"error": 1.0},
        "history": (),
        "wall_time_sec": 1.0,
        "peak_memory_mib": 1.0,
        "device": "cpu",
        "environment": {"torch": "2.13.0"},
    }
    return TrialResult(**{**fields, **other})


def found(
    plan: Plan, trials: Iterable[Trial] | None = None, results: Iterable[TrialResult] = ()
) -> list[tuple[str, str]]:
    by_identity = {r.identity: r for r in results}
    differences = audit(plan, plan.trials if trials is None else trials, by_identity)
    assert all(isinstance(difference, Difference) for difference in differences)
    return [(d.level, d.text) for d in differences]


def texts(differences: list[tuple[str, str]], level: str) -> list[str]:
    return [text for own, text in differences if own == level]


def test_a_single_loss_has_no_differences(make: Callable[..., Plan]) -> None:
    plan = make("losses=[softmax]")
    assert found(plan, results=[result(t) for t in plan.trials]) == []


def test_requirements_of_a_loss_are_listed(make: Callable[..., Plan]) -> None:
    losses = (
        "losses=[softmax, center, l_softmax, triplet, contrastive: {softmax_weight: 0.0}, "
        "lgm: {mean_lr_scale: 2.0, covariance: diagonal, alpha: 1.0, alpha_start: 0.1}]"
    )
    plan = make(losses, "recipe.optimizer.weight_decay=0.1")
    differences = found(plan)
    assert {level for level, _ in differences} == {"listed"}
    assert set(texts(differences, "listed")) == {
        "center: centers updated by the loss after each step, not by the optimizer",
        "l_softmax: beta changes with the training's progress",
        "lgm: alpha changes with the training's progress",
        "triplet, contrastive: training images are shuffled in groups of 4 of the same class, not "
        "one by one",
        "contrastive: classified by the nearest class mean of the training set, without a linear "
        "layer",
        "lgm: learning rate of means is 2 times the recipe's",
        "lgm: no weight decay on log_variance",
        "number of trainable parameters of the head is 30 for softmax, center, triplet; 20 for "
        "l_softmax; 0 for contrastive; 40 for lgm",
    }
    clipped = texts(found(make(losses, "recipe.clip_norm=1")), "listed")
    assert clipped[0].endswith("after each step, not by the optimizer, and without clipping")
    without = found(make(losses))  # without weight decay none can be spared from it
    assert "lgm: no weight decay on log_variance" not in texts(without, "listed")


def test_a_column_is_named_if_only_it_differs(make: Callable[..., Plan]) -> None:
    plan = make("variants={a: {}, b: {model: {feature_dim: 3}}}", "losses=[softmax, lgm, center]")
    assert texts(found(plan), "listed") == [
        "center: centers updated by the loss after each step, not by the optimizer",
        "a: number of trainable parameters of the head is 30 for softmax, center; 20 for lgm",
        "b: number of trainable parameters of the head is 40 for softmax, center; 30 for lgm",
    ]


def test_several_rows_on_the_test_set_are_a_warning(make: Callable[..., Plan]) -> None:
    [text] = texts(found(make()), "warning")
    assert text.startswith("lgm: 2 rows, all measured on the test set")


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ("[softmax, center, lgm: {alpha: {grid: [0.1, 0.3]}}]", "1 for center; 2 for lgm"),
        ("[softmax, center: {weight: {grid: [0.1, 0.3]}}, lgm: {alpha: {grid: [0.1, 1]}}]", ""),
        ("[softmax, lgm: {alpha: {grid: [0.1, 0.3]}}]", ""),
    ],
)
def test_different_tuning_budgets_fail(
    make: Callable[..., Plan], losses: str, expected: str
) -> None:
    differences = found(make(f"losses={losses}", "selection={holdout: 0.2}"))
    fails = texts(differences, "fails")
    assert len(fails) == bool(expected)
    assert all(f"rows to choose from are {expected}" in text for text in fails)
    assert "softmax: has no parameters, nothing was chosen for it" in texts(differences, "listed")
    assert texts(differences, "warning") == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"recipe": {"epochs": 3}}, "recipe.epochs is 2 for softmax; 3 for center"),
        ({"recipe": {"batch_size": 32}}, "recipe.batch_size is 64 for softmax; 32 for center"),
        ({"threads": 2}, "threads is 1 for softmax; 2 for center"),
        ({"workers": 2}, "workers is 1 for softmax; 2 for center"),
        ({"data_digest": "0"}, "data_digest is "),
    ],
)
def test_rows_with_different_training_fail(
    make: Callable[..., Plan], change: dict[str, Any], expected: str
) -> None:
    plan = make("losses=[softmax, center]")
    trials = [
        t.model_copy(update={k: _laid_over(t, k, v) for k, v in change.items()})
        if t.row == "center"
        else t
        for t in plan.trials
    ]
    [text] = texts(found(plan, trials), "fails")
    assert text.startswith(expected)


def _laid_over(trial: Trial, key: str, value: Any) -> Any:
    return getattr(trial, key).model_copy(update=value) if isinstance(value, dict) else value


def test_different_feature_dimensions_fail(make: Callable[..., Plan]) -> None:
    plan = make("losses=[softmax, center]")
    model = plan.trials[0].model
    wider = model.model_copy(update={"params": {**model.params, "feature_dim": 3}})
    trials = [
        t.model_copy(update={"model": wider}) if t.row == "center" else t for t in plan.trials
    ]
    assert texts(found(plan, trials), "fails") == [
        "model.feature_dim is 2 for softmax; 3 for center"
    ]


def test_different_seeds_fail(make: Callable[..., Plan]) -> None:
    plan = make("losses=[softmax, center]")
    trials = [t for t in plan.trials if (t.row, t.seed) != ("center", 1)]
    assert texts(found(plan, trials), "fails") == ["seeds are [0, 1] for softmax; [0] for center"]


def test_different_devices_and_versions_are_reported(make: Callable[..., Plan]) -> None:
    plan = make("losses=[softmax, center]")

    def of(**by_cell: dict[str, Any]) -> list[tuple[str, str]]:
        results = [result(t, **by_cell.get(f"{t.row}_{t.seed}", {})) for t in plan.trials]
        return [d for d in found(plan, results=results) if d[0] != "listed"]

    newer = {"environment": {"torch": "2.14.0"}}
    assert of() == []
    [(level, text)] = of(center_1=newer)
    assert level == "fails"
    assert text.startswith("torch is 2.13.0 for softmax; 2.14.0 for center (seed 1)")
    [(level, text)] = of(center_0={"device": "H100"})
    assert (level, text.split(" (")[0]) == ("fails", "device is cpu for softmax; H100 for center")
    assert of(center_1=newer, softmax_1=newer) == [
        ("warning", "torch differs between seeds, for every row alike: 2.13.0, 2.14.0")
    ]


def test_different_seeds_in_the_mean_are_a_warning(make: Callable[..., Plan]) -> None:
    plan = make("losses=[softmax, center]")
    results = [result(t) for t in plan.trials]
    results[3] = result(plan.trials[3], status="diverged", reason="x", metrics={})
    assert texts(found(plan, results=results), "warning") == [
        "seeds in the mean are 0, 1 for softmax; 0 for center (diverged: center with seed 1)"
    ]
    assert texts(found(plan, results=results[:3]), "warning") == [
        "seeds in the mean are 0, 1 for softmax; 0 for center"
    ]


def test_each_row_of_a_column_is_compared_once_for_all_seeds(
    make: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make("seeds=[0, 1, 2]")
    dumped = []
    for trial in plan.trials:
        trial.identity  # noqa: B018 (not counted)
    dump = Trial.model_dump

    def counted(self: Trial, **options: Any) -> dict[str, Any]:
        dumped.append((self.variant, self.row))
        return dump(self, **options)

    monkeypatch.setattr(Trial, "model_dump", counted)
    audit(plan, plan.trials, {})
    assert len(plan.trials) == 3 * len(dumped)
    assert len(set(dumped)) == len(dumped)
