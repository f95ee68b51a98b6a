"""Measurements of trained networks, at once or later on their stored weights."""

from __future__ import annotations

import io
import json
import pickle
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lossbench.assembly.check import check
from lossbench.errors import DataError
from lossbench.evaluation import EVALUATIONS
from lossbench.planning.trial import Trial
from lossbench.records import TrialResult
from lossbench.runner.measurement import features_are_constant
from lossbench.runner.trial import measure_trial, run_trial
from lossbench.suite.load import load_suite
from tests.conftest import SUITE

NOWHERE = Path("/nonexistent/data")
OF_LARGE_DATA = {"verification"}
MEASURED_WITH: dict[str, dict[str, Any]] = {
    "other_images": {"dataset": "mine"},
    "transfer": {"dataset": "mine"},
    "pgd": {"steps": 2},
    "retrieval": {"held_out_classes": True},
}
"""Parameters that have no default, take long, or need the left-out classes."""


def test_identical_features_are_detected() -> None:
    features = 5 + torch.randn(100, 3)
    assert not features_are_constant(features)
    assert features_are_constant(features[:1].repeat(100, 1))
    assert features_are_constant(torch.zeros(100, 3))
    assert not features_are_constant(torch.cat([torch.zeros(99, 3), torch.ones(1, 3)]))


def suite_with(evaluate: Sequence[str], loss: str, folder: Path) -> Trial:
    """Trial with one loss and some of the registered evaluations, on eight of the digits."""
    listed = [{name: MEASURED_WITH[name]} if name in MEASURED_WITH else name for name in evaluate]
    overrides = [
        "dataset={name: digits, classes: [0, 1, 2, 3, 4, 5, 6, 7]}",
        f"losses=[{loss}]",
        f"evaluate={json.dumps(listed)}",
        "recipe.input.crop=7",
        "seeds=[3]",
    ]
    path = folder / "small.yaml"
    path.write_text(SUITE, encoding="utf-8")
    return check(load_suite(path, overrides), folder / "data").trials[0]


def train_into(trial: Trial, folder: Path, data_root: Path) -> TrialResult:
    """Run a trial; its result, weights and arrays are in the folder."""
    folder.mkdir()
    result = run_trial(trial, data_root=data_root, artifacts=folder)
    (folder / "result.json").write_text(result.model_dump_json(), encoding="utf-8")
    return result


def values_of(result: TrialResult) -> dict[str, dict[str, float]]:
    """Metrics by the identity of the measurement."""
    return {record.identity: dict(record.metrics) for record in result.measurements}


def require_same_arrays(first: Path, second: Path) -> None:
    """The same array files below `measurements`, with the same bits."""
    files = [sorted((at / "measurements").rglob("*.npz")) for at in (first, second)]
    names = [
        [str(p.relative_to(at)) for p in f] for f, at in zip(files, (first, second), strict=True)
    ]
    assert names[0] == names[1]
    assert names[0]
    for one, other in zip(*files, strict=True):
        with np.load(one) as a, np.load(other) as b:
            assert sorted(a) == sorted(b)
            for key in a:
                np.testing.assert_array_equal(a[key], b[key], err_msg=f"{one.name}: {key}")


@pytest.mark.parametrize("loss", ["lgm", "triplet: {softmax_weight: 0}", "elr"])
def test_measuring_later_gives_the_same_bits_as_measuring_at_once(
    make_folder: Callable[..., Path], tmp_path: Path, loss: str
) -> None:
    data = make_folder("mine").parent
    names = [name for name in EVALUATIONS if name not in OF_LARGE_DATA]
    at_once, later, alone = (tmp_path / name for name in ("at once", "later", "alone"))
    all_trial = suite_with(names, loss, tmp_path)
    expected = train_into(all_trial, at_once, data)
    assert len(expected.measurements) == len(names) >= 12
    assert all(record.metrics for record in expected.measurements)

    first = suite_with(["error"], loss, tmp_path)
    before = train_into(first, later, data)
    assert before.identity == expected.identity
    assert before.weights_digest == expected.weights_digest != ""
    # in another order, and without one that is measured already
    trial = suite_with(names[::-1], loss, tmp_path)
    found = measure_trial(trial, data_root=data, stored=later, artifacts=later)
    assert values_of(found) == values_of(expected)
    assert found.metrics == expected.metrics
    assert found.weights_digest == before.weights_digest
    assert found.history == before.history
    assert found.measurements[0] == before.measurements[0]
    require_same_arrays(at_once, later)

    alone.mkdir()
    last = suite_with(["error", names[-1]], loss, tmp_path)
    single = measure_trial(last, data_root=data, stored=at_once, artifacts=alone)
    assert single.measurements == expected.measurements  # nothing is missing
    assert list(alone.iterdir()) == []


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: b"", "the file of the stored weights cannot be used"),
        (lambda content: b"no weights", "the file of the stored weights cannot be used"),
        (
            lambda content: content[: len(content) // 2],
            "the file of the stored weights cannot be used",
        ),
        (lambda content: saved({"model": {}}), "the file of the stored weights cannot be used"),
        (lambda content: saved([1, 2]), "the file of the stored weights cannot be used"),
        (lambda content: saved(torch.zeros(3)), "the file of the stored weights cannot be used"),
        (
            lambda content: saved({"model": 1, "head": 1}),
            "the file of the stored weights cannot be used",
        ),
        (lambda content: pickle.dumps(Path("x")), "the file of the stored weights cannot be used"),
        (lambda content: changed(content), "are not those that were measured before"),
    ],
    ids=["empty", "text", "cut", "no head", "list", "tensor", "numbers", "pickle", "other"],
)
def test_weights_that_are_damaged_or_of_another_network_are_refused(
    trained: tuple[Trial, Path],
    tmp_path: Path,
    damage: Callable[[bytes], bytes],
    message: str,
) -> None:
    trial, folder = trained
    stored = tmp_path / "stored"
    shutil.copytree(folder, stored)
    weights = stored / "weights.pt"
    weights.write_bytes(damage(weights.read_bytes()))
    with pytest.raises(DataError, match=message) as caught:
        measure_trial(trial, data_root=NOWHERE, stored=stored, artifacts=tmp_path)
    assert "\n" not in str(caught.value)
    assert "to train it again" in str(caught.value)


def test_missing_weights_are_refused(trained: tuple[Trial, Path], tmp_path: Path) -> None:
    trial, folder = trained
    stored = tmp_path / "stored"
    shutil.copytree(folder, stored, ignore=shutil.ignore_patterns("weights.pt"))
    with pytest.raises(DataError, match="the file of the stored weights cannot be used"):
        measure_trial(trial, data_root=NOWHERE, stored=stored, artifacts=tmp_path)


def test_weights_without_a_stored_digest_are_used(
    trained: tuple[Trial, Path], tmp_path: Path
) -> None:
    """Earlier versions stored none."""
    trial, folder = trained
    stored = tmp_path / "stored"
    shutil.copytree(folder, stored)
    before = TrialResult.model_validate_json((stored / "result.json").read_text(encoding="utf-8"))
    earlier = before.model_copy(update={"weights_digest": ""})
    (stored / "result.json").write_text(earlier.model_dump_json(), encoding="utf-8")
    found = measure_trial(trial, data_root=NOWHERE, stored=stored, artifacts=tmp_path)
    assert found.weights_digest == before.weights_digest != ""
    assert found.metrics.keys() == {"error", "top5_error"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trial, Path]:
    """A trial that lacks an evaluation, and the folder of its training."""
    folder = tmp_path_factory.mktemp("trained")
    train_into(suite_with(["error"], "softmax", folder), folder / "out", NOWHERE)
    return suite_with(["error", "top5_error"], "softmax", folder), folder / "out"


def saved(content: object) -> bytes:
    """Content as a file of torch."""
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def changed(content: bytes) -> bytes:
    """Weights in which one number differs."""
    weights = torch.load(io.BytesIO(content), weights_only=True)
    next(iter(weights["model"].values())).view(-1)[0] += 1e-3
    return saved(weights)
