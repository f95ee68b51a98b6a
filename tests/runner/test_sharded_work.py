"""`work`: shares of a suite's trials in this process, compared with single calls of `run_trial`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from lossbench.archive.folder import ArchiveFolder
from lossbench.archive.store import joint_plan, open_archives
from lossbench.assembly.check import check
from lossbench.errors import DataError, RequestError
from lossbench.planning.plan import Plan
from lossbench.planning.trial import Trial
from lossbench.records import Results, TrialResult
from lossbench.runner import sharded_work
from lossbench.runner.sharded_work import WORK
from lossbench.runner.trial import run_trial
from lossbench.runner.trial_locks import TrialLocks
from lossbench.suite.load import load_suite
from tests.runner.work_output import NOWHERE, Folder, assert_same

Write = Callable[..., Path]
SUITE = """\
suite: small
dataset: {name: digits, train_size: 200, test_size: 100}
model: {name: digits_cnn, feature_dim: 2}
recipe: {epochs: 3, batch_size: 16, optimizer: {name: sgd, lr: 0.03, momentum: 0.9}}
seeds: [0]
losses: [softmax, lgm: {alpha: {grid: [0.0, 0.3]}}]
evaluate: [error]
"""
SEARCH = """\
suite: searched
dataset: {name: digits, train_size: 200, test_size: 100}
model: {name: digits_cnn, feature_dim: 8}
recipe: {epochs: 3, batch_size: 8, optimizer: {name: sgd, lr: 0.03, momentum: 0.9}}
seeds: [0]
selection: {holdout: 0.2, samples: 10}
losses: [lgm: {alpha: {search: {low: 0.0, high: 1.0}}}, softmax]
evaluate: [error]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    made = Folder(tmp_path / "out")

    def counted(trial: Trial, **options: Any) -> TrialResult:
        made.trained[trial.identity] += 1
        return run_trial(trial, **options)

    monkeypatch.setattr(sharded_work, "run_trial", counted)
    return made


@pytest.fixture
def make_plan(write_suite: Write) -> Callable[..., Plan]:
    def make(*overrides: str, text: str = SUITE) -> Plan:
        return check(load_suite(write_suite(text=text), overrides), NOWHERE)

    return make


def undisturbed(trial: Trial, folder: Path) -> TrialResult:
    folder.mkdir()
    return run_trial(trial, data_root=NOWHERE, artifacts=folder)


def test_trials_in_shards_equal_single_trials(
    folder: Folder, make_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    plan = make_plan("evaluate=[error, fgsm]")
    first = folder.work(plan, 1, 2)
    assert (first.trials, first.finished, first.left, first.others) == (2, 2, 0, 1)
    second = folder.work(plan, 2, 2)
    assert (second.trials, second.finished, second.left, second.others) == (1, 1, 0, 0)
    assert folder.trained == Counter({trial.identity: 1 for trial in plan.trials})
    for number, trial in enumerate(plan.trials):
        expected = undisturbed(trial, tmp_path / str(number))
        assert_same(folder.result(trial), folder.files(trial), expected, tmp_path / str(number))
    written = {path: path.stat().st_mtime_ns for path in folder.path.glob("*.zip")}
    again = folder.work(plan, 1, 2)
    assert (again.finished, again.left) == (0, 0)
    assert written == {path: path.stat().st_mtime_ns for path in folder.path.glob("*.zip")}
    assert folder.trained.total() == 3
    assert not list((folder.path / WORK).glob("checkpoints/*"))


def test_final_trials_wait_until_all_shards_have_measured_the_held_out_part(
    folder: Folder, make_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    # a share of two has both seeds of one row, so that this row alone could be chosen too early
    overrides = (
        *("seeds=[0, 1]", "selection={holdout: 0.2}", "model.feature_dim=8"),
        "losses=[lgm: {alpha: {grid: [0.0, 0.3]}}]",
    )
    plan = make_plan(*overrides)
    outcomes = [folder.work(plan, 1, 2)]
    assert outcomes[0].selects
    assert folder.trained.total() == 2
    assert {trial.holdout for a in folder.archives.values() for trial in a.trials.values()} == {0.2}
    outcomes += [folder.work(plan, number, 2) for number in (2, 1)]
    assert [o.finished for o in outcomes] == [2, 3, 1]
    assert [o.others for o in outcomes] == [2, 1, 0]
    assert not outcomes[-1].selects
    alone = Folder(tmp_path / "alone")
    assert alone.work(plan).finished == 6
    assert_equal_archives(folder, alone)


@pytest.mark.slow
def test_searches_in_shards_train_each_trial_once(
    folder: Folder, make_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    plan = make_plan(text=SEARCH)
    rounds = [folder.work(plan, number, 3) for _ in range(4) for number in (1, 2, 3)]
    assert rounds[-1].others == rounds[-1].left == rounds[-1].finished == 0
    assert set(folder.trained.values()) == {1}
    assert len(folder.archives) == folder.trained.total() == 13  # 10 points, softmax, 2 chosen
    alone = Folder(tmp_path / "alone")
    alone.work(plan)
    assert_equal_archives(folder, alone)
    # archives of the first round are brought up to date, so that they can be reported together
    joint = joint_plan(open_archives([folder.path]))
    assert len(joint.rows) == 11


def assert_equal_archives(one: Folder, other: Folder) -> None:
    assert one.archives.keys() == other.archives.keys()
    for identity, archive in one.archives.items():
        first, second = archive.results[identity], other.archives[identity].results[identity]
        assert first.metrics == second.metrics
        assert first.weights_digest == second.weights_digest


class Clock:
    """Clock that can be put forward by an hour."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.late, real = False, time.monotonic
        monkeypatch.setattr(time, "monotonic", lambda: real() + 3600 * self.late)


def test_the_deadline_ends_a_training_after_an_epoch_and_it_continues_bit_identically(
    folder: Folder,
    make_plan: Callable[..., Plan],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan, clock = make_plan("recipe.epochs=4"), Clock(monkeypatch)
    counted = sharded_work.run_trial

    def out_of_time(
        trial: Trial, *, on_epoch: Callable[[Any], None], **options: Any
    ) -> TrialResult:
        def hook(record: Any) -> None:
            # after it was decided that no checkpoint of this epoch is due
            clock.late = clock.late or record.epoch == 1
            on_epoch(record)

        return counted(trial, on_epoch=hook, **options)

    monkeypatch.setattr(sharded_work, "run_trial", out_of_time)
    outcome = folder.work(plan, deadline=time.monotonic() + 1800)
    assert (outcome.finished, outcome.left, outcome.failed) == (0, 3, {})
    first = plan.trials[0]
    saved = list((folder.path / WORK / "checkpoints" / first.identity).glob("epoch-*"))
    assert [path.name for path in saved] == ["epoch-00000002.pt"]
    assert folder.lines == []

    outcome = folder.work(plan)
    assert (outcome.finished, outcome.left) == (3, 0)
    assert folder.lines[0] == f"{first.name}: resumes after epoch 2"
    expected = undisturbed(first, tmp_path / "expected")
    assert_same(folder.result(first), folder.files(first), expected, tmp_path / "expected")


def test_nothing_is_started_after_the_deadline(
    folder: Folder, make_plan: Callable[..., Plan]
) -> None:
    outcome = folder.work(make_plan(), deadline=time.monotonic())
    assert (outcome.finished, outcome.left) == (0, 3)
    assert not folder.trained


def test_an_added_evaluation_is_measured_on_the_stored_weights(
    folder: Folder, make_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    folder.work(make_plan())
    folder.lines.clear()
    plan = make_plan("evaluate=[fgsm, error]", "keep_weights=false")
    outcome = folder.work(plan, confirm_retraining=refuse)
    assert (outcome.finished, outcome.left) == (3, 0)
    assert set(folder.trained.values()) == {1}
    assert all(": measured in " in line for line in folder.lines)
    trial = make_plan("evaluate=[error, fgsm]").trials[0]
    expected = undisturbed(trial, tmp_path / "expected")
    # weights that are stored already are not deleted
    assert_same(folder.result(trial), folder.files(trial), expected, tmp_path / "expected")


def refuse(trials: Sequence[Trial], results: Results) -> None:
    raise RequestError(f"{len(trials)} to train again")


def test_without_stored_weights_it_asks_and_trains_again(
    folder: Folder, make_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    plan = make_plan("keep_weights=false", "evaluate=[error, top5_error]")
    folder.work(plan)
    assert "weights.pt" not in folder.files(plan.trials[0])
    more = make_plan("keep_weights=false", "evaluate=[error, fgsm]")
    with pytest.raises(RequestError, match="3 to train again"):
        folder.work(more, confirm_retraining=refuse)
    assert set(folder.trained.values()) == {1}
    asked: list[tuple[int, tuple[str, ...]]] = []

    def agree(trials: Sequence[Trial], results: Results) -> None:
        asked.append((len(trials), results[trials[0].identity].unmeasured))

    assert folder.work(more, confirm_retraining=agree).finished == 3
    assert asked == [(3, ("fgsm",))]
    assert set(folder.trained.values()) == {2}
    # the network is the same, so its earlier measurements are kept
    both = make_plan("keep_weights=false", "evaluate=[error, fgsm, top5_error]").trials[0]
    expected = undisturbed(both, tmp_path / "expected")
    assert_same(folder.result(both), folder.files(both), expected, tmp_path / "expected")


def test_a_failing_trial_does_not_stop_the_others(
    folder: Folder, make_plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, counted = make_plan(), sharded_work.run_trial
    broken = plan.trials[1]

    def failing(trial: Trial, **options: Any) -> TrialResult:
        if trial == broken:
            raise RuntimeError("out of memory\nfurther lines")
        return counted(trial, **options)

    monkeypatch.setattr(sharded_work, "run_trial", failing)
    outcome = folder.work(plan)
    assert (outcome.finished, outcome.left) == (2, 1)
    assert outcome.failed == {broken.name: "out of memory"}
    log = folder.path / WORK / "logs" / f"{broken.identity}.log"
    assert "Traceback" in log.read_text(encoding="utf-8")
    [line] = [line for line in folder.lines if "failed" in line]
    assert str(log) in line
    monkeypatch.setattr(sharded_work, "run_trial", counted)
    assert folder.work(plan).finished == 1


def test_an_augmentation_that_fails_during_a_training_ends_this_trial_only(
    folder: Folder, make_plan: Callable[..., Plan]
) -> None:
    larger = "{v2.RandomApply: {p: 0.01, transforms: [v2.Resize: {size: [9]}]}}"
    columns = f"variants={{larger: {{augment: [{larger}]}}, plain: {{}}}}"
    outcome = folder.work(make_plan(columns, "losses=[softmax]"))
    assert (outcome.finished, outcome.left) == (1, 1)
    [(name, message)] = outcome.failed.items()
    assert name == "larger/softmax/seed0"
    assert message.startswith("augmentation v2.RandomApply gives images of different sizes")


def test_a_failed_evaluation_keeps_the_training(
    folder: Folder, make_plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, counted = make_plan("losses=[softmax]", "evaluate=[error, fgsm]"), sharded_work.run_trial

    def failing(trial: Trial, **options: Any) -> TrialResult:
        result = counted(trial.model_copy(update={"evaluate": trial.evaluate[:1]}), **options)
        return result.model_copy(update={"failures": {"fgsm": "Traceback\nfgsm: no memory"}})

    monkeypatch.setattr(sharded_work, "run_trial", failing)
    outcome = folder.work(plan)
    assert (outcome.finished, outcome.left) == (0, 1)
    assert list(outcome.failed.values()) == ["fgsm: no memory"]
    assert folder.result(plan.trials[0]).metrics.keys() == {"error"}
    outcome = folder.work(plan)
    assert (outcome.finished, outcome.left) == (1, 0)
    assert folder.trained.total() == 1


def test_other_data_end_the_work(
    folder: Folder, make_plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(trial: Trial, **options: Any) -> TrialResult:
        raise DataError("the data set has changed")

    monkeypatch.setattr(sharded_work, "run_trial", changed)
    with pytest.raises(DataError, match="the data set has changed"):
        folder.work(make_plan())


def test_a_trial_that_another_process_works_on_is_left_out(
    folder: Folder, make_plan: Callable[..., Plan]
) -> None:
    plan = make_plan()
    locks = TrialLocks(folder.path / WORK)
    locks.acquire(plan.trials[:1])
    outcome = folder.work(plan)
    assert (outcome.finished, outcome.left, outcome.locked) == (2, 1, 1)
    locks.release()
    outcome = folder.work(plan)
    assert (outcome.finished, outcome.left, outcome.locked) == (1, 0, 0)


def test_a_trial_that_another_process_has_just_finished_is_not_repeated(
    folder: Folder, make_plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, acquire = make_plan(), TrialLocks.acquire

    def late(locks: TrialLocks, trials: Sequence[Trial]) -> list[Trial]:
        monkeypatch.setattr(TrialLocks, "acquire", acquire)
        assert folder.work(plan).finished == 3  # between reading the folder and locking a trial
        return acquire(locks, trials)

    monkeypatch.setattr(TrialLocks, "acquire", late)
    outcome = folder.work(plan)
    assert (outcome.finished, outcome.left) == (0, 0)
    assert set(folder.trained.values()) == {1}


def test_archives_agree_after_rows_and_evaluations_were_added(
    folder: Folder, make_plan: Callable[..., Plan]
) -> None:
    exploding = "recipe.optimizer.lr=1e30"  # diverged trials have nothing to measure
    folder.work(make_plan(exploding, "losses=[softmax]"))
    plan = make_plan(exploding, "losses=[softmax, focal]", "evaluate=[error, top5_error]")
    outcome = folder.work(plan)
    assert (outcome.finished, outcome.left, outcome.conflict) == (1, 0, "")
    joint = joint_plan(open_archives([folder.path]))
    assert [row.label for row in joint.rows] == ["softmax", "focal"]
    assert [metric.name for metric in joint.metrics] == ["error", "top5_error"]
    assert folder.result(plan.trials[0]).status == "diverged"


def test_archives_of_another_table_are_reported(
    folder: Folder, make_plan: Callable[..., Plan]
) -> None:
    folder.work(make_plan("recipe.epochs=1", "losses=[softmax]"))
    outcome = folder.work(make_plan("recipe.epochs=2", "losses=[softmax]"))
    assert outcome.finished == 1
    assert "is of another table than" in outcome.conflict


def test_unusable_archives_get_one_message(
    folder: Folder, make_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    plan = make_plan("losses=[softmax]")
    folder.work(plan)
    [path] = folder.path.glob("*.zip")
    good = path.read_bytes()
    for bad in (b"", b"text", good[: len(good) // 2], good[:-30] + bytes(30)):
        path.write_bytes(bad)
        with pytest.raises(RequestError) as caught:
            folder.work(plan)
        assert str(caught.value).startswith(f"{path}: ")
        assert "move it to another folder" in str(caught.value)
        assert "\n" not in str(caught.value)
    path.write_bytes(good)
    other = make_plan("losses=[softmax]", "suite=other")
    with pytest.raises(RequestError, match=r"is of suite 'small'; give every suite a folder"):
        folder.work(other)
    assert folder.trained.total() == 1


def test_damaged_weights_fail_the_trial_with_the_name_of_its_archive(
    folder: Folder, make_plan: Callable[..., Plan]
) -> None:
    plan = make_plan("losses=[softmax, focal]")
    folder.work(plan)
    damaged, other = plan.trials
    content = folder.files(damaged) | {"weights.pt": folder.files(other)["weights.pt"]}
    archives = ArchiveFolder(folder.path, "small")
    archives.read()
    archives.save(damaged, folder.result(damaged), content.items(), plan)
    outcome = folder.work(make_plan("losses=[softmax, focal]", "evaluate=[error, top5_error]"))
    assert (outcome.finished, outcome.left) == (1, 1)
    [message] = outcome.failed.values()
    assert message.endswith(f"{damaged.identity}.zip: its weights cannot be used: other weights")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["resources.workers=2", "resources.gpus=0"], r"resources.workers: 2: .* use 'run'"),
        (["selection={holdout: 0.2, stop_early: true}", "recipe.epochs=20"], "stop_early"),
    ],
)
def test_suites_that_need_several_processes_are_refused(
    folder: Folder, make_plan: Callable[..., Plan], overrides: list[str], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        folder.work(make_plan(*overrides))
