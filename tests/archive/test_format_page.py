"""The example of the documented format prints the numbers of the report."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from lossbench.archive import format as archive_format
from lossbench.planning.trial import Trial
from lossbench.records import EpochRecord, MeasurementRecord, TrialResult
from tests.archive.trained import Stored, contents

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "archive-format.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_example_prints_the_table_of_the_report(
    stored: Stored, run: Callable[..., tuple[int, str, str]]
) -> None:
    [example] = re.findall(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    assert "lossbench" not in example
    assert example.count("\n") <= 22
    code, out, _ = run("report", "--from", stored.archive, "--format", "json")
    assert code == 0
    shutil.copy(stored.archive, "digits.zip")
    names: dict[str, object] = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(example, str(PAGE), "exec"), names)
    cells = names["cells"].agg(["mean", "std", "count"])  # type: ignore[attr-defined]
    errors = [cell for cell in json.loads(out) if cell["metric"] == "error"]
    rows = {trial.loss.name: trial.row for trial in stored.plan.trials}
    assert len(errors) == len(cells) == 2
    for cell in errors:
        own = cells.loc[rows[cell["loss"]], cell["variant"]]
        expected = [cell["mean"], cell["std"], cell["n"]]
        assert list(own) == pytest.approx(expected, rel=1e-12)
        assert f"{cell['mean']:.2f}".rstrip("0") in printed.getvalue()


@pytest.mark.parametrize("model", [Trial, TrialResult, MeasurementRecord, EpochRecord])
def test_the_page_names_every_key(model: type[Trial]) -> None:
    excluded = {"unmeasured", "failures", "file_digests", "entry_label"}
    missing = [key for key in model.model_fields if f"`{key}`" not in TEXT]
    assert set(missing) <= excluded


def test_the_page_names_the_files_and_limits(stored: Stored) -> None:
    for name in contents(stored.archive_with_weights):
        known = name.rpartition("/")[2]
        assert f"`{known}`" in TEXT or f"/{known}`" in TEXT, known
    mebi, gibi = 2**20, 2**30
    limits = {
        "files": f"{archive_format.MAX_FILES:,}",
        "a JSON file; the manifest": f"{archive_format.MAX_TEXT_BYTES // mebi} MiB; "
        f"{archive_format.MAX_MANIFEST_BYTES // mebi} MiB",
        "an NPZ file, and its arrays": f"{archive_format.MAX_ARRAYS_BYTES // mebi} MiB",
        "weights of a training": f"{archive_format.MAX_WEIGHTS_BYTES // gibi} GiB",
        "all files, expanded": f"{archive_format.FREE_BYTES // mebi} MiB and "
        f"{archive_format.MAX_RATIO} times the size of the archive",
    }
    for what, value in limits.items():
        assert f"| {what} | {value} |" in TEXT
    assert get_args(archive_format.Manifest.model_fields["format"].annotation) == (1,)
    assert "This page describes format 1." in TEXT
