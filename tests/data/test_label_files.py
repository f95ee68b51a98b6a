"""Files of labels: every form, and every mistake with a message."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lossbench.data.label_files import LabelKeyError, find_label_file, read_label_file

NAMES = ["cat", "dog", "ox, the", "bee"]
LABELS = [3, 0, 2, 1, 1, 0]
WORDS = [NAMES[k] for k in LABELS]
CIFAR_N = ["clean_label", "aggre_label", "worse_label", *(f"random_label{i}" for i in (1, 2, 3))]


def write(path: Path, content: Any) -> Path:
    """Write a file of the form that its ending says."""
    if path.suffix == ".npy":
        np.save(path, content)
    elif path.suffix == ".npz":
        np.savez(path, **content)
    elif path.suffix == ".pt":
        torch.save(content, path)
    else:
        path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "content", "key"),
    [
        ("a.npy", np.array(LABELS), None),
        ("a.npy", np.array(LABELS, np.uint8), None),
        ("a.npy", np.array(WORDS), None),
        ("a.npz", {"x": np.array(LABELS), "y": np.array([0])}, "x"),
        ("a.pt", {"x": torch.tensor(LABELS), "y": torch.tensor([0])}, "x"),
        ("a.pt", {"x": np.array(LABELS), "y": np.array(["a"])}, "x"),
        ("a.pt", {"x": LABELS}, "x"),
        ("a.pt", {"x": WORDS}, "x"),
        ("a.txt", "3\n0\n2\n1\n1\n0\n", None),
        ("a.txt", "3\n0\n2\n1\n1\n0", None),
        ("a.csv", "label\r\n3\r\n0\r\n2\r\n1\r\n1\r\n0\r\n\r\n", None),
        ("a.csv", 'bee\ncat\n"ox, the"\ndog\ndog\ncat\n', None),
        ("a.csv", '\ufefflabel\nbee\n cat\n"ox, the"\ndog \ndog\ncat\n', None),
    ],
)
def test_every_form_of_file_has_the_same_labels(
    tmp_path: Path, name: str, content: Any, key: str | None
) -> None:
    found = read_label_file(write(tmp_path / name, content), key, NAMES)
    assert found.labels.tolist() == LABELS
    assert found.labels.dtype == np.int64
    assert found.clean is None
    assert found.digest == hashlib.sha256(struct.pack("<6q", *LABELS)).hexdigest()[:16]
    other = read_label_file(write(tmp_path / "b.npy", np.array([*LABELS[:-1], 1])), None, NAMES)
    assert other.digest != found.digest


@pytest.mark.parametrize("module", [b"numpy._core.multiarray", b"numpy.core.multiarray"])
def test_a_file_of_cifar_n(tmp_path: Path, module: bytes) -> None:
    """A dict of arrays, as NumPy 1 and NumPy 2 pickle them."""
    arrays = {name: np.array(LABELS) for name in CIFAR_N}
    arrays["worse_label"] = np.array(LABELS[::-1])
    path = tmp_path / "CIFAR-10_human.pt"
    torch.save(arrays, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    assert b"numpy._core.multiarray" in content
    path.write_bytes(content.replace(b"numpy._core.multiarray", module))
    found = read_label_file(path, "worse_label", NAMES)
    assert found.labels.tolist() == LABELS[::-1]
    assert found.clean is not None
    assert found.clean.tolist() == LABELS


class Harmful:
    def __reduce__(self) -> Any:
        return (print, ("executed",))


@pytest.mark.parametrize(
    ("name", "content", "key", "message"),
    [
        ("a.npy", np.array([0, 4]), None, r"label 4 of image 1 is no class; there are 4, numbered"),
        ("a.npy", np.array([0, -1]), None, r"label -1 of image 1 is no class"),
        ("a.npy", np.array([0.0, 1.0]), None, r"one class number or name per image, .* float64"),
        ("a.npy", np.zeros((2, 2), int), None, r"shape \(N,\), not int64 \(2, 2\)"),
        ("a.npy", np.array([0, None]), None, r"a\.npy: cannot be read: Object arrays cannot"),
        ("a.npz", {"x": [0]}, "y", r"a\.npz has no 'y' \(known: x\)"),
        ("a.pt", {"worse_label": [0]}, "worse", r"no 'worse'; did you mean 'worse_label'"),
        ("a.pt", {"x": [0], "y": [0]}, None, r"give the name of the labels \(known: x, y\)"),
        ("a.pt", {"x": [[0], [0, 1]]}, "x", r"one class number or name per image"),
        ("a.pt", [0, 1], "x", r"a\.pt: should be a dict of labels by name"),
        ("a.pt", {"x": Harmful()}, "x", r"a\.pt: cannot be read as a dict of tensors"),
        ("a.npy", np.array([0]), "x", r"is only for \.npz and \.pt files"),
        ("a.txt", "0\n", "x", r"is only for \.npz and \.pt files"),
        ("a.txt", "cat\ncta\n", None, r"label 'cta' of image 1 is no class; did you mean 'cat'"),
        ("a.txt", "0\n7\n", None, r"label 7 of image 1 is no class"),
        ("a.txt", "cat\n1\n", None, r"label '1' of image 1 is no class"),
        ("a.txt", "-1\n1\n", None, r"label '-1' of image 0 is no class"),
        ("a.csv", "0,1\n2,3\n", None, r"a\.csv: line 1 should have one label, not 2"),
        ("a.csv", "0\n\n1\n", None, r"a\.csv: line 2 should have one label, not 0"),
        ("a.parquet", "0\n", None, r"should end with one of \.csv, \.npy"),
    ],
)
def test_mistakes_are_explained(
    tmp_path: Path,
    name: str,
    content: Any,
    key: str | None,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write(tmp_path / name, content)
    expected = (
        LabelKeyError
        if message.startswith(("give", "is only", r"a\.npz has", "no "))
        else ValueError
    )
    with pytest.raises(expected, match=message):
        read_label_file(path, key, NAMES)
    assert "executed" not in capsys.readouterr().out


def test_broken_files_are_refused(tmp_path: Path) -> None:
    for suffix in (".npy", ".npz", ".pt", ".txt"):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(b"\xff\xfe broken")
        with pytest.raises(ValueError, match=f"a\\{suffix}: cannot be read"):
            read_label_file(path, "x" if suffix in (".npz", ".pt") else None, NAMES)


def test_names_that_are_numbers_may_be_ambiguous(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "2\n1\n2\n")
    assert read_label_file(path, None, ["0", "1", "2"]).labels.tolist() == [2, 1, 2]
    with pytest.raises(ValueError, match="can be read as names and as numbers"):
        read_label_file(path, None, ["1", "2", "3"])
    assert read_label_file(path, None, ["a", "b", "c"]).labels.tolist() == [2, 1, 2]
    assert read_label_file(path, None, ["7", "1", "2", "8"][1:3]).labels.tolist() == [1, 0, 1]
    arrays = write(tmp_path / "a.npy", np.array([2, 1, 2]))
    assert read_label_file(arrays, None, ["1", "2", "3"]).labels.tolist() == [2, 1, 2]


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "0\n1\n")
    assert read_label_file(path, None, NAMES).labels.tolist() == [0, 1]
    path.write_text("0\n1\n2\n", encoding="utf-8")
    assert read_label_file(path, None, NAMES).labels.tolist() == [0, 1, 2]


def test_files_are_found_in_the_data_root_or_by_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    named, own = write(tmp_path / "data/a.txt", "0\n"), write(tmp_path / "b.txt", "0\n")
    assert find_label_file("a.txt", Path("data")) == named
    assert find_label_file("./b.txt", Path("data")) == own
    assert find_label_file(str(own), None) == own
    with pytest.raises(ValueError, match=r"data/aa\.txt: no such file; did you mean 'a\.txt'"):
        find_label_file("aa.txt", Path("data"))
    with pytest.raises(ValueError, match=r"data/b\.txt: no such file"):
        find_label_file("b.txt", tmp_path / "data")
