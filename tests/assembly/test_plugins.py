"""Losses from a user's own file, and from installed packages."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from lossbench.assembly.check import check
from lossbench.assembly.plugins import forget, installed, read_plugins
from lossbench.errors import RequestError
from lossbench.losses import LOSSES, LossHead
from lossbench.planning.plan import Plan
from lossbench.planning.trial import Trial
from lossbench.records import TrialResult
from lossbench.registry import Registry
from lossbench.suite.load import load_suite
from lossbench.tracking.store import Tracker
from tests.synthetic_measurements import measurements_of
from tests.tracking.earlier_version import log_as_before

Write = Callable[..., Path]
PLUGIN = """\
import torch
from torch import nn
from torch.nn import functional as F
from lossbench.losses import LOSSES, LossHead

@LOSSES.register("mine")
class Mine(LossHead):
    def __init__(self, num_classes, feature_dim, *, heat: float = 0.5):
        super().__init__(num_classes, feature_dim)
        self.linear = nn.Linear(feature_dim, num_classes)
        self.heat = heat

    def terms(self, features, labels):
        return {"cross_entropy": F.cross_entropy(self.logits(features), labels)}

    def logits(self, features):
        return self.linear(features.float()) / self.heat
"""


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    yield
    for file in list(installed):
        forget(file)


@pytest.fixture
def plugin(tmp_path: Path) -> Callable[..., Path]:
    def write(*replace: tuple[str, str], text: str = PLUGIN, name: str = "my_loss.py") -> Path:
        for old, new in replace:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


def plan_of(path: Path, tmp_path: Path) -> Plan:
    return check(load_suite(path), tmp_path)


def test_an_edited_loss_changes_only_its_own_trials(
    plugin: Callable[..., Path], write_suite: Write, tmp_path: Path
) -> None:
    suite = write_suite(("  - lgm: {alpha: {grid: [0.0, 0.3]}}", "  - mine: {heat: 2}"))
    [read] = read_plugins([plugin()])
    before = {t.row: t.identity for t in plan_of(suite, tmp_path).trials}
    assert read_plugins([plugin()]) == (read,)  # once is enough, and twice no mistake
    assert {t.row: t.identity for t in plan_of(suite, tmp_path).trials} == before

    read_plugins([plugin(("/ self.heat", "* self.heat"))])
    after = {t.row: t.identity for t in plan_of(suite, tmp_path).trials}
    assert after["softmax"] == before["softmax"]
    assert after["mine"] != before["mine"]
    assert LOSSES["mine"].create(3, 2).logits.__code__ is not None

    renamed = plugin(name="renamed.py")
    forget(str(tmp_path / "my_loss.py"))
    read_plugins([renamed])
    assert {t.row: t.identity for t in plan_of(suite, tmp_path).trials} == before


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("import torch\n", "import torhc\n", r"No module named 'torhc' \(my_loss.py:1\)"),
        ("def terms(", "def terms", r"line 13: SyntaxError"),
        ('@LOSSES.register("mine")\n', "", "registers nothing; put @LOSSES"),
        ('"mine"', '"softmax"', "loss 'softmax' is registered twice"),
        ("heat: float = 0.5", "heat=0.5", "parameter 'heat' has no annotation"),
        ("(LossHead)", "(nn.Module)", "Mine is no LossHead"),
        ("    def logits", "    def logit", "Mine lacks logits"),
        ("class Mine", "1 / 0\nclass Mine", "SyntaxError"),
        ('@LOSSES.register("mine")', "1 / 0", r"ZeroDivisionError: division by zero \(my_loss"),
        ('@LOSSES.register("mine")', "raise SystemExit", "SystemExit"),
        ("heat: float", "heat: Heat", "name 'Heat' is not defined"),
    ],
)
def test_a_broken_plugin_gives_one_message_and_registers_nothing(
    plugin: Callable[..., Path], old: str, new: str, said: str
) -> None:
    with pytest.raises(RequestError, match=said) as caught:
        read_plugins([plugin((old, new))])
    assert "my_loss.py" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "mine" not in LOSSES
    read_plugins([plugin()])  # mended
    assert "mine" in LOSSES


def test_a_file_that_cannot_be_read(tmp_path: Path, plugin: Callable[..., Path]) -> None:
    path = plugin()
    with pytest.raises(RequestError, match=r"no such file; did you mean 'my_loss\.py'"):
        read_plugins([tmp_path / "my_los.py"])
    with pytest.raises(RequestError, match=r"did you mean .*my_loss\.py\?"):
        read_plugins([tmp_path / "my_loss"])
    with pytest.raises(RequestError, match="should be a Python file"):
        read_plugins([path.rename(tmp_path / "my-loss.py")])
    with pytest.raises(RequestError, match="directory"):
        read_plugins([tmp_path])
    with pytest.raises(RequestError, match="a module is called 'torch' already"):
        read_plugins([plugin(name="torch.py")])


def test_message_on_a_failing_loss_names_file_and_line(
    plugin: Callable[..., Path], write_suite: Write, tmp_path: Path
) -> None:
    read_plugins([plugin(("/ self.heat", "@ self.heat"))])
    suite = write_suite(("  - lgm: {alpha: {grid: [0.0, 0.3]}}", "  - mine"))
    with pytest.raises(RequestError, match=r"losses.mine: cannot be used: TypeError: .*my_loss.py"):
        plan_of(suite, tmp_path)


class _Point:
    def __init__(self, name: str, dist: str, factory: object) -> None:
        self.name, self.value, self._factory = name, f"{dist}:thing", factory
        self.dist = type("Dist", (), {"name": dist})

    def load(self) -> object:
        if isinstance(self._factory, Exception):
            raise self._factory
        return self._factory


def test_packages_register_losses_by_entry_points(
    monkeypatch: pytest.MonkeyPatch, write_suite: Write, tmp_path: Path
) -> None:
    softmax = LOSSES["softmax"].factory
    points = [
        _Point("theirs", "pydantic", softmax),
        _Point("broken", "bad-package", ImportError("no module named x")),
        _Point("twice", "one", softmax),
        _Point("twice", "two", softmax),
        _Point("softmax", "bad-package", ImportError("never imported")),
    ]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points)
    losses: Registry[LossHead] = Registry("loss", group="lossbench.losses")
    losses.register("softmax")(softmax)
    assert list(losses) == ["broken", "softmax", "theirs", "twice"]
    assert losses["theirs"].create(3, 2).num_classes == 3
    assert (losses["theirs"].distribution, losses["softmax"].distribution) == ("pydantic", "")
    with pytest.raises(RequestError, match=r"'broken' of bad-package .* no module named x"):
        losses["broken"]
    with pytest.raises(RequestError, match="'twice' is defined by one and by two"):
        losses["twice"]
    with pytest.raises(RequestError, match="did you mean 'theirs'"):
        losses["their"]


def test_results_with_the_digest_of_a_whole_file_are_used(
    plugin: Callable[..., Path], write_suite: Write, tmp_path: Path, uri: str
) -> None:
    """As earlier versions stored them, as long as the file is unchanged."""
    suite = write_suite(("  - lgm: {alpha: {grid: [0.0, 0.3]}}", "  - mine: {heat: 2}"))
    read_plugins([plugin()])
    plan = plan_of(suite, tmp_path)
    [trial, *_] = [trial for trial in plan.trials if trial.row == "mine"]
    assert Trial.model_validate_json(trial.model_dump_json()).identity == trial.identity
    text = hashlib.sha256((tmp_path / "my_loss.py").read_bytes()).hexdigest()[:16]
    earlier = trial.model_copy(update={"sources": {"loss mine": text}})
    assert trial.earlier_identity == earlier.identity != trial.identity
    (tmp_path / "made").mkdir()
    np.savez(tmp_path / "made" / "predictions.npz", labels=np.arange(3))
    client = MlflowClient(uri, registry_uri=uri)
    log_as_before(client, earlier, a_result(earlier), tmp_path / "made", tmp_path)
    found = Tracker.open(uri, create=False)
    [result] = found.results(plan.trials).values()
    assert (result.identity, result.metrics) == (trial.identity, {"error": 3.0})
    assert result.unmeasured == ()
    assert found.arrays(trial.identity, "predictions") is not None


def test_plan_reports_the_losses_that_are_trained_again_and_why(
    plugin: Callable[..., Path], write_suite: Write, tmp_path: Path, uri: str, run: Callable
) -> None:
    suite = write_suite(("  - lgm: {alpha: {grid: [0.0, 0.3]}}", "  - mine: {heat: 2}"))
    read_plugins([plugin()])
    plan = plan_of(suite, tmp_path)
    tracker = Tracker.open(uri)
    tracker.start_suite(plan, {})
    (tmp_path / "made").mkdir()
    for trial in plan.trials:
        tracker.finish(trial, a_result(trial), tmp_path / "made")
    arguments = ("plan", suite, "--plugin", tmp_path / "my_loss.py", "--tracking-uri", uri)
    count = sum(trial.row == "mine" for trial in plan.trials)
    said = f"the code of loss mine has changed: {count} trial"

    plugin(("import torch\n", "import torch  # a comment\n\n"))
    code, out, _ = run(*arguments)
    assert code == 0
    assert "0 to train, 0 to measure" in out
    assert "has changed" not in out

    plugin(("/ self.heat", "* self.heat"))
    code, out, _ = run(*arguments)
    assert code == 0
    assert f"{count} to train" in out
    assert said in " ".join(out.split())
    code, out, _ = run(*arguments, "--format", "json")
    assert json.loads(out)["changed_code"] == {"loss mine": count}

    for override in ("recipe.epochs=1", "recipe.clip_norm=1", "dataset.train_size=500"):
        code, out, _ = run(*arguments, "--set", override)  # another training anyway
        assert "has changed" not in out


def a_result(trial: Trial) -> TrialResult:
    return TrialResult(
        identity=trial.identity,
        status="finished",
        metrics={"error": 3.0},
        measurements=measurements_of(trial, {"error": 3.0}),
        history=(),
        wall_time_sec=1.0,
        peak_memory_mib=1.0,
        device="cpu",
        environment={},
    )


def test_an_evaluation_with_failing_metrics_gives_one_message(
    write_suite: Write, tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    file = tmp_path / "my_metric.py"
    file.write_text(
        "from lossbench.evaluation import EVALUATIONS, Evaluation\n"
        "from lossbench.records import Metric\n"
        "@EVALUATIONS.register('mine')\n"
        "class Mine(Evaluation):\n"
        "    def metrics(self): return (Metric(name='m', label='m', direction='higher'),)\n"
        "    def __call__(self, trained): ...\n",
        encoding="utf-8",
    )
    suite = write_suite(("losses:", "evaluate: [mine]\nlosses:"))
    code, out, err = run("plan", suite, "--plugin", file)
    assert (code, out) == (2, "")
    assert "evaluate.mine: cannot be used: ValidationError" in err
