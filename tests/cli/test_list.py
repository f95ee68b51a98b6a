"""`lossbench list`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lossbench.assembly.registries import REGISTRIES
from lossbench.cli.list import Kind
from lossbench.registry import Entry, Registry, make_entry
from lossbench.training.optimizers import OPTIMIZERS

Run = Callable[..., tuple[int, str, str]]


def test_lists(run: Run, make_folder: Callable[..., Path]) -> None:
    _, losses, _ = run("list", "losses")
    for name in ("softmax", "center", "l_softmax", "contrastive", "triplet", "lgm"):
        assert f"\n{name}  " in f"\n{losses}"
    assert re.search(r"covariance +identity +identity \| diagonal", losses)
    assert re.search(r"lambda +0\.1 +float, >= 0", losses)
    lgm = run("list", "losses", "lgm")[1]
    assert "Deviations:" in lgm
    assert len(re.findall(r"^ +alpha_every ", lgm, re.MULTILINE)) == 1
    assert "num_classes" not in lgm  # a suite cannot set it
    assert "did you mean 'lgm'" in run("list", "losses", "lgmm")[2]
    folder = make_folder("mine")
    _, datasets, _ = run("list", "datasets", "--data-root", folder.parent)
    assert re.search(r"^mnist .*\[`lossbench data prepare mnist`\]", datasets, re.MULTILINE)
    for name, needed in (("imagenet", "imagenet"), ("lfw", "lfw"), ("lfw_within", "lfw")):
        command = f"`lossbench data prepare {needed}`"
        assert f"[obtain it yourself; {command} prints how]" in datasets.split(f"\n{name} ")[1]
    assert "mine" in datasets
    assert "mnist_cnn" in run("list", "models")[1]


def test_metrics_of_evaluations_have_their_direction(run: Run) -> None:
    _, listed, _ = run("list", "evaluations")
    parts = {part.split(maxsplit=1)[0]: part for part in listed.split("\n\n") if part.strip()}
    assert "\n    lower is better: error" in parts["error"]
    assert "higher is better" not in parts["error"]
    assert "\n    lower is better: distance_ratio" in parts["class_separation"]
    assert "\n    neither is better: feature_norm" in parts["class_separation"]
    assert "\n    higher is better: class_separation" in parts["class_separation"]
    assert "\n    higher is better: other_DATASET_auroc" in parts["other_images"]
    one = run("list", "evaluations", "knn")[1]
    assert re.search(r"knn_20_error +k-NN error, k = 20, .*% of images +lower +representation", one)
    assert "better" not in run("list", "losses", "lgm")[1]


def test_docs_of_evaluations_have_the_direction_of_each_metric(run: Run) -> None:
    page = run("docs", "evaluations")[1]
    for cell in ("retrieval_map_at_r", "brier_score", "other_DATASET_fpr95"):
        assert cell in page


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.plural)
def test_every_kind_of_component_is_listed(run: Run, registry: Registry[Any]) -> None:
    code, listed, _ = run("list", registry.plural)
    assert code == 0
    for name in registry.builtin_names:
        assert f"\n{name}  " in f"\n{listed}"
        assert run("list", registry.plural, name)[0] == 0
    for library in registry.libraries:
        assert f"\n{library.prefix}.NAME  {library.placeholder.summary}" in f"\n{listed}"
        assert f"`lossbench list {registry.plural} {library.prefix}`" in listed
    assert {each.plural for each in REGISTRIES} | {"datasets", "suites"} == set(Kind)


def test_names_of_a_library(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OPTIMIZERS, "_libraries", {})
    names = ["Adam", "AdamW", "SGD"]
    OPTIMIZERS.register_prefix("far.off", lambda rest: OPTIMIZERS["sgd"], lambda: names, _far())
    for name in ("far.off", "far.off."):
        code, listed, _ = run("list", "optimizers", name)
        assert code == 0
        lines = listed.splitlines()
        assert lines[0] == "far.off.NAME  Optimizers of far."
        assert lines[-3:] == ["far.off.Adam", "far.off.AdamW", "far.off.SGD"]
    assert run("list", "optimizers", "far.off.Adam*")[1].split() == [
        "far.off.Adam",
        "far.off.AdamW",
    ]
    assert run("list", "optimizers", "s*")[1].split() == ["sgd"]
    code, _, error = run("list", "optimizers", "far.off.x*")
    assert (code, error) == (2, "error: list optimizers far.off.x*: no name matches\n")


def _far() -> Entry[Any]:
    def create() -> None:
        """Optimizers of far."""

    return make_entry("optimizer", "far.off.NAME", create)
