"""Files sent through the file server, which runs in this process instead of on another node."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lossbench.assembly.check import check
from lossbench.errors import DataError
from lossbench.planning.trial import VALIDATION_SET, PlannedEvaluation, Trial
from lossbench.runner import node_data
from lossbench.runner.checkpoint_folders import checkpoints_of
from lossbench.runner.file_server import FileServer, read_files, shares_filesystem
from lossbench.runner.node_data import data_root_of
from lossbench.suite.data_conditions import LabelNoise
from lossbench.suite.load import load_suite
from lossbench.training.checkpoints import Checkpoints

Config = dict[str, Any]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Config of a worker whose node has neither the driver's folders nor any data."""
    folders = {name: str(tmp_path / "driver" / name) for name in ("storage", "checkpoints")}
    folders["data_root"] = str(tmp_path / "data")
    server = FileServer(**folders)
    for module in ("checkpoint_folders", "node_data"):
        monkeypatch.setattr(f"lossbench.runner.{module}.file_server_client", lambda _: server)
    monkeypatch.delenv("LOSSBENCH_DATA_ROOT", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    gone = {name: f"/nonexistent/{name}" for name in folders}
    return {**gone, "file_server": "name of the server", "device": "cpu", "checkpoint_sec": 0.0}


@pytest.fixture
def trial(
    make_folder: Callable[..., Path], write_suite: Callable[..., Path], tmp_path: Path
) -> Trial:
    root = make_folder("mine").parent
    return check(load_suite(write_suite(), ["dataset=mine"]), root).trials[0]


def test_checkpoints_survive_a_node(config: Config, trial: Trial, tmp_path: Path) -> None:
    assert not shares_filesystem(config)
    first = checkpoints_of(trial, config)
    assert first.count_start("run") == 1
    for epoch in (1, 2, 3):
        first.save(epoch, {"epoch": epoch})
    kept = tmp_path / "driver" / "checkpoints" / trial.identity
    names = ["attempts.json", "epoch-00000002.pt", "epoch-00000003.pt"]
    assert sorted(path.name for path in kept.iterdir()) == names
    elsewhere = checkpoints_of(trial, config)
    assert elsewhere.load() == {"epoch": 3}
    assert [elsewhere.count_start("run") for _ in range(2)] == [1, 2]  # since the checkpoint
    at_the_driver = Checkpoints(kept, {})
    assert at_the_driver.count_start("run") == 3


def test_a_full_disk_at_the_driver_is_a_note(
    config: Config, trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    checkpoints = checkpoints_of(trial, config)
    monkeypatch.setattr("lossbench.runner.file_server.write_files", full)
    checkpoints.save(1, {})
    assert checkpoints.notes == ["no checkpoint of epoch 1: No space left on device"]


def test_a_result_is_delivered_completely(tmp_path: Path) -> None:
    server = FileServer(str(tmp_path), str(tmp_path), str(tmp_path))
    files = {"result.json": b"{}", "deeper/weights.pt": bytes(1000)}
    assert read_files(Path(server.deliver("a", {"old": b"", **files}))) == {"old": b"", **files}
    assert read_files(Path(server.deliver("a", files))) == files  # sent again by Ray


def test_data_is_found_on_the_node_or_copied_once_from_the_driver(
    config: Config, trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lossbench.runner.file_server.CHUNK_BYTES", 1000)
    root = data_root_of(trial, config)
    assert root.is_relative_to(tmp_path / "cache")
    assert read_files(root / "mine") == read_files(tmp_path / "data" / "mine")
    shutil.rmtree(tmp_path / "data")
    assert data_root_of(trial, config) == root  # it is not asked for again
    assert sorted(path.name for path in root.iterdir()) == [".lock", "mine"]

    own = tmp_path / "own"
    monkeypatch.setenv("LOSSBENCH_DATA_ROOT", str(own))
    assert data_root_of(trial, config) == root
    shutil.copytree(root / "mine", own / "mine")
    assert data_root_of(trial, config) == own


def _with_labels(trial: Trial, file: str) -> Trial:
    noise = LabelNoise.model_validate({"from": file, "digest": "x"})
    dataset = trial.dataset.model_copy(update={"label_noise": noise})
    return trial.model_copy(update={"dataset": dataset})


def test_a_file_of_labels_is_found_on_the_node_or_copied(
    config: Config, trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lossbench.runner.file_server.CHUNK_BYTES", 7)
    noisy = _with_labels(trial, "labels.txt")
    with pytest.raises(
        DataError, match=r"no file of labels 'labels\.txt', and none on the driver's node"
    ):
        data_root_of(noisy, config)
    written = tmp_path / "data" / "labels.txt"
    written.write_text("".join(f"{k}\n" for k in range(50)), encoding="utf-8")
    root = data_root_of(noisy, config)
    assert (root / "labels.txt").read_bytes() == written.read_bytes()
    assert sorted(path.name for path in root.iterdir()) == [".lock", "labels.txt", "mine"]
    assert root != data_root_of(trial, config)  # other labels have another folder

    own = tmp_path / "own"
    monkeypatch.setenv("LOSSBENCH_DATA_ROOT", str(own))
    shutil.copytree(root / "mine", own / "mine")
    assert data_root_of(noisy, config) == root  # the node has the data, but not the labels
    shutil.copy(written, own)
    assert data_root_of(noisy, config) == own

    by_path = _with_labels(trial, str(written))
    assert data_root_of(by_path, config) == own
    message = r"no file of labels /nonexistent/a\.txt, which the suite names by its path; put"
    with pytest.raises(DataError, match=message):
        data_root_of(_with_labels(trial, "/nonexistent/a.txt"), config)


def test_other_data_sets_of_a_trial_are_copied_too(config: Config, trial: Trial) -> None:
    verification = PlannedEvaluation(name="verification", other_digests={"lfw": "x"})
    both = trial.model_copy(update={"evaluate": (verification,)})
    with pytest.raises(DataError, match="no data set 'lfw', and none on the driver's node"):
        data_root_of(both, config)


def test_a_validation_set_is_no_other_data_set(config: Config, trial: Trial) -> None:
    calibration = PlannedEvaluation(name="calibration", other_digests={VALIDATION_SET: "x"})
    reading = trial.model_copy(update={"evaluate": (calibration,)})
    root = data_root_of(reading, config)
    assert sorted(path.name for path in root.iterdir()) == [".lock", "mine"]
    assert root != data_root_of(trial, config)  # the same data with another validation set


def test_bundled_data_is_not_copied(config: Config, trial: Trial, tmp_path: Path) -> None:
    digits = trial.model_copy(
        update={"dataset": trial.dataset.model_copy(update={"name": "digits"})}
    )
    assert data_root_of(digits, config) == Path(config["data_root"])
    assert not (tmp_path / "cache").exists()


def test_missing_data_is_reported_with_the_node(
    config: Config, trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = f"node {platform.node()}: "
    by_path = trial.dataset.model_copy(update={"name": "/nonexistent/mine"})
    with pytest.raises(DataError, match=f"^{node}no data set /nonexistent/mine, which"):
        data_root_of(trial.model_copy(update={"dataset": by_path}), config)

    (tmp_path / "cache").write_text("a file", encoding="utf-8")
    with pytest.raises(DataError, match=f"^{node}cannot write data to .*: Not a directory$"):
        data_root_of(trial, config)
    (tmp_path / "cache").unlink()

    monkeypatch.setattr(node_data, "MAX_COPIED_BYTES", 1000)
    with pytest.raises(DataError, match=f"^{node}no data set 'mine' in /nonexistent/data_root"):
        data_root_of(trial, config)
