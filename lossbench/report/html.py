"""The report as one self-contained page: no network, and all its numbers without a script."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from lossbench.analysis.tables import Table
from lossbench.planning.plan import Plan
from lossbench.report.answer import make_answers
from lossbench.report.display import DisplayTable
from lossbench.report.escaping import html_sentence, plain_sentence
from lossbench.report.facts import FAIRNESS_TITLE, PROVENANCE_TITLE, Facts
from lossbench.report.figures.curve_charts import chart, legend, script_json, tooltips
from lossbench.report.figures.curves import LearningCurves
from lossbench.report.figures.overview import TITLE as OVERVIEW_TITLE
from lossbench.report.figures.style import Drawing
from lossbench.report.layout import make_layout
from lossbench.report.metric_tables import origin_lines
from lossbench.report.uncertainty_table import TITLE

SECTIONS = {
    "overview": OVERVIEW_TITLE,
    "levels": "Metrics by the setting of the columns",
    "selection": "Selection on the held-out part",
    "ranks": "Ranks by metric",
    "per_class": "Single classes",
    "calibration": "Calibration",
    "curves": "Learning curves",
    "embedding": "Two-dimensional features",
    "likelihood": "Likelihood of the features",
    "geometry": "Geometry of the margin",
    "detection": "Adversarial and foreign inputs",
    "cost": "Cost",
}
"""Kinds of figures in the page's order, with their headings."""
FILTER_FROM = 8
"""With more rows the page has a field to filter them."""
MEDIA_TYPES = {
    "csv": "text/csv",
    "json": "application/json",
    "tex": "application/x-tex",
    "md": "text/markdown",
}


def render_html(
    plan: Plan,
    tables: Sequence[Table],
    uncertainty: DisplayTable | None,
    drawings: Sequence[Drawing],
    curves: Sequence[LearningCurves],
    left_out: str,
    facts: Facts,
    files: Mapping[str, str],
) -> str:
    """The whole page.

    Args:
        plan: Plan of the suite.
        tables: Tables of all metrics.
        uncertainty: Table on the uncertainty from the test set; None without stored predictions.
        drawings: Figures; those of learning curves are left out, since the page draws `curves`.
        curves: Learning curves of every variant that has figures.
        left_out: Sentence on variants without figures; empty if there are none.
        facts: How the numbers were made.
        files: File name -> text of the files that the page offers for download.
    """
    environment = page_environment()
    environment.filters["png_uri"] = lambda drawing: _data_uri("image/png", drawing.png)
    environment.filters.update(
        chart=chart, legend=legend, tooltips=tooltips, script_json=script_json
    )
    return environment.get_template("report.html.jinja").render(
        suite=plan.suite,
        suite_rows=len(plan.rows),
        filter_from=FILTER_FROM,
        answers=make_answers(tables),
        origin=origin_lines(tables),
        layout=make_layout(tables),
        uncertainty=uncertainty,
        uncertainty_title=TITLE,
        fairness_title=FAIRNESS_TITLE,
        provenance_title=PROVENANCE_TITLE,
        curves=curves,
        left_out=left_out,
        forest=[drawing for drawing in drawings if drawing.kind == "forest"],
        sections=_sections(drawings, curves),
        facts=facts,
        downloads=as_downloads(files),
    )


def page_environment() -> Environment:
    """Environment of this folder's templates: everything inserted is escaped."""
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
    """File name -> data URI with the whole file."""
    return {
        name: _data_uri(f"{MEDIA_TYPES[name.rpartition('.')[2]]};charset=utf-8", text.encode())
        for name, text in files.items()
    }


def _sections(
    drawings: Iterable[Drawing], curves: Sequence[LearningCurves]
) -> list[tuple[str, str, list[Drawing]]]:
    """(kind, heading, figures) of every kind that has figures."""
    listed = [drawing for drawing in drawings if drawing.kind != "curves"]
    found = [
        (kind, title, [d for d in listed if d.kind == kind]) for kind, title in SECTIONS.items()
    ]
    return [section for section in found if section[2] or (section[0] == "curves" and curves)]


def _data_uri(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
