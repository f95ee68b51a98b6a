"""Specification of one training, and the identities of the training and its measurements."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import PurePath
from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from lossbench.records import Strict
from lossbench.suite.schema import Component, DatasetChoice, Holdout, HoldoutLabels, Recipe

PROTOCOL = 4
"""Part of every identity; increase it if a change of the code affects the results of all
trials. A change that affects only some trials gets an entry in `revisions.py` instead."""
VALIDATION_SET = "the validation set"
"""Key in `other_digests` of the data set's own validation set, if evaluations read it."""


class PlannedEvaluation(Component):
    """An evaluation, with what its values depend on besides the training.

    Attributes:
        name, params: As in the suite, with all defaults.
        other_digests: Digests of the other data that it reads, by the name in the suite.
        source: Digest of its code if it comes from a plugin; otherwise empty.
        metrics: Names of its metrics.
        rounding_changed: Whether earlier versions cropped the other images that it reads one pixel
            differently, so that their values are not used.
    """

    other_digests: dict[str, str] = Field(default={})
    source: str = ""
    metrics: tuple[str, ...] = ()
    rounding_changed: bool = False

    def identity(self, training: str) -> str:
        """Hash of everything that determines its values on a trained network.

        Args:
            training: Identity of the training.
        """
        before, after = self._hashed
        return short_digest(f"{before}{json.dumps(training)}{after}")

    @cached_property
    def _hashed(self) -> tuple[str, str]:
        """Hashed text before and after the identity of the training, for many trainings."""
        portable = self.without_folders()
        content = portable.model_dump(mode="json", include={"name", "params"})
        if self.other_digests:
            content["other_digests"] = portable.other_digests
        if self.source:
            content["source"] = self.source
        return _text_around({"evaluation": content}, "training")

    def model_copy(
        self, *, update: Mapping[str, Any] | None = None, deep: bool = False
    ) -> PlannedEvaluation:
        """Copy without the cached text, because fields of the copy may differ."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("_hashed", None)
        return copied

    def without_folders(self) -> PlannedEvaluation:
        """The same with the names of the other data only, without the folders that they are in."""
        names = {name: PurePath(name).name for name in self.other_digests}
        if all(name == short for name, short in names.items()):
            return self
        params = {
            key: names.get(value, value) if isinstance(value, str) else value
            for key, value in self.params.items()
        }
        digests = {names[name]: digest for name, digest in self.other_digests.items()}
        return self.model_copy(update={"params": params, "other_digests": digests})


class Trial(Strict):
    """One training and its measurements: one cell of the table at one seed.

    Attributes:
        suite, variant, row: Labels; they are not part of the identity.
        entry_label: Label of the row's entry in the suite, as in `Row`; not stored.
        loss, model, recipe, augment: Components and settings with all defaults.
        dataset, data_digest: Training data; the digest covers all images and labels, or
            a sample of large folders (see `data/content_digest.py`).
        weights_digest: Digest of the file with the initial weights; empty for random weights.
        sources: Digests of the code of plugin components, by kind and name as in `loss my_loss`.
        file_digests: Digests of the whole files of the plugin components, which earlier versions
            used instead of `sources`.
        revisions: Revision of each part of the training that has changed since protocol 4; see
            `revisions.py`.
        holdout: Fraction of the training set that is held out and measured instead of the test set;
            0 trains on everything and measures on the test set; `validation` trains on everything
            and measures on the validation set.
        holdout_labels: Labels that held-out images are evaluated with, if there is label noise.
        stop_early: Whether it may be pruned if its row is behind others; see `Selection`.
        evaluate: Evaluations after the last epoch; they are not part of the identity.
        keep_weights: Whether the trained weights are stored; not part of the identity.
        threads: CPU threads of the training; results depend on it in the last bits.
        workers: Number of processes of one training.
        seed: Seed of initialisation, batch order and augmentation.
    """

    suite: str
    variant: str
    row: str
    entry_label: str | None = Field(default=None, exclude=True)
    loss: Component
    model: Component
    recipe: Recipe
    augment: tuple[Component, ...]
    dataset: DatasetChoice
    data_digest: str
    weights_digest: str = ""
    sources: dict[str, str] = Field(default={})
    file_digests: dict[str, str] = Field(default={}, exclude=True)
    revisions: dict[str, int] = Field(default={})
    holdout: Holdout
    holdout_labels: HoldoutLabels = "noisy"
    stop_early: bool = False
    evaluate: tuple[PlannedEvaluation, ...]
    keep_weights: bool = True
    threads: int
    workers: int
    seed: int

    @model_serializer(mode="wrap")
    def _without_unused_keys(self, to_dict: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the default of `holdout_labels`, as trials of earlier versions do."""
        content: dict[str, Any] = to_dict(self)
        if self.holdout_labels == "noisy":
            content.pop("holdout_labels", None)
        return content

    @cached_property
    def identity(self) -> str:
        """Hash of everything that determines the trained network, with digests of the data."""
        before, after = self._hashed
        return short_digest(f"{before}{json.dumps(self.seed)}{after}")

    @cached_property
    def _hashed(self) -> tuple[str, str]:
        """Hashed text before and after the seed, which trials with other seeds share."""
        labels = {"suite", "variant", "row", "evaluate", "keep_weights"}
        content = self.model_dump(mode="json", exclude=labels)
        content["dataset"] = self.dataset.identifying()
        if not self.measures_clean_labels:
            content.pop("holdout_labels", None)
        if self.weights_digest:
            content["model"]["params"].pop("checkpoint", None)
        else:
            del content["weights_digest"]
        if not self.sources:
            del content["sources"]
        if not self.revisions:
            del content["revisions"]
        if not self.stop_early:
            del content["stop_early"]
        return _text_around(content, "seed")

    @cached_property
    def earlier_identity(self) -> str:
        """Identity of this training in earlier versions, which hashed whole files of plugins."""
        if not self.file_digests:
            return self.identity
        return self.model_copy(update={"sources": self.file_digests}).identity

    @cached_property
    def measurement_identities(self) -> tuple[str, ...]:
        """Identities of the measurements, in the order of `evaluate`."""
        return tuple(evaluation.identity(self.identity) for evaluation in self.evaluate)

    @property
    def entry(self) -> str:
        """Name of the row's entry in the suite; see `Row.entry`."""
        return self.entry_label or self.loss.name

    @property
    def other_digests(self) -> dict[str, str]:
        """Digests of the other data that the evaluations read, by the name in the suite."""
        return {k: v for evaluation in self.evaluate for k, v in evaluation.other_digests.items()}

    def with_seed(self, seed: int) -> Trial:
        """The same trial with another seed; what their identities have in common is kept."""
        copied = self.model_copy(update={"seed": seed})
        copied.__dict__["_hashed"] = self._hashed
        return copied

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Trial:
        """Copy without the cached identities, because fields of the copy may differ."""
        copied = super().model_copy(update=update, deep=deep)
        for name in ("identity", "earlier_identity", "measurement_identities", "_hashed"):
            copied.__dict__.pop(name, None)
        return copied

    @property
    def on_validation_set(self) -> bool:
        return self.holdout == "validation"

    @property
    def measures_clean_labels(self) -> bool:
        """Whether held-out images are evaluated with other labels than those of training."""
        share = bool(self.holdout) and not self.on_validation_set
        return share and self.holdout_labels == "clean" and self.dataset.has_noisy_labels

    @property
    def reads_validation_set(self) -> bool:
        """Whether its evaluations read the validation set, which is then not measured."""
        return VALIDATION_SET in self.other_digests

    @property
    def other_datasets(self) -> tuple[str, ...]:
        """Names in the suite of the other data sets that its evaluations read."""
        return tuple(name for name in self.other_digests if name != VALIDATION_SET)

    @property
    def name(self) -> str:
        """`variant/row/seed0`; with `/holdout` for a trial that is not measured on the test set."""
        stage = "/holdout" if self.holdout else ""
        return f"{self.variant}/{self.row}/seed{self.seed}{stage}"


def digest_of(content: Any) -> str:
    """Short hash of JSON content and the protocol."""
    return short_digest(json.dumps({"protocol": PROTOCOL, "content": content}, sort_keys=True))


def _text_around(content: Mapping[str, Any], key: str) -> tuple[str, str]:
    """The text that `digest_of` hashes, before and after the value of a key, which may be missing.

    With the same other values, only this value has to be written for each hash.
    """

    def text(name: str) -> str:
        return f"{json.dumps(name)}: {json.dumps(content[name], sort_keys=True)}"

    before = [text(name) for name in sorted(content) if name < key]
    after = [text(name) for name in sorted(content) if name > key]
    end = f'}}, "protocol": {json.dumps(PROTOCOL)}}}'
    return '{"content": {' + ", ".join([*before, f"{json.dumps(key)}: "]), "".join(
        [*(f", {each}" for each in after), end]
    )


def short_digest(text: str) -> str:
    """First 16 hexadecimal digits of a text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
