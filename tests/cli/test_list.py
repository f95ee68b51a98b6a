"""`lossbench list`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

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
