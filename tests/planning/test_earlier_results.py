"""Results that earlier versions stored, with the evaluations in the identity of the trial."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lossbench.planning.earlier_results import trained_trial, upgraded
from lossbench.planning.trial import PlannedEvaluation, Trial
from lossbench.records import TrialResult
from tests.report.synthetic_report import result_of
from tests.synthetic_trials import make_trial

ERROR = PlannedEvaluation(name="error", metrics=("error",))
OTHER = PlannedEvaluation(
    name="ood",
    params={"dataset": "mnist", "sizes": [1, 2]},
    other_digests={"mnist": "d1"},
    source="s1",
    metrics=("ood_auroc", "ood_eer"),
)
VALUES = {"error": 5.0, "ood_auroc": 90.0, "ood_eer": 3.0}


def trial_of(*evaluations: PlannedEvaluation) -> Trial:
    return make_trial("a", 0).model_copy(
        update={"evaluate": evaluations, "sources": {"loss lgm": "l1"}}
    )


def earlier_content(**changes: Any) -> bytes:
    """Specification as an earlier version stored it."""
    fields = json.loads(trial_of().model_dump_json())
    del fields["keep_weights"]
    fields |= {
        "other_digests": {"mnist": "d1"},
        "sources": {"loss lgm": "l1", "evaluation ood": "s1"},
        "evaluate": [
            {"name": "error", "params": {}},
            {"name": "ood", "params": {"dataset": "mnist", "sizes": [1, 2]}},
        ],
    }
    return json.dumps({**fields, **changes}).encode()


def earlier_result(**changes: Any) -> TrialResult:
    fields: dict[str, Any] = {"metrics": VALUES, "measurements": (), "weights_digest": ""}
    return result_of(trial_of(), 5.0, **{**fields, **changes})


def test_the_training_of_an_earlier_version_is_found() -> None:
    found = trained_trial(earlier_content())
    assert found is not None
    assert found.identity == trial_of(ERROR, OTHER).identity
    assert found.evaluate == ()


def test_a_training_of_this_version_is_found() -> None:
    trial = trial_of(ERROR, OTHER)
    found = trained_trial(trial.model_dump_json().encode())
    assert found is not None
    assert found.identity == trial.identity


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{}", b"\xff", b'{"sources": 1}'])
def test_an_unreadable_specification_is_no_training(content: bytes) -> None:
    assert trained_trial(content) is None


def test_metrics_of_an_earlier_version_become_measurements() -> None:
    new = PlannedEvaluation(name="knn", metrics=("knn_error",))
    trial = trial_of(OTHER, new, ERROR)
    found = upgraded(trial, earlier_content(), earlier_result())
    assert {r.identity: dict(r.metrics) for r in found.measurements} == {
        OTHER.identity(trial.identity): {"ood_auroc": 90.0, "ood_eer": 3.0},
        ERROR.identity(trial.identity): {"error": 5.0},
    }
    assert found.metrics == VALUES
    assert {(r.device, r.environment["torch"]) for r in found.measurements} == {("cpu", "2.13.0")}


@pytest.mark.parametrize(
    "changed",
    [
        {"params": {"dataset": "mnist", "sizes": [1, 3]}},
        {"other_digests": {"mnist": "d2"}},
        {"source": "s2"},
        {"source": ""},
        {"metrics": ("ood_auroc", "ood_fpr")},
        {"rounding_changed": True},
    ],
)
def test_an_evaluation_that_differs_now_is_not_taken_over(changed: dict[str, Any]) -> None:
    trial = trial_of(ERROR, OTHER.model_copy(update=changed))
    found = upgraded(trial, earlier_content(), earlier_result())
    assert [record.name for record in found.measurements] == ["error"]


def test_an_evaluation_that_was_not_asked_for_is_not_taken_over() -> None:
    only_error = earlier_content(evaluate=[{"name": "error", "params": {}}])
    found = upgraded(trial_of(ERROR, OTHER), only_error, earlier_result())
    assert [record.name for record in found.measurements] == ["error"]


def test_a_diverged_result_of_an_earlier_version_is_kept() -> None:
    diverged = earlier_result(status="diverged", metrics={})
    assert upgraded(trial_of(ERROR, OTHER), earlier_content(), diverged) == diverged
