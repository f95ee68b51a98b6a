"""Identities of trainings and of their measurements."""

from __future__ import annotations

import pickle

import pytest

from lossbench.planning.trial import PlannedEvaluation, Trial
from lossbench.suite.schema import Component, DatasetChoice, Recipe
from tests.synthetic_trials import make_trial


def test_a_changed_copy_has_a_different_identity() -> None:
    trial = make_trial("a", 0)
    before = trial.identity, trial.earlier_identity  # now they are cached
    changed = trial.model_copy(update={"seed": 1})
    assert changed.identity == make_trial("a", 1).identity != before[0]
    assert changed.earlier_identity == changed.identity
    assert (trial.identity, trial.earlier_identity) == before
    plugins = trial.model_copy(
        update={"sources": {"loss lgm": "new"}, "file_digests": {"loss lgm": "old"}}
    )
    assert len({plugins.identity, plugins.earlier_identity, trial.identity}) == 3


def test_a_cached_identity_is_not_part_of_the_trial() -> None:
    trial, other = make_trial("a", 0), make_trial("a", 0)
    identity = trial.identity
    assert trial == other
    assert trial.model_dump_json() == other.model_dump_json()
    assert pickle.loads(pickle.dumps(trial)).identity == identity
    assert Trial.model_validate_json(trial.model_dump_json()).identity == identity


def test_identity_of_the_training_depends_on_every_field_that_affects_it() -> None:
    trial = make_trial("a", 0)
    other = Component(name="other")
    changed = {
        "loss": other,
        "model": other,
        "recipe": trial.recipe.model_copy(update={"epochs": 99}),
        "augment": (other,),
        "dataset": DatasetChoice(name="digits", train_size=50),
        "data_digest": "other",
        "weights_digest": "other",
        "sources": {"loss lgm": "other"},
        "revisions": {"schedule": 2},
        "holdout": 0.3,
        "stop_early": False,
        "threads": 2,
        "workers": 2,
        "seed": 1,
    }
    unchanged = {
        "suite": "other",
        "variant": "other",
        "row": "other",
        "entry_label": "other",
        "evaluate": (PlannedEvaluation(name="error"),),
        "keep_weights": False,
        "file_digests": {"loss lgm": "other"},
    }
    assert changed.keys() | unchanged.keys() == Trial.model_fields.keys()
    copies = [trial.model_copy(update={key: value}) for key, value in changed.items()]
    assert len({trial.identity, *(copy.identity for copy in copies)}) == len(changed) + 1
    assert trial.model_copy(update=unchanged).identity == trial.identity


def test_a_recipe_without_clipping_has_the_identity_of_earlier_versions() -> None:
    """The pinned identity was computed before recipes had the key `clip_norm`."""
    trial = make_trial("a", 0)
    assert "clip_norm" not in trial.model_dump_json()
    assert trial.identity == "23a357336709c551"
    clipped = {
        trial.model_copy(
            update={"recipe": Recipe(**{**trial.recipe.model_dump(), "clip_norm": norm})}
        ).identity
        for norm in (None, 1, 1.0, 2.0)
    }
    assert len(clipped) == 3
    assert trial.identity in clipped


def test_identity_of_a_measurement_depends_on_the_training_and_the_evaluation() -> None:
    plain = PlannedEvaluation(name="ood", params={"dataset": "mnist"})
    changed = {
        "name": "other",
        "params": {"dataset": "other"},
        "other_digests": {"mnist": "d1"},
        "source": "other",
    }
    unchanged = {"metrics": ("a", "b"), "rounding_changed": True}
    assert changed.keys() | unchanged.keys() == PlannedEvaluation.model_fields.keys()
    copies = [plain.model_copy(update={key: value}) for key, value in changed.items()]
    identities = {e.identity("training 1") for e in [plain, *copies]}
    identities |= {plain.identity("training 2"), plain.identity("")}
    assert len(identities) == len(changed) + 3
    assert plain.model_copy(update=unchanged).identity("training 1") in identities


def test_digests_of_other_data_are_those_of_all_evaluations() -> None:
    evaluations = (
        PlannedEvaluation(name="a", other_digests={"mnist": "d1"}),
        PlannedEvaluation(name="b"),
        PlannedEvaluation(name="c", other_digests={"lfw": "d2"}),
    )
    trial = make_trial("a", 0).model_copy(update={"evaluate": evaluations})
    assert trial.other_digests == {"mnist": "d1", "lfw": "d2"}


@pytest.mark.parametrize("update", [{"seed": 1}, {"evaluate": (PlannedEvaluation(name="b"),)}])
def test_a_changed_copy_has_different_measurements(update: dict[str, object]) -> None:
    trial = make_trial("a", 0).model_copy(update={"evaluate": (PlannedEvaluation(name="a"),)})
    [before] = trial.measurement_identities  # now it is cached
    [after] = trial.model_copy(update=update).measurement_identities
    assert after != before
