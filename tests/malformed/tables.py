"""Hugging Face data sets on disk that cannot be used."""

from __future__ import annotations

from pathlib import Path

from tests.malformed.corpus import Case


def table(name: str, columns: dict[str, list[object]], *expected: str) -> Case:
    """A parquet file `data/hub/data/train-00000-of-00001.parquet` with these columns."""

    def make(folder: Path) -> list[str]:
        import pyarrow
        from pyarrow import parquet

        path = folder / "data/hub/data/train-00000-of-00001.parquet"
        path.parent.mkdir(parents=True)
        parquet.write_table(pyarrow.table(columns), path)
        root = str(folder / "data")
        return ["run", "bad.yaml", "--set", "dataset=hub", "--data-root", root]

    return Case(name, make, expected)


GREY: list[object] = [[[k, 2], [3, 4]] for k in range(4)]
TABLES = [
    table("a table of texts", {"text": ["a"] * 4, "label": [0, 1] * 2}, "data/hub: has no column of images; columns are text (string), label (int64)"),
    table("a table without labels", {"image": GREY, "mood": [0, 1] * 2}, "data/hub: has no column of labels; columns are image (list<"),
    table("a table of paths", {"image": [{"bytes": None, "path": "a.png"}] * 4, "label": [0, 1] * 2}, "data/hub: has no column of images"),
    table("a table of broken files", {"image": [b"x"] * 4, "label": [0, 1] * 2}, "train-00000-of-00001.parquet, row 0: does not decode"),
    table("a table without a test set", {"image": GREY, "label": [0, 1] * 2}, "evaluate: error needs a test set, and hub has none: looked for test, validation"),
]  # fmt: skip
