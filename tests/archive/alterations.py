"""Alterations that make a good archive a hostile or broken one."""

from __future__ import annotations

import io
import json
import stat
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.archive.trained import contents, edit, write

Change = Callable[[Path], object]
"""Changes an archive in place; the archive has weights."""


class Payload:
    """An object whose pickle creates a file when it is loaded carelessly."""

    marker = Path("payload-was-executed")

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def replace_file(ending: str, content: bytes | Callable[[bytes], bytes]) -> Change:
    """Replace the first file whose name has an ending; its digest is renewed."""

    def change(path: Path) -> None:
        files = contents(path)
        name = next(name for name in files if name.endswith(ending))
        new = content(files[name]) if callable(content) else content
        write(path, {**files, name: new})

    return change


def substitute(ending: str, old: bytes, new: bytes) -> Change:
    """Replace a text once in the first file whose name has an ending."""

    def change(content: bytes) -> bytes:
        assert old in content
        return content.replace(old, new, 1)

    return replace_file(ending, change)


def set_value(ending: str, *keys: str | int, value: Any) -> Change:
    """Set a value in the first JSON file whose name has an ending."""

    def assign(content: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return lambda path: edit(path, ending, assign)


def set_manifest(**fields: Any) -> Change:
    return lambda path: write(path, contents(path), fields)


def add(*names: str, content: bytes = b"x") -> Change:
    """Add files, which the manifest lists."""
    return lambda path: write(path, {**contents(path), **dict.fromkeys(names, content)})


def add_entry(
    info: Callable[[Mapping[str, bytes]], zipfile.ZipInfo], content: bytes = b"x"
) -> Change:
    """Add an entry without changing anything else."""

    def change(path: Path) -> None:
        entry = info(contents(path))
        with zipfile.ZipFile(path, "a") as file:
            file.writestr(entry, content)

    return change


def first(ending: str) -> Callable[[Mapping[str, bytes]], zipfile.ZipInfo]:
    return lambda files: zipfile.ZipInfo(next(name for name in files if name.endswith(ending)))


def truncated(share: float) -> Change:
    def change(path: Path) -> None:
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])

    return change


def set_header(offset_local: int, offset_central: int, value: int) -> Change:
    """Set a 16-bit field of the first file in its local header and in the central directory."""

    def change(path: Path) -> None:
        content = bytearray(path.read_bytes())
        [central] = struct.unpack_from("<I", content, len(content) - 6)  # of its end record
        struct.pack_into("<H", content, offset_local, value)
        struct.pack_into("<H", content, central + offset_central, value)
        path.write_bytes(content)

    return change


def as_symlink(path: Path) -> None:
    files = contents(path)
    with zipfile.ZipFile(path, "w") as file:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            kind = stat.S_IFLNK if name == "suite.yaml" else stat.S_IFREG
            entry.external_attr = (kind | 0o644) << 16
            file.writestr(entry, content)


def deflated(ending: str) -> Change:
    """Compress a file in the archive itself."""

    def change(path: Path) -> None:
        files = contents(path)
        with zipfile.ZipFile(path, "w") as file:
            for name, content in files.items():
                packed = name.endswith(ending)
                file.writestr(
                    zipfile.ZipInfo(name),
                    content,
                    zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED,
                )

    return change


def without(ending: str) -> Change:
    """Leave out a file that the manifest lists."""

    def change(path: Path) -> None:
        files = contents(path)
        with zipfile.ZipFile(path, "w") as file:
            for name, content in files.items():
                if not name.endswith(ending):
                    file.writestr(name, content)

    return change


def unrenewed(ending: str) -> Change:
    """Change a file, but not its digest."""

    def change(path: Path) -> None:
        files = contents(path)
        with zipfile.ZipFile(path, "w") as file:
            for name, content in files.items():
                file.writestr(name, content + b" " if name.endswith(ending) else content)

    return change


def npy(header: str, data: bytes = b"") -> bytes:
    """An NPZ file with one array of any header."""
    text = header.encode() + b" " * (63 - (len(header) + 10) % 64) + b"\n"
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data
    return npz({"labels.npy": array})


def npz(files: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return stream.getvalue()


def object_array() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, labels=np.array([Payload()], dtype=object))
    return stream.getvalue()


def npz_bomb(size: int = 2**31) -> bytes:
    """A small NPZ file with an array of zeros that is 2 GiB large."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({size},)}}"
    text = header.encode() + b" " * (63 - (len(header) + 10) % 64) + b"\n"
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("labels.npy", "w", force_zip64=True) as array,
    ):
        array.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text)
        block = bytes(2**24)
        for _ in range(size // len(block)):
            array.write(block)
    return stream.getvalue()


def saved(content: Any, *, zipped: bool = True) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


def deflated_weights(content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return npz({name: file.read(name) for name in file.namelist()})


def other_weights(content: bytes) -> bytes:
    weights = torch.load(io.BytesIO(content), weights_only=True)
    name = next(iter(weights["model"]))
    weights["model"][name] = weights["model"][name] + 1
    return saved(weights)


def expanded_weights() -> bytes:
    huge = torch.zeros(1).expand(10**12)
    return saved({"model": {"weight": huge}, "head": {}})


def with_epochs(count: int) -> Change:
    def change(content: dict[str, Any]) -> None:
        content["history"] = [{"epoch": 1, "timestamp_ms": 1, "metrics": {}}] * count

    return lambda path: edit(path, "result.json", change)


def reencoded(encoding: str) -> Callable[[bytes], bytes]:
    return lambda content: content.decode().replace("softmax", "söftmax").encode(encoding)


def into_folder(path: Path) -> None:
    """Replace the archive by an empty folder."""
    path.unlink()
    path.mkdir()


def raw(path: Path, manifest: bytes) -> None:
    files = contents(path)
    with zipfile.ZipFile(path, "w") as file:
        for name, content in {**files, "archive.json": manifest}.items():
            file.writestr(name, content)


def trainings_twice(path: Path) -> None:
    files = contents(path)
    trainings = json.loads(files["archive.json"])["trainings"]
    write(path, files, {"trainings": [*trainings, trainings[0]]})
