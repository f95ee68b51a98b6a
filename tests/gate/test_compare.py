"""From a plan's results to a baseline file, to findings, to the forms in which they are told."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lossbench.errors import RequestError
from lossbench.gate.baseline import dump, read_baseline
from lossbench.gate.formats import FORMATS
from lossbench.gate.regression import compare
from lossbench.gate.service import Request
from lossbench.planning.plan import Plan
from lossbench.planning.selection import choose_rows, final_trials
from tests.gate.synthetic_baseline import SPREAD, table
from tests.report.synthetic_report import GRID, HEAD, Results, result_of

BODY = """
variants: {A: {model: {feature_dim: 2}}, B: {model: {feature_dim: 8}}}
losses: [softmax, center, {lgm: {alpha: {grid: [0.1, 0.3]}}}]
"""
STEADY: Mapping[str, list[float | None]] = {
    f"{variant}/{row}": [5.0, 5.2 + i / 100, 5.4]
    for variant in "AB"
    for i, row in enumerate(("softmax", "center", "lgm(alpha=0.1)", "lgm(alpha=0.3)"))
}
MakePlan = Callable[..., Plan]
Fill = Callable[..., Results]


@pytest.fixture
def written(make_plan: MakePlan, fill: Fill, tmp_path: Path) -> Path:
    """A baseline file of `STEADY`."""
    path = tmp_path / "baselines" / "synthetic.json"
    update(make_plan(BODY), fill(make_plan(BODY), STEADY), path)
    return path


def request(plan: Plan, path: Path, only: str | None = None) -> Request:
    return Request(plan.narrowed(only) if only else plan, path, only, "lossbench run suite.yaml")


def update(
    plan: Plan,
    results: Results,
    path: Path,
    *min_effects: str,
    only: str | None = None,
    accept: bool = False,
) -> list[str]:
    asked = request(plan, path, only)
    old = asked.read(missing_ok=True)
    return asked.update(old, asked.measure(results), min_effects, accept=accept)


def check(
    plan: Plan, results: Results, path: Path, form: str = "text", only: str | None = None
) -> tuple[str, int]:
    asked = request(plan, path, only)
    baseline = asked.read()
    assert baseline is not None
    asked.require_comparable(baseline)
    text, code = asked.check(baseline, asked.measure(results), form)
    return text.plain, code


def test_a_file_is_read_as_it_was_written_and_has_a_line_a_cell(written: Path) -> None:
    text = written.read_text(encoding="utf-8")
    baseline = read_baseline(written)
    assert dump(baseline) == text
    assert sum('"values"' in line for line in text.splitlines()) == len(baseline.cells) == 8
    assert baseline.cells[0].by_seed == {0: 5.0, 1: 5.2, 2: 5.4}
    assert baseline.cells[0].params == {}
    assert baseline.measured == "1970-01-01"  # of the made-up trials


def test_one_worse_loss_fails_with_its_name_only(
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
    assert "1 regression, 7 identical: regression" in text
    assert check(plan, results, written, only="A/*")[1] == 0


def test_a_cell_that_lost_its_number_fails_in_every_form(
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


def test_a_metric_that_is_not_finite_is_no_value(
    written: Path, make_plan: MakePlan, fill: Fill
) -> None:
    plan = make_plan(BODY)
    results = fill(plan, STEADY)
    for trial in plan.trials:
        if (trial.variant, trial.row) == ("B", "center"):
            value = float("nan") if trial.seed else float("inf")
            changed = results[trial.identity].model_copy(update={"metrics": {"error": value}})
            results[trial.identity] = changed
    text, code = check(plan, results, written)
    assert code == 1
    assert "regression: B/center error: 3 of 3 seeds diverged; in the baseline none of 3" in text


def test_a_loss_of_which_nothing_can_be_chosen_any_more_fails(
    make_plan: MakePlan, run_all: Callable[[Plan], Results], tmp_path: Path
) -> None:
    plan, path = make_plan(GRID), tmp_path / "synthetic.json"
    results = run_all(plan)
    update(plan, results, path)

    def with_center(status: str, seeds: int, row: str = "center") -> Results:
        """Some seeds of the held-out part ended otherwise; others of the test set are kept."""
        ended = {
            t.identity: result_of(t, 5.0, status=status)
            for t in plan.trials
            if t.row.startswith(row) and t.seed < seeds
        }
        return {**results, **ended}

    text, code = check(plan, with_center("diverged", 1), path)
    assert code == 1
    assert "nothing was chosen for center: no row of it finished all its seeds" in text
    assert text.count("  regression\n") == 2  # the test set's cells of both columns
    text, code = check(plan, with_center("stopped", 3, "center(weight=0.001)"), path)
    assert code == 3
    assert "every seed was stopped early, behind other rows" in text


def test_machine_forms(written: Path, make_plan: MakePlan, fill: Fill) -> None:
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


def test_a_label_with_signs_of_xml_and_of_github() -> None:
    name = 'a<b&"c"\x07%,:\n'
    before, after = (
        table({name: [5.0, 5.2, 5.4], **SPREAD}),
        table({name: [9.0, 9.1, 9.3], **SPREAD}),
    )
    found = compare(before, after)
    root = ElementTree.fromstring(FORMATS["junit"](found, before, after).split("\n", 1)[1])
    case = root.find(".//testcase")
    assert case is not None
    assert case.attrib["name"] == ('a<b&"c"?%,:\n error')
    [annotation, _] = FORMATS["github"](found, before, after).splitlines()
    title, _, message = annotation.removeprefix("::error title=").partition("::")
    assert title.endswith('a<b&"c"\x07%25%2C%3A%0A')
    assert message.startswith('A/a<b&"c"\x07%25,:%0A error: worse by')


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("epochs: 8", "epochs: 3", "recipe.epochs: 8 in the baseline, 3 here"),
        ("lr: 0.01", "lr: 0.1", "recipe.optimizer.lr: 0.01 in the baseline, 0.1 here"),
        ("dataset: digits", "dataset: {name: digits, train_size: 100}", "train_size: null in the"),
        ("{feature_dim: 8}", "{feature_dim: 9}", "variants.B.model.feature_dim: 8 in the"),
        ("softmax, ", "", "cells: the suite has no A/softmax (error) with the baseline's"),
        ("center,", "{center: {weight: 0.1}},", "center.weight: 0.003 in the baseline, 0.1 here"),
        ("suite: synthetic", "suite: other", "suite: it is of 'synthetic', not 'other'"),
    ],
)
def test_what_can_not_be_compared(
    written: Path, make_plan: MakePlan, fill: Fill, old: str, new: str, expected: str
) -> None:
    body, head = (text.replace(old, new) for text in (BODY, HEAD))
    plan = make_plan(body, head)
    with pytest.raises(RequestError) as caught:
        check(plan, fill(plan, STEADY), written)
    assert expected in str(caught.value)
    assert str(written) in str(caught.value)


def test_other_data(written: Path, make_plan: MakePlan, fill: Fill) -> None:
    plan = make_plan(BODY)
    results = fill(plan, STEADY)
    content = json.loads(written.read_text(encoding="utf-8"))
    content["data"] = {**content["data"], "digest": "f" * 16}
    written.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(RequestError, match=f"data.digest: {'f' * 16} in the baseline, 0123"):
        check(plan, results, written)


def test_missing_results_are_named_with_the_command(
    written: Path, make_plan: MakePlan, fill: Fill
) -> None:
    plan = make_plan(BODY)
    results = fill(plan, {**STEADY, "A/center": [5.0, None, None]})
    with pytest.raises(RequestError) as caught:
        check(plan, results, written)
    assert str(caught.value) == (
        "2 trials have no result: A/center (seed 1, 2)\nrun them first: lossbench run suite.yaml"
    )
    with pytest.raises(RequestError, match="no result"):
        update(plan, results, written)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"version": 1', '"version": 2', "version: should be 1, not 2"),
        ('"measured"', '"measurd"', "measurd: unknown key; did you mean 'measured'?"),
        ('"diverged": []', '"divergd": []', "cells[0].divergd: unknown key; did you mean"),
        ("[5.0, 5.2, 5.4]", "[5.0, 5.2]", "cells[0]: 2 values for 3 seeds"),
        ("[0, 1, 2]", "[0, 1, 1]", "cells[0]: a seed stands twice"),
        ('"min_effect": 0.5', '"min_effect": 0', "metrics[0].min_effect: should be greater"),
        ('"metric": "error"', '"metric": "eror"', "unknown metric 'eror'; did you mean 'error'"),
        ('"variant": "A"', '"variant": "C"', "cells: unknown variant 'C'"),
        ('"suite": ', '"suite": "x", "suite": ', "broken JSON: the key 'suite' stands twice"),
        ('"epochs": 8', '"epochs": 9', "conditions_digest: does not fit the conditions"),
        ('"version": 1,', '"version": 1', "broken JSON: Expecting ',' delimiter: line 3"),
    ],
)
def test_a_broken_file_is_told_with_its_key(
    written: Path, old: str, new: str, expected: str
) -> None:
    text = written.read_text(encoding="utf-8")
    assert old in text
    written.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(RequestError) as caught:
        read_baseline(written)
    assert str(caught.value).startswith(f"{written}: ")
    assert expected in str(caught.value)


def test_an_update_does_not_lower_a_bar_unasked(
    written: Path, make_plan: MakePlan, fill: Fill
) -> None:
    plan = make_plan(BODY)
    before = written.read_text(encoding="utf-8")

    def refused(results: Results, *min_effects: str, plan: Plan = plan) -> list[str]:
        with pytest.raises(RequestError, match="would lower a bar") as caught:
            update(plan, results, written, *min_effects)
        assert written.read_text(encoding="utf-8") == before
        return [line.strip() for line in str(caught.value).splitlines()[1:-1]]

    slightly = fill(plan, {**STEADY, "B/center": [5.0, 5.21, 5.5], "A/softmax": [1.0, 1.0, 1.0]})
    assert refused(slightly) == ["B/center error: 5.20 in the baseline, 5.24 here"]
    diverged = fill(plan, {**STEADY, "B/center": [5.0, 5.1, float("nan")]})
    assert refused(diverged) == ["B/center error: 0 diverged in the baseline, 1 here"]
    assert refused(fill(plan, STEADY), "error=0.6") == [
        "metrics: error.min_effect: 0.5 in the baseline, 0.6 here"
    ]
    fewer = make_plan(BODY + "seeds: [0, 1]")
    assert len(refused(fill(fewer, STEADY), plan=fewer)) == 8
    smaller = make_plan(BODY.replace(", center", ""))
    removed = refused(fill(smaller, STEADY), plan=smaller)
    assert removed == ["A/center error: removed", "B/center error: removed"]
    other = make_plan(BODY, HEAD.replace("epochs: 8", "epochs: 3"))
    assert refused(fill(other, STEADY), plan=other) == ["recipe.epochs: 8 in the baseline, 3 here"]

    told = update(plan, slightly, written, "error=0.4", accept=True)
    assert told[1:] == ["accepted: B/center error: 5.20 in the baseline, 5.24 here"]
    new = read_baseline(written)
    assert new.metric["error"].min_effect == 0.4
    assert new.cells[0].values == [1.0, 1.0, 1.0]


def test_an_update_of_some_cells_keeps_the_others(
    written: Path, make_plan: MakePlan, fill: Fill
) -> None:
    plan = make_plan(BODY)
    old = read_baseline(written)
    results = fill(plan, {**STEADY, "B/center": [4.0, 4.2, 4.3], "A/softmax": [1.0, 1.0, 1.0]})
    update(plan, results, written, only="B/center")
    new = read_baseline(written)
    changed = [a.name for a, b in zip(old.cells, new.cells, strict=True) if a != b]
    assert changed == ["B/center"]
    assert new.conditions == old.conditions

    other = make_plan(BODY, HEAD.replace("epochs: 8", "epochs: 3"))
    with pytest.raises(RequestError, match="the other cells can not be kept"):
        update(other, fill(other, STEADY), written, only="B/center", accept=True)


@pytest.mark.parametrize("text", ["error", "error=x", "error=0", "=1", "error=nan", "error=inf"])
def test_min_effects_are_numbers_above_0(
    make_plan: MakePlan, fill: Fill, tmp_path: Path, text: str
) -> None:
    plan, path = make_plan(BODY), tmp_path / "new.json"
    with pytest.raises(RequestError, match="should be METRIC=NUMBER"):
        update(plan, fill(plan, STEADY), path, text)
    with pytest.raises(RequestError, match="unknown metric; did you mean 'error'"):
        update(plan, fill(plan, STEADY), path, "eror=1")
    assert not path.exists()


def test_a_suite_that_chooses_has_both_stages_and_tells_another_choice(
    make_plan: MakePlan, run_all: Callable[[Plan], Results], tmp_path: Path
) -> None:
    plan, path = make_plan(GRID), tmp_path / "synthetic.json"
    results = run_all(plan)
    update(plan, results, path)
    baseline = read_baseline(path)
    assert [m.name for m in baseline.metrics] == ["holdout_error", "error"]
    assert sum(c.metric == "error" for c in baseline.cells) == 6  # a row a loss, two columns
    assert check(plan, results, path)[1] == 0

    best = next(row for row in plan.rows if row.label.startswith("center"))
    promoted = {
        t.identity: results[t.identity].model_copy(update={"metrics": {"error": 0.1}})
        for t in plan.trials
        if t.row == best.label
    }
    changed = {**results, **promoted}
    scores = {t.identity: changed[t.identity].metrics["error"] for t in plan.trials}
    for trial in final_trials(plan, choose_rows(plan, scores)):
        template = results[next(iter(results))]
        changed.setdefault(trial.identity, template.model_copy(update={"identity": trial.identity}))
    text, code = check(plan, changed, path)
    assert code == 3
    assert "the held-out part chose it, and here another row" in text
