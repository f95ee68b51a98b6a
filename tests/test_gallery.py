"""The page of questions and pictures shows the published reports."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lossbench.planning.column_levels import column_levels

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED = ROOT / "reports" / "published"
PAGE = ROOT / "docs" / "gallery.md"


@pytest.fixture
def gallery(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "generator"))
    return importlib.import_module("gallery")


def results(folder: str) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads(
        (PUBLISHED / folder / "results.json").read_text(encoding="utf-8")
    )
    return loaded


def section(title: str) -> str:
    text = PAGE.read_text(encoding="utf-8")
    return text.split(f"## {title}\n")[1].split("\n## ")[0]


def test_the_page_is_that_of_the_published_archives(gallery: ModuleType) -> None:
    assert PAGE.read_text(encoding="utf-8") == gallery.page()


def test_pictures_are_those_of_the_published_reports(gallery: ModuleType) -> None:
    shown = set(re.findall(r"\]\((images/gallery/[^)]+)\)", PAGE.read_text(encoding="utf-8")))
    assert shown == {question.picture for question in gallery.QUESTIONS}
    for question in gallery.QUESTIONS:
        picture = PAGE.parent / question.picture
        assert picture.read_bytes() == question.source.read_bytes()
        assert picture.stat().st_size < 300_000
    kept = {path.name for path in (PAGE.parent / "images/gallery").iterdir()}
    assert kept == {Path(name).name for name in shown}


@pytest.mark.parametrize("folder", ["digits", "noisy_labels_small", "long_tail_small"])
def test_the_named_rows_have_the_lowest_means(folder: str) -> None:
    """Compared with results.json, which other code writes."""
    found = [r for r in results(folder) if r["metric"] == "error"]
    text = next(s for s in PAGE.read_text(encoding="utf-8").split("\n## ") if f"{folder}.yaml" in s)
    for variant in {r["variant"] for r in found}:
        cells = [r for r in found if r["variant"] == variant]
        lowest = min(r["mean"] for r in cells)
        named = re.search(rf"- {re.escape(variant)}: \*\*(\w+).*?\*\*, ([\d.]+) ±", text)
        assert named is not None, variant
        assert float(named[2]) == pytest.approx(lowest, abs=0.00501)
        assert named[1] in {r["loss"] for r in cells if r["mean"] < lowest + 0.01}


def test_the_learning_rates_are_near_the_best_one() -> None:
    text = section("How sensitive is each loss to the learning rate?")
    held_out = [r for r in results("tuned_digits") if r["metric"] == "holdout_error"]
    for loss in {r["loss"] for r in held_out}:
        means = {
            r["tuned"]["recipe.optimizer.lr"]: r["mean"]
            for r in held_out
            if r["loss"] == loss and not r["diverged"]
        }
        named = re.search(
            rf"\*\*{loss}\*\*: ([\d., ]+) \(chosen: ([\d.]+)(?:; seeds diverged at ([\d., ]+))?\)",
            text,
        )
        assert named is not None, loss
        near = [rate for rate, mean in means.items() if mean <= min(means.values()) + 1]
        assert [float(rate) for rate in named[1].split(", ")] == sorted(near)
        assert means[float(named[2])] == min(means.values())
        lost = [
            r["tuned"]["recipe.optimizer.lr"]
            for r in held_out
            if r["loss"] == loss and r["diverged"]
        ]
        assert [float(rate) for rate in (named[3] or "").split(", ") if rate] == sorted(lost)


def test_the_pictures_over_levels_are_of_the_levels_of_the_suites(gallery: ModuleType) -> None:
    levels = {}
    for folder in ("noisy_labels_small", "long_tail_small"):
        found, _ = gallery.load_archives([PUBLISHED / folder / f"{folder}.zip"], None, None)
        levels[folder] = column_levels(found.plan)
    assert list(levels["noisy_labels_small"].values.values()) == [0, 0.2, 0.4, 0.6]
    assert list(levels["long_tail_small"].values.values()) == [1, 10, 50, 100]
