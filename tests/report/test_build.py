"""The whole report on tiny synthetic plans."""

from __future__ import annotations

import base64
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.report.build import build_report
from tests.report.synthetic_report import GRID, make_arrays

pytestmark = pytest.mark.long


BODY = """
title: <script>alert("x")</script> 5 % & $x_1$ $\\notacommand
variants: {2-D: {model: {feature_dim: 2}}, C+: {model: {feature_dim: 8}}}
seeds: [0, 1]
losses: [softmax, {lgm: {alpha: {grid: [0.0, 1.0]}}}]
"""


PNG = b"\x89PNG\r\n\x1a\n"


class Page(HTMLParser):
    """Tags and references of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [v or "" for k, v in attrs if k in ("src", "href", "srcset", "data")]
        if tag == "img":
            self.images.append(dict(attrs))


def embeddings(plan: Plan, classes: int = 10) -> Callable[[str, str], Any]:
    """Arrays of every trial with two-dimensional features."""
    trials = {t.identity: t for t in plan.trials if t.variant in ("2-D", "default")}

    def read(identity: str, name: str) -> Mapping[str, np.ndarray] | None:
        if name != "embedding":
            return None
        return make_arrays(trials[identity], classes, 120) if identity in trials else None

    return read


def nothing(identity: str, name: str) -> None:
    return None


def test_a_report_is_whole(
    make_plan: Callable[..., Plan], run_all: Callable, tmp_path: Path
) -> None:
    plan = make_plan(BODY)
    output = tmp_path / "out"
    command = "lossbench report <x> --output 'out'"
    paths = build_report(PlanWithResults(plan, run_all(plan)), embeddings(plan), output, command)

    assert sorted(paths) == sorted(p for p in output.rglob("*") if p.is_file())
    names = {str(p.relative_to(output)) for p in paths}
    assert {"report.html", "report.md", "results.csv", "results.json", "table.tex"} < names
    drawn = ["curves-2-D", "curves-C+", "cost-2-D", "cost-C+", "embedding-2-D", "likelihood-2-D"]
    figures = {f"figures/{name}.{ending}" for name in drawn for ending in ("png", "svg")}
    assert {name for name in names if name.startswith("figures/")} == figures

    text = (output / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert all(r.startswith(("data:", "#")) for r in page.references)
    assert not re.search(r"url\(|@import|https?://", re.sub(r'"data:[^"]*"', "", text))
    assert text.count('<figure class="curves">') == 2
    embedded = {base64.b64decode((i["src"] or "").partition("base64,")[2]) for i in page.images}
    assert embedded == {
        p.read_bytes() for p in (output / "figures").glob("*.png") if "curves" not in p.name
    }  # the page draws the curves itself
    assert all(image.startswith(PNG) for image in embedded)
    assert all(image["alt"] for image in page.images)
    assert "lossbench report &lt;x&gt; --output &#39;out&#39;" in text
    assert plan.table_digest in text
    assert "lgm: {alpha: 0.0, lambda: 0.1, covariance: identity}" in text
    downloads = {p.name for p in paths if p.parent == output} - {"report.html"}
    assert downloads == set(re.findall(r'download="([^"]*)"', text))
    assert len(json.loads((output / "results.json").read_text(encoding="utf-8"))) == 6


def test_what_a_user_wrote_is_escaped(
    make_plan: Callable[..., Plan], run_all: Callable, tmp_path: Path
) -> None:
    covariance = "{lgm: {covariance: {grid: ['<script>1</script>', '$_&', '</script><i>']}}}"
    plan = make_plan(f"title: </script><i>0\nseeds: [0]\nlosses: [softmax, {covariance}]\n")
    build_report(
        PlanWithResults(plan, run_all(plan)),
        embeddings(plan),
        tmp_path / "out",
        "<script>2</script>",
    )
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert (
        page.tags.count("script") == text.count("</script>") == 2
    )  # the curves' data, and page.js
    assert "i" not in page.tags
    [data] = re.findall(r'<script type="application/json">(.*?)</script>', text)
    assert "<" not in data
    labels = [line["label"] for line in json.loads(data)[0]]
    assert labels == [row.label for row in plan.rows]
    assert "&lt;script&gt;1&lt;/script&gt;" in text
    markdown = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    fenced = re.sub(r"````.*?````", "", markdown, flags=re.DOTALL)
    assert "<script>" not in fenced.replace(r"\<", "")
    assert r"lgm (covariance = \$\_\&)" in (tmp_path / "out" / "table.tex").read_text(
        encoding="utf-8"
    )


def test_selection_is_drawn(
    make_plan: Callable[..., Plan], run_all: Callable, tmp_path: Path
) -> None:
    plan = make_plan(GRID)
    paths = build_report(PlanWithResults(plan, run_all(plan)), nothing, tmp_path, "c")
    drawn = {p.stem for p in paths if p.suffix == ".png" and p.stem.startswith("selection")}
    assert drawn == {f"selection-{v}-{loss}" for v in "AB" for loss in ("center", "lgm")}
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "center chose weight=0.01, the largest" in text
    assert "% of held-out training images" in text


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([None, None, None], set()),
        ([math.nan] * 3, {"curves-default"}),
        ([2.0, math.nan, None], {"curves-default", "cost-default"}),
        ([0.0, 0.0, 0.0], {"curves-default", "cost-default"}),
    ],
)
def test_unfinished_and_diverged_suites_have_a_report(
    make_plan: Callable[..., Plan], fill: Callable, tmp_path: Path, errors: Any, expected: set[str]
) -> None:
    plan = make_plan("losses: [softmax, center]\n")
    results = fill(plan, {"default/softmax": errors, "default/center": errors})
    paths = build_report(PlanWithResults(plan, results), nothing, tmp_path / "out", "c")
    assert {p.stem for p in paths if p.suffix == ".png"} == expected
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert ("loss was not finite" in text) is (math.nan in errors)


def test_thirty_rows_and_a_hundred_classes(
    make_plan: Callable[..., Plan], run_all: Callable, tmp_path: Path
) -> None:
    grid = [round(0.1 * i, 1) for i in range(29)]
    plan = make_plan(f"seeds: [0]\nlosses: [softmax, {{center: {{weight: {{grid: {grid}}}}}}}]\n")
    paths = build_report(
        PlanWithResults(plan, run_all(plan)), embeddings(plan, classes=100), tmp_path / "o", "c"
    )
    assert "embedding-default" in {p.stem for p in paths}


def test_a_crash_leaves_the_old_page_and_no_temporary_file(
    make_plan: Callable[..., Plan], run_all: Callable, tmp_path: Path, monkeypatch: Any
) -> None:
    plan = make_plan("seeds: [0]\nlosses: [softmax]\n")
    (tmp_path / "report.html").write_text("old", encoding="utf-8")

    def full_disk(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("lossbench.suite.atomic_files.os.replace", full_disk)
    with pytest.raises(OSError, match="no space"):
        build_report(PlanWithResults(plan, run_all(plan)), nothing, tmp_path, "c")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == "old"
    assert [p.name for p in tmp_path.rglob("*") if p.name.startswith(".")] == []


def test_the_report_imports_no_torch_ray_or_mlflow() -> None:
    code = (
        "import sys, lossbench.report\n"
        "slow = ('matplotlib', 'seaborn', 'pandas', 'scipy.stats', 'scipy.optimize')\n"
        "assert not [m for m in slow if m in sys.modules]\n"  # for tables alone
        "import lossbench.report.build\n"
        "assert not [m for m in slow[1:] if m in sys.modules]\n"
        "print([m for m in ('torch', 'ray', 'mlflow') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, encoding="utf-8"
    )
    assert done.stdout.strip() == "[]"
