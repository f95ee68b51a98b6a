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
