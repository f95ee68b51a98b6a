"""Identities of trials."""

from __future__ import annotations

import pickle

from lossbench.planning.trial import Trial
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


def test_labels_are_not_part_of_the_identity() -> None:
    trial = make_trial("a", 0)
    labels = {"suite": "x", "variant": "y", "row": "z"}
    assert trial.model_copy(update=labels).identity == trial.identity
