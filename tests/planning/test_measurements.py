"""Measurements of a trial: stored, missing, put together."""

from __future__ import annotations

from lossbench.planning.measurements import (
    merged_result,
    missing_evaluations,
    result_for,
    with_own_last,
)
from lossbench.planning.trial import PlannedEvaluation, Trial
from tests.report.synthetic_report import result_of
from tests.synthetic_measurements import measurements_of
from tests.synthetic_trials import make_trial

ERROR, ATTACK, OTHER = (PlannedEvaluation(name=name) for name in ("error", "fgsm", "knn"))


def trial_of(*evaluations: PlannedEvaluation) -> Trial:
    return make_trial("a", 0).model_copy(update={"evaluate": evaluations})


def test_a_result_has_the_metrics_of_the_evaluations_of_its_trial() -> None:
    stored = result_of(trial_of(ERROR, ATTACK), 5.0, metrics={"error": 5.0, "fgsm": 7.0})
    found = result_for(trial_of(ATTACK, OTHER), stored)
    assert found.metrics == {"fgsm": 7.0}
    assert [record.name for record in found.measurements] == ["fgsm"]
    assert found.unmeasured == ("knn",)
    assert [e.name for e in missing_evaluations(trial_of(ATTACK, OTHER), stored)] == ["knn"]
    whole = result_for(trial_of(ATTACK, ERROR), stored)
    assert list(whole.metrics.items()) == [("fgsm", 7.0), ("error", 5.0)]  # the suite's order
    assert whole.unmeasured == ()


def test_the_same_evaluation_with_other_parameters_is_missing() -> None:
    stored = result_of(trial_of(ATTACK), 5.0)
    changed = ATTACK.model_copy(update={"params": {"epsilon": 0.3}})
    found = result_for(trial_of(changed), stored)
    assert (found.metrics, found.unmeasured) == ({}, ("fgsm",))


def test_values_of_other_parameters_do_not_replace_those_of_the_trial() -> None:
    changed = ATTACK.model_copy(update={"params": {"epsilon": 0.3}})
    own, other = trial_of(ATTACK, ERROR), trial_of(changed)
    records = measurements_of(own, {"error": 5.0, "fgsm": 7.0})
    later = measurements_of(other, {"fgsm": 9.0})
    for order in ((*records, *later), (*later, *records)):
        whole = result_of(own, 5.0, measurements=order)
        assert with_own_last(own, whole).metrics == {"error": 5.0, "fgsm": 7.0}
        assert with_own_last(other, whole).metrics == {"error": 5.0, "fgsm": 9.0}
        assert len(with_own_last(own, whole).measurements) == 3


def test_a_training_without_a_network_lacks_no_measurement() -> None:
    for status in ("diverged", "stopped"):
        stored = result_of(trial_of(ERROR), 5.0, status=status)
        assert missing_evaluations(trial_of(ERROR, ATTACK), stored) == []
        assert result_for(trial_of(ERROR, ATTACK), stored) == stored


def test_a_result_counts_as_diverged_only_with_the_evaluation_that_was_not_finite() -> None:
    records = measurements_of(trial_of(ERROR, ATTACK), {"error": 5.0})
    broken = records[1].model_copy(update={"divergence": "its metric fgsm was nan"})
    stored = result_of(trial_of(ERROR), 5.0, measurements=(records[0], broken))
    found = result_for(trial_of(ERROR, ATTACK, OTHER), stored)
    assert (found.status, found.reason) == ("diverged", "its metric fgsm was nan")
    assert (found.metrics, found.unmeasured) == ({}, ())
    without = result_for(trial_of(ERROR), stored)
    assert (without.status, without.metrics) == ("finished", {"error": 5.0})


def test_results_of_one_network_are_put_together() -> None:
    whole = trial_of(ERROR, ATTACK)
    first = result_of(trial_of(ERROR), 5.0)
    second = result_of(whole, 6.0, metrics={"error": 6.0, "fgsm": 7.0})
    assert merged_result([first]) is first
    both = merged_result([first, second])
    assert both.metrics == {"error": 5.0, "fgsm": 7.0}  # the first value counts
    assert [record.name for record in both.measurements] == ["error", "fgsm"]
    assert both.history == first.history


def test_what_is_not_measured_is_not_stored() -> None:
    stored = result_for(trial_of(ERROR, ATTACK), result_of(trial_of(ERROR), 5.0))
    assert stored.unmeasured == ("fgsm",)
    assert type(stored).model_validate_json(stored.model_dump_json()).unmeasured == ()
