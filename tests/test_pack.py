"""The file for machines without a network has what `lossbench work` needs."""

from __future__ import annotations

import importlib
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def packing(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parent.parent / "deploy"))
    return importlib.import_module("pack")


def test_what_the_work_imports_is_packed(packing: ModuleType) -> None:
    names = {text.partition("==")[0] for text in packing.needed_distributions()}
    assert {"pydantic", "ruamel.yaml", "typer", "numpy", "scipy", "scikit-learn"} <= names
    assert not names & {"torch", "lossbench", "pandas"}
    fewer = {text.partition("==")[0] for text in packing.needed_distributions(["numpy"])}
    assert fewer == names - {"numpy"}


def test_wheels_and_data_are_in_the_file(packing: ModuleType, tmp_path: Path) -> None:
    wheels, data, out = tmp_path / "wheels", tmp_path / "shown", tmp_path / "pack.tar.xz"
    wheels.mkdir()
    data.mkdir()
    (wheels / "notes").write_text("no wheel", encoding="utf-8")
    with zipfile.ZipFile(wheels / "a-1-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr("a.py", "a = 1\n" * 100)
    (data / "a.npy").write_bytes(b"array")
    size = packing.pack(out, wheels, [data])
    assert size == out.stat().st_size / 2**20
    with tarfile.open(out) as file:
        assert file.getnames() == ["wheels/a-1-py3-none-any.whl", "data/shown/a.npy"]
        file.extractall(tmp_path / "unpacked", filter="data")
    assert (tmp_path / "unpacked/data/shown/a.npy").read_bytes() == b"array"
    with zipfile.ZipFile(tmp_path / "unpacked/wheels/a-1-py3-none-any.whl") as wheel:
        assert wheel.read("a.py") == b"a = 1\n" * 100


def test_a_file_that_is_too_large_is_refused(packing: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    out = tmp_path / "pack.tar.xz"
    with pytest.raises(SystemExit, match="are more than 1e-06; pack fewer data sets"):
        packing.pack(out, tmp_path / "wheels", [], 1e-6)
    assert not out.exists()
