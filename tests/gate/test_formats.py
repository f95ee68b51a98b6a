"""The result of a check as text, JSON, JUnit XML and GitHub annotations."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lossbench.gate.formats import github_text, junit_text
from lossbench.gate.regression import check_cells
from tests.gate.files import BODY, STEADY, Fill, MakePlan, check, update
from tests.gate.synthetic_baseline import SPREAD, make_baseline
from tests.report.synthetic_report import with_own_metric


def test_only_the_worse_cell_is_a_regression(
    written: Path, make_plan: MakePlan, fill: Fill
) -> None:
    plan = make_plan(BODY)
    assert check(plan, fill(plan, STEADY), written)[1] == 0
    results = fill(plan, {**STEADY, "B/center": [8.0, 8.4, 8.3]})
    text, code = check(plan, results, written)
    assert code == 1
    assert [line for line in text.splitlines() if line.endswith("  regression")] == [
        line for line in text.splitlines() if line.startswith("B/center ")
    ]
    assert "regression (1 regression, 7 identical)" in text
    assert check(plan, results, written, only="A/*")[1] == 0


def test_a_cell_without_any_value_fails_in_every_format(
    make_plan: MakePlan, fill: Fill, tmp_path: Path
) -> None:
    plan, path, nan = make_plan(BODY), tmp_path / "baseline.json", float("nan")
    update(plan, fill(plan, {**STEADY, "A/softmax": [nan, 5.0, 5.2]}), path)
    results = fill(plan, {**STEADY, "A/softmax": [nan, nan, nan]})
    text, code = check(plan, results, path)
    assert code == 1
    assert "regression: A/softmax error: 3 of 3 seeds diverged; in the baseline 1 of 3" in text
    junit = ElementTree.fromstring(check(plan, results, path, "junit")[0].split("\n", 1)[1])
    assert (junit.attrib["failures"], junit.attrib["skipped"]) == ("1", "0")
    assert json.loads(check(plan, results, path, "json")[0])["outcome"] == "regression"
    assert check(plan, results, path, "github")[0].startswith("::error ")


def test_json_junit_and_github_annotations_of_one_check(
    written: Path, make_plan: MakePlan, fill: Fill
) -> None:
    plan = make_plan(BODY.replace("center,", "center, triplet,"))
    after = {
        **STEADY,
        "B/center": [8.0, 8.4, 8.3],
        "A/softmax": [5.0, 5.2, float("nan")],
        "A/triplet": [5.0, 5.0, 5.0],
        "B/triplet": [5.0, 5.0, 5.0],
    }
    results = fill(plan, after)
    found = json.loads(check(plan, results, written, "json")[0])
    assert (found["exit_code"], found["outcome"]) == (1, "regression")
    verdicts = {f"{c['variant']}/{c['row']}": c["verdict"] for c in found["cells"]}
    assert verdicts["B/center"] == "regression"
    assert verdicts["A/softmax"] == "undecided"
    assert verdicts["A/triplet"] == "new"
    [worse] = [c for c in found["cells"] if c["verdict"] == "regression"]
    assert worse["measured"]["values"] == [8.0, 8.4, 8.3]
    assert worse["interval"][0] < worse["delta"] < worse["interval"][1]

    root = ElementTree.fromstring(check(plan, results, written, "junit")[0].split("\n", 1)[1])
    assert root.attrib == {"tests": "10", "failures": "1", "errors": "0", "skipped": "3"}
    [failure] = root.findall(".//testcase[failure]")
    assert failure.attrib == {"classname": "synthetic.B", "name": "center error"}
    assert len(root.findall(".//testcase[skipped]")) == 3

    lines = check(plan, results, written, "github")[0].splitlines()
    assert lines[0].startswith("::error title=synthetic%3A regression in B/center::B/center error")
    assert [line.partition(" ")[0] for line in lines[1:4]] == ["::warning", "::notice", "::notice"]
    assert "::" not in lines[-1]


def test_labels_are_escaped_for_xml_and_for_github() -> None:
    name = 'a<b&"c"\x07%,:\n'
    before, after = (
        make_baseline({name: [5.0, 5.2, 5.4], **SPREAD}),
        make_baseline({name: [9.0, 9.1, 9.3], **SPREAD}),
    )
    found = check_cells(before, after)
    root = ElementTree.fromstring(junit_text(found, before, after).split("\n", 1)[1])
    case = root.find(".//testcase")
    assert case is not None
    assert case.attrib["name"] == ('a<b&"c"?%,:\n error')
    [annotation, _] = github_text(found, before, after).splitlines()
    title, _, message = annotation.removeprefix("::error title=").partition("::")
    assert title.endswith('a<b&"c"\x07%25%2C%3A%0A')
    assert message.startswith('A/a<b&"c"\x07%25,:%0A error: worse by')


def test_numbers_have_the_digits_and_the_unit_of_their_metric(
    make_plan: MakePlan, tmp_path: Path
) -> None:
    plan, results = with_own_metric(make_plan(BODY), "s", 1e-9)
    path = tmp_path / "baseline.json"
    update(plan, results, path, "mine=1e-10")
    worse = {
        identity: result.model_copy(update={"metrics": {"mine": 3 * result.metrics["mine"]}})
        for identity, result in results.items()
    }
    text, code = check(plan, worse, path)
    assert code == 1
    assert re.search(r"worse by \d\.\d{3}e-09 s; the noise limit is \d\.\d{3}e-\d\d s", text)
    assert check(plan, results, path)[1] == 0


@pytest.mark.parametrize("form", ["text", "junit", "github"])
def test_numbers_that_round_to_zero_have_no_sign(
    make_plan: MakePlan, tmp_path: Path, form: str
) -> None:
    """Means and differences of a few thousandths of a percent, from below zero."""
    plan, results = with_own_metric(make_plan(BODY), "%", -0.0005)
    path = tmp_path / "baseline.json"
    update(plan, results, path)
    better = {
        identity: result.model_copy(update={"metrics": {"mine": result.metrics["mine"] - 1e-4}})
        for identity, result in results.items()
    }
    text, _ = check(plan, better, path, form)
    assert not re.search(r"[-−+]0\.00(?!\d)", text)
    columns = r"0\.00 ± 0\.00 \(n=3\) +0\.00 ± 0\.00 \(n=3\) +0\.00 "
    assert form != "text" or re.search(columns, text)
