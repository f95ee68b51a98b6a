"""Fixtures for several tests: small suites, data sets, and real data sets if they are available."""

from __future__ import annotations

import functools
import gc
import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lossbench.cli.main import GARBAGE_FROM, main
from lossbench.data.prepared import ARRAY_NAMES, Card, array_digest, save_prepared

pytest_plugins = ["tests.synthetic_plans"]
os.environ["LOSSBENCH_PLAN_CACHE"] = "off"  # tests replace parts of lossbench
REPOSITORY = Path(__file__).resolve().parent.parent
SHARED_DATA = REPOSITORY.parent / "shared" / "data"

SUITE = """\
suite: small
dataset: digits
model: {name: digits_cnn, feature_dim: 2}
recipe:
  epochs: 2
  batch_size: 64
  optimizer: {name: sgd, lr: 0.03, momentum: 0.9}
seeds: [0, 1]
losses:
  - softmax
  - lgm: {alpha: {grid: [0.0, 0.3]}}
"""


@functools.cache
def _shares_ray(file: str) -> bool:
    """Whether a test file uses `one_ray`, the Ray that is started once per process."""
    return "one_ray" in (REPOSITORY / file).read_text(encoding="utf-8")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Run the tests of a file in one process, and all files that share Ray in the same one."""
    from xdist.scheduler import LoadFileScheduling

    class OneRay(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            if file.startswith("tests/archive/"):  # they share trained networks
                return "archive"
            return "ray" if _shares_ray(file) else file

    return OneRay(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run files that share Ray first, then long ones, then others that start Ray.

    One process computes while the other waits for Ray, and both end at about the same time.
    """

    def order(item: pytest.Item) -> tuple[bool, bool, bool]:
        file = item.nodeid.partition("::")[0]
        shares_ray = file.startswith("tests/") and _shares_ray(file)
        marked = [bool(item.get_closest_marker(name)) for name in ("long", "ray")]
        return not shares_ray, not marked[0], not marked[1]

    items.sort(key=order)


def pytest_collection_finish() -> None:
    """Exempt all that is imported from garbage collection, which takes a tenth of the tests."""
    gc.freeze()
    gc.set_threshold(GARBAGE_FROM)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Call the command line in an empty folder: exit code, standard output, standard error."""
    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lossbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        code = caught.value.code or 0
        assert isinstance(code, int)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from lossbench.tracking.connection import open_store
    from lossbench.tracking.location import locate

    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    open_store(locate(f"sqlite:///{path}"), create=True).client()
    return path


@pytest.fixture
def uri(tmp_path: Path, empty_database: Path) -> str:
    """URI of an empty database; a copy, because MLflow takes seconds to create one."""
    copy = shutil.copy(empty_database, tmp_path / "mlflow.db")
    return f"sqlite:///{copy}"


@pytest.fixture(scope="session")
def _started_ray() -> Iterator[None]:
    from lossbench.runner.cluster import ray_cluster
    from lossbench.suite.schema import Resources

    with ray_cluster(None, Resources()):
        yield


@pytest.fixture
def one_ray(_started_ray: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray, started once for all tests: each start takes seconds."""
    monkeypatch.setattr("ray.init", lambda **_: None)
    monkeypatch.setattr("ray.shutdown", lambda: None)


@pytest.fixture
def write_suite(tmp_path: Path) -> Callable[..., Path]:
    """Write a suite file; `replace` pairs change its text."""

    def write(*replace: tuple[str, str], text: str = SUITE) -> Path:
        for old, new in replace:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "small.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write a prepared folder of random images."""

    def make(
        name: str = "mine", side: int = 8, channels: int = 1, classes: int = 3, train: int = 60
    ) -> Path:
        random = np.random.default_rng(0)
        arrays: dict[str, np.ndarray] = {}
        for split, count in (("train", train), ("test", 30)):
            shape = (count, side, side, channels)
            arrays[f"{split}_images"] = random.integers(0, 256, shape, dtype=np.uint8)
            arrays[f"{split}_labels"] = np.arange(count, dtype=np.int64) % classes
        card = Card(
            name=name,
            num_classes=classes,
            class_names=[f"class {k}" for k in range(classes)],
            source="random",
            sha256={key: array_digest(arrays[key]) for key in ARRAY_NAMES},
        )
        save_prepared(tmp_path / "data" / name, arrays, card)
        return tmp_path / "data" / name

    return make


@pytest.fixture
def make_faces() -> Callable[..., None]:
    return _write_faces


def _write_faces(folder: Path, folds: int = 10, people_in_a_fold: int = 2, side: int = 96) -> None:
    """Write faces of random pixels, with pairs; each person is in at most one fold.

    Every person has four images, including some people who are in no fold.
    """
    people = [f"Person_{k}" for k in range(folds * people_in_a_fold + 3)]
    labels = np.repeat(np.arange(len(people)), 4)
    images = np.random.default_rng(0).integers(0, 256, (len(labels), side, side, 3), dtype=np.uint8)
    lines = [f"{folds}\t{people_in_a_fold}"]
    for fold in range(folds):
        own = people[fold * people_in_a_fold :][:people_in_a_fold]
        lines += [f"{name}\t1\t2" for name in own]
        lines += [f"{name}\t3\t{other}\t4" for name, other in zip(own, own[1:] + own, strict=False)]
    folder.mkdir(parents=True)
    (folder / "pairs.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    arrays = {"images": images, "labels": labels}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    card = {
        "name": "lfw",
        "num_classes": len(people),
        "class_names": people,
        "source": "random",
        "files": [f"{people[k]}_{i % 4 + 1:04d}.jpg" for i, k in enumerate(labels)],
        "sha256": {name: array_digest(array) for name, array in arrays.items()},
    }
    (folder / "dataset.json").write_text(json.dumps(card), encoding="utf-8")


@pytest.fixture(scope="session")
def real_mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data root with the real MNIST; skipped if the packed data are missing."""
    return _unpacked("mnist", tmp_path_factory.mktemp("real"))


@pytest.fixture(scope="session")
def real_lfw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Data root with the real LFW; skipped if the packed data are missing."""
    root = _unpacked("lfw", tmp_path_factory.mktemp("real"))
    yield root
    shutil.rmtree(root)  # 366 MB, which pytest would keep for three sessions


def _unpacked(name: str, root: Path) -> Path:
    script = SHARED_DATA / "unpack.py"
    if not script.exists():
        pytest.skip("the packed data sets (../shared/data) are not next to this checkout")
    spec = importlib.util.spec_from_file_location("unpack", script)
    assert spec is not None
    assert spec.loader is not None
    unpack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(unpack)
    unpack.main(root, [name])
    return root
