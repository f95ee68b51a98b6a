"""A training that is interrupted at any epoch and resumed gives bit-identical results."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from lossbench.assembly.check import check
from lossbench.planning.trial import Trial
from lossbench.records import EpochRecord, TrialResult
from lossbench.runner.environment import environment
from lossbench.runner.trial import run_trial
from lossbench.suite.load import load_suite
from lossbench.training import checkpoints as module
from lossbench.training.checkpoints import Checkpoints
from lossbench.training.process_group import ProcessGroup
from lossbench.training.seeding import random_states, restore_random_states

pytestmark = pytest.mark.long

NOWHERE = Path("/nonexistent/data")
HERE = {**environment(), "device": "cpu"}
LOSSES = [
    "softmax", "center", "l_softmax", "contrastive", "triplet", "lgm: {alpha_start: 0.01}",
    "feature_dropout",  # with random draws in every step
    "elr",  # with state of each training image
]  # fmt: skip
AUGMENTED = "variants={a: {augment: [mirror, random_crop: {padding: 1}]}}"


class Interrupted(Exception):
    pass


@pytest.fixture
def trial_of(write_suite: Callable[..., Path]) -> Callable[..., Trial]:
    def make(*overrides: str) -> Trial:
        few = ["recipe.epochs=5", "dataset.train_size=200", "dataset.test_size=100", AUGMENTED]
        return check(load_suite(write_suite(), [*few, *overrides]), NOWHERE).trials[0]

    return make


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("epoch-*"))


def run(
    trial: Trial, folder: Path, checkpoints: Checkpoints | None, until: int | None = None
) -> TrialResult:
    """Run a trial; interrupt it, as a kill would, when the epoch `until` is reported."""

    def on_epoch(record: EpochRecord | None) -> None:
        if record is not None and record.epoch == until:
            raise Interrupted

    folder.mkdir(exist_ok=True)
    return run_trial(
        trial, data_root=NOWHERE, artifacts=folder, on_epoch=on_epoch, checkpoints=checkpoints
    )


def same(ours: TrialResult, theirs: TrialResult, folders: tuple[Path, Path]) -> None:
    assert ours.metrics == theirs.metrics
    assert [r.metrics for r in ours.history] == [r.metrics for r in theirs.history]
    assert ours.metrics.keys() == {"error"}
    first, second = (torch.load(f / "weights.pt", weights_only=True) for f in folders)
    for part in ("model", "head"):
        assert first[part].keys() == second[part].keys()
        for name, tensor in first[part].items():
            assert torch.equal(tensor, second[part][name]), name


@pytest.mark.parametrize("loss", LOSSES)
def test_an_interrupted_trial_has_bit_identical_results(
    trial_of: Callable[..., Trial], tmp_path: Path, loss: str
) -> None:
    trial = trial_of(f"losses=[{loss}]")
    undisturbed = run(trial, tmp_path / "whole", None)
    at = tmp_path / "checkpoints"
    for until in (1, 2, 4):  # three deaths
        with pytest.raises(Interrupted):
            run(trial, tmp_path / "parts", Checkpoints(at, HERE), until)
    assert kept(at) == ["epoch-00000003.pt", "epoch-00000004.pt"]
    last = Checkpoints(at, HERE)
    result = run(trial, tmp_path / "parts", last)
    assert last.notes == ["resumes after epoch 4"]
    same(result, undisturbed, (tmp_path / "whole", tmp_path / "parts"))
    assert result.wall_time_sec > 0


def test_averages_of_batch_normalisation_are_in_the_checkpoint(
    trial_of: Callable[..., Trial], tmp_path: Path
) -> None:
    for name in ("ema", "swa"):
        resnet = "model={name: resnet_cifar, depth: 8, width: 2}"
        trial = trial_of("losses=[elr]", resnet, f"recipe.weight_averaging={name}")
        folder = tmp_path / name
        folder.mkdir()
        undisturbed = run(trial, folder / "whole", None)
        with pytest.raises(Interrupted):
            run(trial, folder / "parts", Checkpoints(folder / "at", HERE), 4)
        result = run(trial, folder / "parts", Checkpoints(folder / "at", HERE))
        same(result, undisturbed, (folder / "whole", folder / "parts"))


@pytest.mark.parametrize(
    "override",
    [
        "recipe.optimizer={name: adamw, lr: 0.01}",
        "recipe.optimizer={name: sgd, lr: 0.03, momentum: 0.9, nesterov: true, weight_decay: 0.01}",
        "model={name: resnet_cifar, depth: 8, width: 2}",  # batch normalisation has state, too
        "recipe.schedule={name: multistep, milestones: [2.5]}",
        "recipe.clip_norm=0.1",
        "recipe.optimizer=torch.optim.NAdam",
        "recipe.schedule={name: one_cycle, warmup: 2.5}",
        "recipe.weight_averaging={name: ema, decay: 0.9}",
        "recipe.weight_averaging={name: swa, start: 0.3}",
    ],
)
def test_every_part_of_a_recipe_is_in_the_checkpoint(
    trial_of: Callable[..., Trial], tmp_path: Path, override: str
) -> None:
    trial = trial_of("losses=[center]", override)
    undisturbed = run(trial, tmp_path / "whole", None)
    with pytest.raises(Interrupted):
        run(trial, tmp_path / "parts", Checkpoints(tmp_path / "at", HERE), 3)
    result = run(trial, tmp_path / "parts", Checkpoints(tmp_path / "at", HERE))
    same(result, undisturbed, (tmp_path / "whole", tmp_path / "parts"))


def test_a_trial_that_is_interrupted_after_its_last_epoch_is_measured_in_eval_mode(
    trial_of: Callable[..., Trial], tmp_path: Path
) -> None:
    """Nothing is left to train then, and batch normalisation and dropout have another mode."""
    trial = trial_of("losses=[feature_dropout]", "model={name: resnet_cifar, depth: 8, width: 2}")
    undisturbed = run(trial, tmp_path / "whole", None)
    with pytest.raises(Interrupted):
        run(trial, tmp_path / "parts", Checkpoints(tmp_path / "at", HERE), 5)
    last = Checkpoints(tmp_path / "at", HERE)
    result = run(trial, tmp_path / "parts", last)
    assert last.notes == ["resumes after epoch 5"]
    same(result, undisturbed, (tmp_path / "whole", tmp_path / "parts"))


def test_the_earlier_checkpoint_is_used_if_the_newest_is_damaged(
    trial_of: Callable[..., Trial], tmp_path: Path
) -> None:
    trial = trial_of()
    undisturbed = run(trial, tmp_path / "whole", None)
    at = tmp_path / "at"
    with pytest.raises(Interrupted):
        run(trial, tmp_path / "parts", Checkpoints(at, HERE), 4)
    newest = at / "epoch-00000004.pt"
    whole = newest.read_bytes()
    for damaged in (whole[:-1], whole[:1000], b"", whole[:-2000] + bytes(2000), b"\x80\x04."):
        newest.write_bytes(damaged)
        found = Checkpoints(at, HERE)
        state = found.load()
        assert state is not None
        assert state["training"]["epochs_done"] == 3
        assert found.notes == ["checkpoint epoch-00000004.pt is not used: it is damaged"]
    result = run(trial, tmp_path / "parts", Checkpoints(at, HERE))
    same(result, undisturbed, (tmp_path / "whole", tmp_path / "parts"))

    for path in at.glob("epoch-*"):
        path.write_bytes(b"nothing")
    unreadable = Checkpoints(at, HERE)
    result = run(trial, tmp_path / "parts", unreadable)
    assert len(unreadable.notes) == 2
    same(result, undisturbed, (tmp_path / "whole", tmp_path / "parts"))


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/lossbench-was-here",)


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    folder = tmp_path / "at"
    Checkpoints(folder, HERE).save(1, {"fine": torch.ones(2)})
    marker = Path("/tmp/lossbench-was-here")
    marker.unlink(missing_ok=True)
    Checkpoints(folder, HERE).save(2, {"training": Evil()})
    found = Checkpoints(folder, HERE)
    state = found.load()
    assert state is not None
    assert "fine" in state
    assert "epoch-00000002.pt is not used: it cannot be read" in found.notes[0]
    assert not marker.exists()


def test_a_checkpoint_of_other_versions_is_not_used(tmp_path: Path) -> None:
    Checkpoints(tmp_path, {**HERE, "torch": "0"}).save(1, {})
    found = Checkpoints(tmp_path, HERE)
    assert found.load() is None
    assert found.notes == ["checkpoint epoch-00000001.pt is not used: it was made with torch 0"]


def test_a_checkpoint_that_does_not_fit_is_ignored(
    trial_of: Callable[..., Trial], tmp_path: Path
) -> None:
    at = tmp_path / "at"
    with pytest.raises(Interrupted):
        run(trial_of("losses=[center]"), tmp_path / "parts", Checkpoints(at, HERE), 2)
    trial = trial_of("losses=[softmax]")
    checkpoints = Checkpoints(at, HERE)
    result = run(trial, tmp_path / "parts", checkpoints)
    assert "does not fit, so it starts from scratch" in checkpoints.notes[0]
    undisturbed = run(trial, tmp_path / "whole", None)
    same(result, undisturbed, (tmp_path / "whole", tmp_path / "parts"))


def test_a_full_disk_does_not_end_the_training(
    trial_of: Callable[..., Trial], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    checkpoints = Checkpoints(tmp_path / "at", HERE)
    result = run(trial_of(), tmp_path / "out", checkpoints)
    assert len(result.history) == 5
    assert checkpoints.notes[0] == "no checkpoint of epoch 1: No space left on device"
    assert list((tmp_path / "at").iterdir()) == []  # no half-written file either


def test_time_between_checkpoints_depends_on_the_setting_and_their_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    assert Checkpoints(tmp_path, HERE, 0).is_due(1)
    checkpoints = Checkpoints(tmp_path, HERE, 10)
    assert not checkpoints.is_due(1)
    clock[0] += 10
    assert checkpoints.is_due(1)

    def slow(_: int) -> None:
        clock[0] += 1.0

    monkeypatch.setattr("os.fsync", slow)  # twice: the file and its folder
    checkpoints.save(1, {})
    clock[0] += 39
    assert not checkpoints.is_due(1)  # 2 s of 40 are a twentieth
    clock[0] += 1
    assert checkpoints.is_due(1)


def test_starts_are_counted_since_the_newest_checkpoint(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, HERE)
    assert [checkpoints.count_start("a") for _ in range(3)] == [1, 2, 3]
    checkpoints.save(4, {})
    assert [checkpoints.count_start("a") for _ in range(2)] == [1, 2]
    assert checkpoints.count_start("b") == 1
    (tmp_path / "attempts.json").write_text("[", encoding="utf-8")
    assert checkpoints.count_start("b") == 1


def test_global_random_states_are_restored() -> None:
    import random

    def draw() -> list[float]:
        return [random.gauss(0, 1), float(np.random.randn()), float(torch.randn(()))]

    draw()  # leaves half of a pair behind in both gauss generators
    states = random_states()
    first = draw()
    restore_random_states(states)
    assert draw() == first


def _member(rank: int, folder: str, trial_json: str) -> None:
    """Train without interruption; then train with an interruption after the third epoch."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)

    def train(name: str, checkpoints: Checkpoints | None, until: int | None = None) -> None:
        reported = 0

        def on_epoch(_: EpochRecord | None) -> None:
            nonlocal reported
            reported += 1
            if reported == until:
                raise Interrupted

        out = Path(folder) / name
        out.mkdir(exist_ok=True)
        result = run_trial(
            Trial.model_validate_json(trial_json),
            data_root=NOWHERE,
            artifacts=out,
            on_epoch=on_epoch,
            group=ProcessGroup(rank, 2),
            checkpoints=checkpoints,
        )
        assert reported == 5
        if rank == 0:
            (out / "result.json").write_text(result.model_dump_json(), encoding="utf-8")

    at = Path(folder) / "at"
    train("whole", None)
    with pytest.raises(Interrupted):
        train("parts", Checkpoints(at, HERE), until=3)
    dist.barrier()
    train("parts", Checkpoints(at, HERE))
    dist.destroy_process_group()


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param(["losses=[lgm]"], marks=pytest.mark.slow),
        ["losses=[elr]", "recipe.weight_averaging=ema", "augment=[v2.RandomAffine: {degrees: 9}]"],
        pytest.param(
            ["losses=[feature_dropout]", "recipe.weight_averaging={name: swa, start: 0.4}"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_an_interrupted_process_group_has_bit_identical_results(
    overrides: list[str], trial_of: Callable[..., Trial], tmp_path: Path
) -> None:
    trial = trial_of(*overrides, "recipe.batch_size=50").model_dump_json()
    mp.spawn(_member, (str(tmp_path), trial), nprocs=2)
    whole, parts = (
        TrialResult.model_validate_json(
            (tmp_path / name / "result.json").read_text(encoding="utf-8")
        )
        for name in ("whole", "parts")
    )
    same(parts, whole, (tmp_path / "whole", tmp_path / "parts"))
