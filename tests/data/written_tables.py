"""Tables as the library `datasets` and the Hugging Face hub write them, by pyarrow alone."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image
from pyarrow import parquet

NAMES = ("cat", "dog", "owl")


def png(pixels: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()


def pixels(count: int, *shape: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    random = np.random.default_rng(seed)
    return list(random.integers(0, 256, (count, *shape), dtype=np.uint8))


def files(images: Sequence[NDArray[np.uint8]]) -> pa.Array:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.array([{"bytes": png(image), "path": None} for image in images], kind)


def table(
    images: Any, labels: Any, names: Sequence[str] | None = NAMES, *, image: str = "image",
    label: str = "label",
) -> pa.Table:  # fmt: skip
    """With what `datasets` notes of the columns, if the classes have names."""
    made = pa.table({image: images, label: labels})
    if names is None:
        return made
    features = {
        image: {"_type": "Image"},
        label: {"names": list(names), "_type": "ClassLabel"},
    }
    noted = json.dumps({"info": {"features": features}})
    return made.replace_schema_metadata({"huggingface": noted})


def of_split(count: int = 12, side: int = 6, seed: int = 0) -> pa.Table:
    return table(files(pixels(count, side, side, seed=seed)), [i % 3 for i in range(count)])


def save_split(folder: Path, content: pa.Table, shards: int = 1) -> None:
    """As Dataset.save_to_disk does."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"data-{i:05}-of-{shards:05}.arrow" for i in range(shards)]
    size = -(-len(content) // shards)
    for i, name in enumerate(names):
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(
            sink, content.schema
        ) as writer:  # fmt: skip
            writer.write_table(content.slice(i * size, size))
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "0"}
    (folder / "state.json").write_text(json.dumps(state), encoding="utf-8")
    (folder / "dataset_info.json").write_text("{}", encoding="utf-8")


def save(folder: Path, shards: int = 1, **splits: pa.Table) -> Path:
    """As DatasetDict.save_to_disk does."""
    for name, content in splits.items():
        save_split(folder / name, content, shards)
    (folder / "dataset_dict.json").write_text(
        json.dumps({"splits": list(splits)}), encoding="utf-8"
    )
    return folder


def save_parquet(folder: Path, **splits: pa.Table) -> Path:
    """As the hub keeps them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in splits.items():
        parquet.write_table(content, folder / f"{name}-00000-of-00001.parquet")
    return folder
