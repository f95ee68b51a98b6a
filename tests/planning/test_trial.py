"""Identities of trainings and of their measurements."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from lossbench.planning.trial import PlannedEvaluation, Trial, digest_of
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
        "holdout_labels": "clean",  # without label noise they are the same
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


def test_a_trial_without_conditions_of_the_data_has_the_identity_of_earlier_versions() -> None:
    """The pinned identity was computed before `dataset` had keys for conditions."""
    trial = make_trial("a", 0)
    assert trial.identity == "23a357336709c551"
    assert trial.dataset.model_dump(mode="json").keys() == {
        "name",
        "classes",
        "train_size",
        "test_size",
        "missing_test_classes",
    }
    assert "holdout_labels" not in trial.model_dump_json()


def _with(**keys: Any) -> Trial:
    return make_trial("a", 0).model_copy(
        update={"dataset": DatasetChoice.model_validate({"name": "digits", **keys})}
    )


def test_each_condition_of_the_data_is_part_of_the_identity() -> None:
    trials = [
        _with(),
        _with(per_class=5),
        _with(imbalance={"long_tail": 10}),
        _with(imbalance={"step": 10}),
        _with(imbalance={"step": 10, "seed": 1}),
        _with(label_noise={"symmetric": 0.4}),
        _with(label_noise={"symmetric": 0.4, "seed": 1}),
        _with(label_noise={"asymmetric": {"rate": 0.4, "map": [1, 0]}}),
        _with(label_noise={"asymmetric": {"rate": 0.4, "map": [0, 0]}}),
        _with(label_noise={"from": "a.npy", "digest": "x"}),
        _with(label_noise={"from": "a.npy", "digest": "y"}),
    ]
    assert len({trial.identity for trial in trials}) == len(trials)
    for trial in trials:
        assert Trial.model_validate_json(trial.model_dump_json()) == trial


def test_spellings_of_one_condition_have_one_identity() -> None:
    same = [
        (
            _with(label_noise={"from": "a.npy", "digest": "x"}),
            _with(label_noise={"from": "/b/c.pt", "key": "worse_label", "digest": "x"}),
        ),
        (_with(imbalance={"step": 10}), _with(imbalance={"step": 10.0, "seed": 0})),
        (_with(), _with(label_noise={"symmetric": 0})),
        (_with(), _with(label_noise={"asymmetric": {"rate": 0.0, "map": [1, 0]}, "seed": 3})),
    ]
    for one, other in same:
        assert one.identity == other.identity


def test_labels_of_the_held_out_part_count_only_where_they_differ() -> None:
    noisy = _with(label_noise={"symmetric": 0.4})
    clean = noisy.model_copy(update={"holdout_labels": "clean"})
    assert clean.identity != noisy.identity
    assert Trial.model_validate_json(clean.model_dump_json()) == clean
    for holdout in (0.0, "validation"):
        one, other = (trial.model_copy(update={"holdout": holdout}) for trial in (noisy, clean))
        assert one.identity == other.identity
    no_noise = _with(label_noise={"symmetric": 0}).model_copy(update={"holdout_labels": "clean"})
    assert no_noise.identity == _with().identity


def test_trials_with_other_seeds_share_what_is_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    dumped = []
    dump = Trial.model_dump

    def counted(self: Trial, **options: Any) -> dict[str, Any]:
        dumped.append(self.seed)
        return dump(self, **options)

    monkeypatch.setattr(Trial, "model_dump", counted)
    trial = make_trial("a", 0)
    seeds = [trial.with_seed(seed).identity for seed in range(3)]
    assert dumped == [0]
    assert seeds == [make_trial("a", seed).identity for seed in range(3)]
    other = trial.with_seed(1).model_copy(update={"threads": 2})
    assert other.identity == make_trial("a", 1).model_copy(update={"threads": 2}).identity


def test_identities_are_digests_of_the_whole_content() -> None:
    trial = make_trial("a", 7)
    content = trial.model_dump(mode="json", exclude={"suite", "variant", "row", "evaluate"})
    content["dataset"] = trial.dataset.identifying()
    for name in ("weights_digest", "sources", "revisions", "stop_early", "keep_weights"):
        if not getattr(trial, name) or name == "keep_weights":
            content.pop(name)
    assert trial.identity == digest_of(content)
    evaluation = PlannedEvaluation(name="knn", params={"k": 3}, source="abc")
    content = {"name": "knn", "params": {"k": 3}, "source": "abc"}
    for training in ("1", "2"):
        expected = digest_of({"training": training, "evaluation": content})
        assert evaluation.identity(training) == expected
