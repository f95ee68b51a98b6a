"""Evaluations from a user's own file: checks before the training, identities, entry points."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lossbench.assembly.check import check
from lossbench.assembly.plugins import forget, installed, read_plugins
from lossbench.cli.local_status import load_status
from lossbench.errors import RequestError
from lossbench.evaluation import EVALUATIONS, Evaluation
from lossbench.planning.plan import Plan
from lossbench.records import TrialResult
from lossbench.registry import Registry
from lossbench.runner.environment import environment
from lossbench.suite.load import load_suite
from lossbench.tracking.store import Tracker
from tests.synthetic_measurements import measurements_of

Write = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]
PLUGIN = """\
from typing import Annotated

from pydantic import Field

from lossbench.evaluation import EVALUATIONS, Evaluation, Measurement, Metric


@EVALUATIONS.register("mine")
class Mine(Evaluation):
    def __init__(self, *, threshold: Annotated[float, Field(ge=0, le=1)] = 0.9):
        self.threshold = threshold

    def metrics(self):
        return (Metric(name="mine", label="mine", unit="points", higher_is_better=True),)

    def check(self, dataset, view, data_root):
        return {}

    def __call__(self, trained):
        share = (trained.scores.softmax(1).amax(1) < self.threshold).float().mean()
        return Measurement({"mine": 100 * share})
"""
EVALUATE = ("losses:", "evaluate: [error, mine: {threshold: 0.5}]\nlosses:")


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    yield
    for file in list(installed):
        forget(file)


@pytest.fixture
def plugin(tmp_path: Path) -> Callable[..., Path]:
    def write(*replace: tuple[str, str]) -> Path:
        text = PLUGIN
        for old, new in replace:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "my_metric.py").write_text(text, encoding="utf-8")
        return tmp_path / "my_metric.py"

    return write


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("(Evaluation)", "", "evaluation 'mine': Mine is no Evaluation; derive it from lossbench"),
        ("def metrics", "def metric", "evaluation 'mine': Mine lacks metrics"),
        ("def __call__", "def call", "evaluation 'mine': Mine lacks __call__"),
        ('"mine")\nclass', '"error")\nclass', "evaluation 'error' is registered twice"),
        ("threshold: Annotated[float, Field(ge=0, le=1)]", "threshold", "has no annotation"),
        ('@EVALUATIONS.register("mine")\n', "", "registers nothing; put @LOSSES.*EVALUATIONS"),
    ],
)
def test_a_broken_file_gives_one_message_and_registers_nothing(
    plugin: Callable[..., Path], old: str, new: str, message: str
) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        read_plugins([plugin((old, new))])
    assert "my_metric.py" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "mine" not in EVALUATIONS
    read_plugins([plugin()])  # mended
    assert "mine" in EVALUATIONS


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("self.threshold = threshold", "1 / 0", "evaluate.mine: cannot be used: ZeroDivision"),
        ('name="mine"', 'name="my metric"', "evaluate.mine: metric 'my metric': a name should"),
        ('unit="points"', 'unit="ms\\n"', "metric 'mine': label and unit should be one line"),
        ('unit="points"', 'units="points"', "evaluate.mine: cannot be used: ValidationError"),
        ('label="mine"', "label=7", "evaluate.mine: cannot be used: ValidationError"),
        ("return (Metric", "return [Metric()] and (Metric", "cannot be used: ValidationError"),
        ("return (Metric(", "return tuple(Metric(", "evaluate.mine: "),
        ('name="mine"', 'name="error"', "error is measured twice"),
        ("return {}", "return 1 / 0", "mine: cannot be used: ZeroDivisionError.*my_metric.py:17"),
        ("return {}", "raise ValueError('needs colour')", "mine: needs colour"),
        ("return {}", "return None", "mine: check.. should return the digests of other data"),
        ("threshold: Ann", "limit: float = 1.0, threshold: Ann", ""),
    ],
)
def test_faults_are_found_before_anything_is_trained(
    plugin: Callable[..., Path], write_suite: Write, run: Run, old: str, new: str, message: str
) -> None:
    code, out, err = run("plan", write_suite(EVALUATE), "--plugin", plugin((old, new)))
    if not message:
        assert code == 0
        return
    assert (code, out) == (2, "")
    assert re.search(message, " ".join(err.split()))
    assert "Traceback" not in err


def test_wrong_parameters_name_the_valid_ones(
    plugin: Callable[..., Path], write_suite: Write, run: Run
) -> None:
    file = plugin()
    for given, message in (
        ("{treshold: 0.5}", "did you mean 'threshold'"),
        ("{threshold: 2.0}", "less than or equal to 1"),
    ):
        suite = write_suite(("losses:", f"evaluate: [mine: {given}]\nlosses:"))
        code, _, err = run("plan", suite, "--plugin", file)
        assert code == 2
        assert message in " ".join(err.split())
    code, _, err = run("plan", write_suite(("losses:", "evaluate: [mines]\nlosses:")))
    assert code == 2
    assert "for an evaluation of your own, add --plugin FILE.py" in " ".join(err.split())


def plan_of(path: Path, tmp_path: Path) -> Plan:
    return check(load_suite(path), tmp_path)


def test_an_edited_evaluation_is_measured_again_and_never_trained_again(
    plugin: Callable[..., Path], write_suite: Write, tmp_path: Path, uri: str
) -> None:
    suite = write_suite(EVALUATE)
    read_plugins([plugin()])
    plan = plan_of(suite, tmp_path)
    assert [metric.unit for metric in plan.metrics] == ["% of images", "points"]
    tracker = Tracker.open(uri)
    tracker.start_suite(plan, {})
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "weights.pt").write_bytes(b"weights")
    for trial in plan.trials:
        tracker.finish(trial, a_result(trial), tmp_path / "made")

    def state() -> tuple[int, int]:
        """Numbers of trials to train and to measure."""
        status = load_status(plan_of(suite, tmp_path), uri)
        assert len(status.left) + len(status.to_measure) <= len(plan.trials)
        return len(status.left), len(status.to_measure)

    before = [(t.identity, t.measurement_identities) for t in plan.trials]
    assert state() == (0, 0)
    read_plugins([plugin(("from typing", "# a comment\nfrom typing"))])
    assert state() == (0, 0)
    read_plugins([plugin(("100 * share", "50 * share"))])
    assert state() == (0, len(plan.trials))
    after = [(t.identity, t.measurement_identities) for t in plan_of(suite, tmp_path).trials]
    for (training, (error, mine)), (same, (error_after, mine_after)) in zip(
        before, after, strict=True
    ):
        assert (same, error_after) == (training, error)
        assert mine_after != mine


def a_result(trial: object) -> TrialResult:
    values = {"error": 3.0, "mine": 5.0}
    return TrialResult(
        identity=trial.identity,  # type: ignore[attr-defined]
        status="finished",
        metrics=values,
        measurements=measurements_of(trial, values),  # type: ignore[arg-type]
        weights_digest="0",
        history=(),
        wall_time_sec=1.0,
        peak_memory_mib=1.0,
        device="cpu",
        environment={},
    )


def test_packages_register_evaluations_by_entry_points(
    monkeypatch: pytest.MonkeyPatch, write_suite: Write, tmp_path: Path
) -> None:
    class Point:
        name, value = "theirs", "thing:Theirs"
        dist = type("Dist", (), {"name": "numpy"})

        def load(self) -> object:
            return EVALUATIONS["error"].factory

    asked = []

    def points(group: str) -> list[Point]:
        asked.append(group)
        return [Point()]

    monkeypatch.setattr(importlib.metadata, "entry_points", points)
    evaluations: Registry[Evaluation] = Registry("evaluation", group="lossbench.evaluations")
    assert evaluations["theirs"].create().metrics()[0].name == "error"
    assert evaluations["theirs"].external
    assert asked == ["lossbench.evaluations"]
    assert EVALUATIONS._group == "lossbench.evaluations"

    monkeypatch.setattr("lossbench.runner.environment.EVALUATIONS", evaluations)
    [trial, *_] = plan_of(write_suite(), tmp_path).trials
    assert environment(trial, "theirs")["numpy"] == importlib.metadata.version("numpy")
