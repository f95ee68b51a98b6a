"""The report as one self-contained page: no network, and all its numbers without a script."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from lossbench.analysis.number_format import NOTHING, format_signed, format_signed_interval
from lossbench.analysis.predictions import TestSet
from lossbench.analysis.tables import Table
from lossbench.planning.fairness import Difference, audit
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.records import TrialResult
from lossbench.report import verdict_text
from lossbench.report.answer import find_verdict, make_answers
from lossbench.report.figures.charts import Curves, dumps
from lossbench.report.figures.style import Drawing
from lossbench.report.formats import origin_lines, published_text
from lossbench.report.markup import html_sentence, plain_sentence
from lossbench.report.overview import make_overview
from lossbench.suite.dump import suite_yaml

SECTIONS = {
    "selection": "Selection on the held-out part",
    "curves": "Learning curves",
    "embedding": "Two-dimensional features",
    "likelihood": "Likelihood of the features",
    "geometry": "Geometry of the margin",
    "detection": "Adversarial and foreign inputs",
    "cost": "Cost",
}
"""Kinds of drawings, in the page's order, with their headings."""
FILTER_FROM = 8
"""More rows than these have a field to filter them."""
MEDIA_TYPES = {
    "csv": "text/csv",
    "json": "application/json",
    "tex": "application/x-tex",
    "md": "text/markdown",
}


@dataclass(frozen=True)
class Facts:
    """How the numbers were made.

    Attributes:
        dataset: Its name, with the classes and the number of images where the suite limits it.
        varied: What the columns vary; empty for a suite without variants.
        progress: How many of the planned trials have a result.
        suite_yaml: The suite with every default filled in and grids expanded.
        devices: Device -> number of trials.
        environments: `python 3.11.2, torch 2.13.0` -> number of trials.
        data_digest: Of every pixel and label.
        command: What was typed.
        differences: In what the rows differ beside the loss.
    """

    dataset: str
    varied: str
    progress: str
    suite_yaml: str
    devices: Mapping[str, int]
    environments: Mapping[str, int]
    data_digest: str
    command: str
    differences: Sequence[Difference] = ()


def gather_facts(found: PlanWithResults, command: str) -> Facts:
    plan, suite, trials = found.plan, found.plan.suite, found.trials
    results = [found.results[t.identity] for t in trials if t.identity in found.results]
    ran = [result for result in results if result.status != "stopped"]
    diverged = sum(result.status == "diverged" for result in results)
    classes = plan.facts.class_names if suite.dataset.classes is not None else ()
    sizes = [f"classes {', '.join(classes)}"] if classes else []
    sizes += [
        f"{size} {split} images"
        for split, size in (
            ("training", suite.dataset.train_size),
            ("test", suite.dataset.test_size),
        )
        if size is not None
    ]
    return Facts(
        dataset=suite.dataset.name + (f" ({'; '.join(sizes)})" if sizes else ""),
        varied=", ".join(suite.variants) if suite.has_columns else "",
        progress=f"{len(results)} of {len(trials)} trials run"
        + (f", {diverged} diverged" if diverged else "")
        + (f", {len(results) - len(ran)} stopped early" if len(ran) < len(results) else ""),
        suite_yaml=suite_yaml(plan.expanded_suite),
        devices=Counter(result.device for result in ran),
        environments=Counter(_environment(result) for result in ran),
        data_digest=plan.data_digest,
        command=command,
        differences=audit(plan, trials, found.results),
    )


def _environment(result: TrialResult) -> str:
    return ", ".join(f"{name} {version}" for name, version in result.environment.items())


def render_html(
    plan: Plan,
    tables: Sequence[Table],
    test_set: TestSet | None,
    drawings: Sequence[Drawing],
    curves: Sequence[Curves],
    facts: Facts,
    files: Mapping[str, str],
) -> str:
    """The whole page.

    Args:
        plan: The suite, laid out.
        tables: All of them.
        test_set: What the stored predictions tell; None without them.
        drawings: All of them.
        curves: Drawn inside the page, instead of the drawings of that kind.
        facts: How the numbers were made.
        files: File name -> text, offered for download from inside the page.
    """
    environment = page_environment()
    environment.filters["png_uri"] = lambda drawing: _data_uri("image/png", drawing.png)
    environment.filters["published"] = published_text
    environment.filters["signed"] = format_signed
    environment.filters["bracketed"] = format_signed_interval
    environment.filters["p_text"] = verdict_text.p_text
    environment.filters["rank_fields"] = verdict_text.rank_fields
    environment.filters["test_set_fields"] = verdict_text.fields_of
    environment.filters["verdict_title"] = verdict_text.verdict_title
    environment.filters["verdict_cell"] = verdict_text.verdict_cell
    answers = make_answers(tables)
    return environment.get_template("report.html.jinja").render(
        suite=plan.suite,
        suite_rows=len(plan.rows),
        filter_from=FILTER_FROM,
        answers=answers,
        headline=_headline(tables),
        origin=origin_lines(tables),
        find_verdict=find_verdict,
        curves=curves,
        dumps=dumps,
        tables=list(zip(tables, verdict_text.notes_once(tables), strict=True)),
        test_set=test_set,
        test_set_title=verdict_text.TEST_SET_TITLE,
        test_set_headings=verdict_text.TEST_SET_HEADINGS,
        overview=make_overview(tables),
        sections=_sections(drawings, curves),
        facts=facts,
        nothing=NOTHING,
        downloads=as_downloads(files),
    )


def page_environment() -> Environment:
    """Where this folder's templates are rendered: everything inserted is escaped."""
    environment = Environment(
        loader=PackageLoader("lossbench.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["sentence"] = html_sentence
    environment.filters["plain"] = plain_sentence
    return environment


def as_downloads(files: Mapping[str, str]) -> dict[str, str]:
    """File name -> a link that holds the file."""
    return {
        name: _data_uri(f"{MEDIA_TYPES[name.rpartition('.')[2]]};charset=utf-8", text.encode())
        for name, text in files.items()
    }


def _headline(tables: Sequence[Table]) -> str:
    """What the answers are about: `Test error, % of test images`."""
    table = next((t for t in tables if not t.held_out), None)
    if table is None:
        return ""
    return f"{table.label}, {table.unit}" if table.unit else table.label


def _sections(
    drawings: Iterable[Drawing], curves: Sequence[Curves]
) -> list[tuple[str, str, list[Drawing]]]:
    """(kind, heading, its drawings), kinds without drawings left out."""
    listed = [drawing for drawing in drawings if drawing.kind != "curves"]
    found = [
        (kind, title, [d for d in listed if d.kind == kind]) for kind, title in SECTIONS.items()
    ]
    return [section for section in found if section[2] or (section[0] == "curves" and curves)]


def _data_uri(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
