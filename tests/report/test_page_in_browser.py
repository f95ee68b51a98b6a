"""The page in a real browser: Chromium, headless, where there is one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lossbench.analysis.ranking import rank_suites
from lossbench.planning.plan import Plan
from lossbench.planning.rows import make_rows
from lossbench.planning.selection import PlanWithResults
from lossbench.records import Metric
from lossbench.report.answer import headline_table
from lossbench.report.build import build_report
from lossbench.report.figures.forest import forest_figures
from lossbench.report.figures.style import Drawing, figure_style
from lossbench.report.metric_tables import CLASSIC_TITLE
from lossbench.report.ranking_report import write_ranking
from lossbench.suite.grammar import expand_grids
from lossbench.suite.load import load_suite
from tests.report.synthetic_report import DEFAULTS, HEAD, Results, result_of

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BODY = """
title: Digits </script><i>and more</i>
variants: {2-D: {model: {feature_dim: 2}}, 8-D: {model: {feature_dim: 8}}}
seeds: [0, 1, 2]
reference: softmax
losses:
  - softmax
  - center
  - lgm: {alpha: {grid: [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 1.0]}}
"""
ERRORS = [4.0, 10.5, 3.2, 2.1, None, 12.2, float("nan"), 1.5, 2.05]
"""Rows without a result of one seed: one was not run, one diverged."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: tox -e browser"
    )
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser on the PATH: {', '.join(BROWSERS)}")
    arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=arguments)
        yield started
        started.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with one kind of figures only, and a ranking."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "suite.yaml").write_text(HEAD + BODY, encoding="utf-8")
    suite = load_suite(folder / "suite.yaml")
    losses = [
        point.model_copy(update={"params": {**DEFAULTS[point.name], **point.params}})
        for loss in suite.losses
        for point in expand_grids(loss)
    ]
    plan = Plan(
        suite,
        make_rows(losses, suite),
        "0123456789abcdef",
        (Metric(name="error", label="error", unit="% of images"),),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lossbench.report.build.draw_figures", _forest_alone)
        build_report(
            PlanWithResults(plan, _results(plan)),
            lambda *_: None,
            folder,
            "lossbench run 'a b'.yaml",
        )
        many = [
            Metric(name="error", label="error", unit="% of images", group="accuracy"),
            Metric(name="nll", label="NLL", group="calibration"),
            *(Metric(name=f"m{k}", label=f"m {k}", group="robustness") for k in range(6)),
        ]
        build_report(
            PlanWithResults(replace(plan, metrics=tuple(many)), _results(plan, len(many) - 2)),
            lambda *_: None,
            folder / "many",
            "lossbench run many.yaml",
        )
    write_ranking(rank_suites([PlanWithResults(plan, _results(plan))]), folder, "lossbench rank")
    return folder


@contextmanager
def _forest_alone(
    found: PlanWithResults, tables: Any, *_: Any
) -> Iterator[Callable[[], list[Drawing]]]:
    table = headline_table(tables)
    assert table is not None
    with figure_style():
        yield lambda: forest_figures(table, table.variants)


def _results(plan: Plan, others: int = 0) -> Results:
    results = {}
    for trial in plan.trials:
        error = ERRORS[[row.label for row in plan.rows].index(trial.row)]
        if error is not None:
            status = "diverged" if error != error else "finished"
            value = error + 0.1 * trial.seed + 0.02 * trial.seed * error
            values = {"error": value}
            if others:
                values |= {"nll": value, **{f"m{k}": value for k in range(others)}}
            metrics = values if status == "finished" else {}
            results[trial.identity] = result_of(trial, value, status=status, metrics=metrics)
    return results


@pytest.fixture
def open_page(browser: Any, folder: Path) -> Iterator[Callable[..., Any]]:
    """Open a file; at the end no page may have complained, or asked for anything else."""
    contexts, complaints, asked = [], [], []

    def open_page(name: str = "report.html", width: int = 1280, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 800}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url[:200]))
        page.goto((folder / name).as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def rows_of(page: Any, table: int = 0) -> list[str]:
    return page.evaluate(
        "i => [...document.querySelectorAll('table.sortable')[i].tBodies[0].rows]"
        ".filter(row => !row.hidden).map(row => row.cells[0].textContent)",
        table,
    )


ORDER = [
    "softmax",
    "center",
    *(f"lgm(alpha={a})" for a in ("0", "0.1", "0.2", "0.3", "0.4", "0.5", "1")),
]


def test_tables_sort_by_the_mean_and_back(open_page: Callable[..., Any]) -> None:
    page = open_page()
    head = page.locator("table.sortable thead th").nth(1)
    assert rows_of(page) == ORDER
    missing = ["lgm(alpha=0.2)", "lgm(alpha=0.4)"]  # not run, and diverged
    known = [label for label in ORDER if label not in missing]
    rising = sorted(known, key=lambda label: ERRORS[ORDER.index(label)] or 0)
    head.get_by_role("button").click()
    assert (head.get_attribute("aria-sort"), rows_of(page)) == ("ascending", rising + missing)
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert rows_of(page) == rising[::-1] + missing
    page.keyboard.press("Enter")
    assert (head.get_attribute("aria-sort"), rows_of(page)) == (None, ORDER)
    page.locator("table.sortable").nth(1).get_by_role("button", name="difference").click()
    gaps = page.locator("table.sortable").nth(1).locator("tbody tr td:nth-child(4)")
    shown = [t.replace("−", "-") for t in gaps.all_text_contents() if t != "–"]
    assert [float(t) for t in shown] == sorted(float(t) for t in shown)


def test_cells_show_what_is_asked_for_and_rows_are_filtered(open_page: Callable[..., Any]) -> None:
    page = open_page()
    cell = page.locator("table.sortable").first.locator("tbody tr").nth(1).locator("td").first
    assert cell.inner_text().splitlines()[0] == "10.81 ± 0.31"
    page.locator("#show-mean").focus()
    shown = []
    for _ in range(3):
        page.keyboard.press("ArrowRight")
        shown.append(cell.inner_text().splitlines()[0])
    assert shown == ["95 % 10.04 to 11.58", "10.50, 10.81, 11.12", "worse, +6.63"]
    page.get_by_label("Rows", exact=True).fill("LGM(alpha=0.")
    assert rows_of(page) == [label for label in ORDER if label.startswith("lgm(alpha=0.")]


def test_folded_metrics_unfold_and_show_what_is_asked_for(open_page: Callable[..., Any]) -> None:
    page = open_page("many/report.html")
    parts = page.locator("details.group")
    assert parts.count() == 2
    cell = parts.nth(1).locator("table.sortable").first.locator("tbody td").first
    assert not cell.is_visible()
    parts.nth(1).locator("> summary").click()
    assert cell.inner_text().splitlines()[0] == "4.18 ± 0.18"
    page.locator("#show-seeds").check()
    assert cell.inner_text().splitlines()[0] == "4.00, 4.18, 4.36"
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert parts.locator("table").first.is_visible()


def test_the_answer_and_its_picture_come_first_and_the_classic_test_unfolds(
    open_page: Callable[..., Any],
) -> None:
    page = open_page(width=390)
    first = page.locator(".answer li").first
    assert first.inner_text().startswith("2-D: lgm(alpha=0.5) beats softmax by 2.5")
    tops = [
        page.locator(selector).first.bounding_box()["y"]
        for selector in (".answer", ".forest img", ".forest figcaption", "nav", "table")
    ]
    assert tops == sorted(tops)
    pictures = page.locator(".forest img")
    assert pictures.count() == 2
    for index in range(2):
        box = pictures.nth(index).bounding_box()
        assert box["x"] >= 0
        assert 300 < box["width"] < 390
    summary = page.get_by_text(CLASSIC_TITLE).first
    table = page.locator("details.more table").first
    assert not table.is_visible()
    summary.click()
    assert table.is_visible()
    assert table.locator("tbody tr").count() == 2 * (len(ORDER) - 1)


def test_curves_name_their_points(open_page: Callable[..., Any]) -> None:
    page = open_page()
    chart = page.locator(".chart").first
    svg, tip = chart.locator("svg"), chart.locator(".tip")
    page.evaluate("document.querySelector('.chart svg').scrollIntoView({block: 'center'})")
    box = svg.bounding_box()
    points = page.evaluate("document.querySelectorAll('.chart .row')[1].dataset.at").split(" ")
    x, y = (float(part) * box["width"] / 520 for part in points[-1].split(","))
    page.mouse.move(box["x"] + x, box["y"] + y)
    assert tip.inner_text() == "center: 10.81 (seeds 10.5 to 11.12), epoch 8"
    tip_box = tip.bounding_box()
    assert abs(tip_box["y"] + tip_box["height"] - (box["y"] + y)) < 40
    page.mouse.move(0, 0)
    assert tip.inner_text() == ""
    page.locator(".legend").first.locator("button").last.focus()
    page.keyboard.press("Tab")
    assert tip.inner_text().startswith("softmax: 4.18 (seeds 4 to 4.36), epoch 8")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowLeft")
    assert tip.inner_text().startswith("center: ")
    assert tip.inner_text().endswith(", epoch 7")
    row = chart.locator(".row").first
    page.locator(".legend button").first.click()
    assert not row.is_visible()
    assert page.locator(".legend button").first.get_attribute("aria-pressed") == "false"


def test_a_phone_scrolls_tables_and_not_the_page(open_page: Callable[..., Any]) -> None:
    for name in ("report.html", "ranking.html"):
        page = open_page(name, width=360, has_touch=True, is_mobile=True)
        assert page.evaluate("document.documentElement.scrollWidth") == 360
    page = open_page(width=360, has_touch=True)
    widen = """() => {
      const heading = document.querySelector('#results thead th:nth-child(2)');
      heading.textContent = 'Test precision at 1 of retrieval, cosine distance';
      return heading.getBoundingClientRect().width;
    }"""
    assert page.evaluate(widen) < 250  # a long heading does not push its values off the screen
    page.evaluate("document.querySelector('.chart svg').scrollIntoView({block: 'center'})")
    page.locator(".chart svg").first.tap(position={"x": 100, "y": 60})
    assert ", epoch " in page.locator(".chart .tip").first.inner_text()
    page.evaluate("document.querySelector('pre.command').scrollIntoView({block: 'center'})")
    page.get_by_role("button", name="Copy").tap()
    page.wait_for_function(
        "/copied|selected/.test(document.querySelector('.copy + span').textContent)"
    )


def test_text_can_be_read_in_light_and_dark(open_page: Callable[..., Any]) -> None:
    contrast = """() => {
      const parse = (text) => text.match(/[\\d.]+/g).map(Number);
      const light = (rgb) => rgb.slice(0, 3).map((v) => v / 255)
        .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
      const behind = (element) => {
        for (let at = element; at; at = at.parentElement) {
          const colour = parse(getComputedStyle(at).backgroundColor);
          if (colour.length === 3 || colour[3] > 0) return colour;
        }
      };
      const tags = 'h1,h4,p,li,a,td,th,small,label,legend,button,pre,strong';
      const texts = [...document.querySelectorAll(tags)];
      return texts.filter((e) => e.offsetParent && e.textContent.trim()).map((e) => {
        const both = [light(parse(getComputedStyle(e).color)), light(behind(e))];
        const [a, b] = both.sort((x, y) => y - x);
        return [(a + 0.05) / (b + 0.05), e.outerHTML.slice(0, 80)];
      }).sort((a, b) => a[0] - b[0])[0];
    }"""
    for scheme in ("light", "dark"):
        page = open_page(color_scheme=scheme)
        page.locator("#show-verdict").check()
        lowest, where = page.evaluate(contrast)
        assert lowest >= 4.5, (scheme, where)


def test_without_a_script_everything_is_there(open_page: Callable[..., Any], folder: Path) -> None:
    page = open_page(java_script_enabled=False)
    table = page.locator("table.sortable").first
    assert table.locator("tbody tr").count() == len(ORDER)
    for label, error in zip(ORDER, ERRORS, strict=True):
        shown = table.locator("tr", has=page.get_by_text(label, exact=True)).first.inner_text()
        finished = error is not None and error == error
        assert ("n=3" in shown and f"{1.02 * error + 0.1:.2f} ±" in shown) is finished
    page.locator("#show-seeds").check()
    assert "4.00, 4.18, 4.36" in table.inner_text()
    assert page.locator(".chart .row").count() == 4 * 10  # of 8 rows, one with 3 diverged seeds
    with page.expect_download() as caught:
        page.get_by_role("link", name="table.tex").click()
    assert caught.value.path().read_bytes() == (folder / "table.tex").read_bytes()


def test_the_ranking_sorts(open_page: Callable[..., Any]) -> None:
    page = open_page("ranking.html")
    best = rows_of(page)
    assert best[0] == "lgm(alpha=0.5)"
    first = page.locator("table.sortable tbody tr").first.locator("td").nth(1)
    assert first.get_attribute("data-v") == "1"  # not "1" followed by the small print
    page.locator("table.sortable thead").first.get_by_role("button", name="loss").click()
    assert rows_of(page) == sorted(best)
