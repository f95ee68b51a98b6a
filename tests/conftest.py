"""What several tests share: small suites, data sets, and the real data where it is."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lossbench.data.prepared import ARRAYS, Card, array_digest, save_prepared

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


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def write_suite(tmp_path: Path) -> Callable[..., Path]:
    """Write a suite file; `replace` pairs change its text."""

    def write(*replace: tuple[str, str], text: str = SUITE) -> Path:
        for old, new in replace:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "small.yaml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write a prepared folder of random images."""

    def make(name: str = "mine", side: int = 8, channels: int = 1, classes: int = 3) -> Path:
        random = np.random.default_rng(0)
        arrays: dict[str, np.ndarray] = {}
        for split, count in (("train", 60), ("test", 30)):
            shape = (count, side, side, channels)
            arrays[f"{split}_images"] = random.integers(0, 256, shape, dtype=np.uint8)
            arrays[f"{split}_labels"] = np.arange(count, dtype=np.int64) % classes
        card = Card(
            name=name,
            num_classes=classes,
            class_names=[f"class {k}" for k in range(classes)],
            source="random",
            sha256={key: array_digest(arrays[key]) for key in ARRAYS},
        )
        save_prepared(tmp_path / "data" / name, arrays, card)
        return tmp_path / "data" / name

    return make


@pytest.fixture(scope="session")
def real_mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with the real MNIST; skips where its packed form is not at hand."""
    script = SHARED_DATA / "unpack.py"
    if not script.exists():
        pytest.skip("the packed MNIST (../shared/data) is not beside this checkout")
    spec = importlib.util.spec_from_file_location("unpack", script)
    assert spec is not None
    assert spec.loader is not None
    unpack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(unpack)
    root = tmp_path_factory.mktemp("real")
    unpack.main(root, ["mnist"])
    return root
