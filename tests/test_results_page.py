"""The page of results has the numbers of the archives, and says what is missing."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from lossbench.analysis.published import Published
from lossbench.analysis.tables import Table
from lossbench.archive.reading import Archive

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parent.parent
DIGITS = ROOT / "reports" / "published" / "digits"
TABLE_1 = ROOT / "reports" / "campaign" / "table1"


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "generator"))
    return importlib.import_module("results")


def with_published(table: Table, numbers: Mapping[str, float]) -> Table:
    cells = {
        (variant, label): replace(cell, published=Published(numbers[label], None))
        if label in numbers
        else cell
        for (variant, label), cell in table.cells.items()
    }
    return replace(table, cells=cells)


def test_the_page_is_that_of_the_archives(results: ModuleType) -> None:
    """If it differs, run docs/generator/results.py."""
    assert results.PAGE.read_text(encoding="utf-8") == results.page()


@pytest.mark.parametrize(
    ("row", "column", "published", "expected"),
    [
        ("lgm(alpha=1)", "2-D", 0.39, "**better**, as published (0.39 and 0.68 %; 2-D features"),
        ("lgm(alpha=1)", "2-D", 0.90, "**better**, published: worse (0.90 and 0.68 %"),
        ("center", "32-D", 0.39, "**undecided**, published: better (0.39 and 0.68 %"),
    ],
)
def test_the_first_sentence_of_a_complete_table_is_its_verdict(
    results: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    row: str,
    column: str,
    published: float,
    expected: str,
) -> None:
    monkeypatch.setattr(results, "HEADLINE", ("digits", column, row, "softmax"))
    [table] = (t for t in results.load_tables(DIGITS) if t.metric == "error")
    table = with_published(table, {row: published, "softmax": 0.68})
    sentence = results.headline([table])
    mean = table.cells[column, row].summary.mean
    assert f"L-GM with alpha 1 makes {mean:.2f} ± " in sentence
    assert expected in sentence
    assert sentence.endswith("5 seeds).")


def test_the_first_sentence_of_an_incomplete_table_says_what_is_measured(
    results: ModuleType, tmp_path: Path
) -> None:
    [path] = TABLE_1.glob("*-6da3abb9d5b6a49c.zip")
    shutil.copy(path, tmp_path)
    [result] = Archive(path).results.values()
    sentence = results.headline(results.load_tables(tmp_path))
    assert "**No verdict yet**: 1 of 18 trainings" in sentence
    error = result.metrics["error"]
    assert sentence.endswith(f"so far: center {error:.2f} % (published 0.47 %; 1 seed).")
    assert results.headline(()) == "Nothing of Table 1 is measured yet: no verdict."


def test_a_section_names_what_is_missing(results: ModuleType, tmp_path: Path) -> None:
    [path] = TABLE_1.glob("*-6da3abb9d5b6a49c.zip")
    shutil.copy(path, tmp_path)
    text = "\n".join(results.section(tmp_path))
    assert "| 100-D | center | 0.62 | 1 of 3 | 0.47 ± 0.01 | no verdict | +0.15" in text
    assert "| 100-D | softmax | – | 0 of 3 | 0.68 ± 0.01 | – | – |" in text
    assert "Missing: 17 of 18 trials, " in text
    assert "100-D/center (2)" in text
    assert list(results.section(tmp_path / "empty")) == []
