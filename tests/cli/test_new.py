"""`lossbench new-loss`, `new-evaluation` and `new-suite`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from lossbench.assembly.check import check
from lossbench.assembly.plugins import forget, read_plugins
from lossbench.cli.new import write_component, write_suite
from lossbench.errors import RequestError
from lossbench.runner.trial import run_trial
from lossbench.suite.load import load_suite
from lossbench.suite.shipped import shipped_suites


def test_a_new_loss_passes_its_own_test(tmp_path: Path) -> None:
    loss, test, suite = write_component("loss", "my_own", tmp_path / "new")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test.name]
    done = subprocess.run(
        command, cwd=tmp_path / "new", capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stdout
    read_plugins([loss])
    assert [row.label for row in check(load_suite(suite), tmp_path).rows] == [
        "softmax",
        "my_own",
        "lgm",
    ]

    text = loss.read_text(encoding="utf-8")
    for name in ("my_own", "softmax", "torch", "json", "lambda", "9x", "../up", "größe"):
        with pytest.raises(RequestError, match=f"new-loss {re.escape(name)}: "):
            write_component("loss", name, tmp_path / "new")
    assert loss.read_text(encoding="utf-8") == text
    assert sorted(p.name for p in (tmp_path / "new").glob("*.py")) == [loss.name, test.name]
    assert not (tmp_path / "up.py").exists()


def test_a_new_evaluation_passes_its_own_test_and_is_measured(tmp_path: Path) -> None:
    evaluation, test, suite = write_component("evaluation", "my_metric", tmp_path / "new")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test.name]
    done = subprocess.run(
        command, cwd=tmp_path / "new", capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stdout
    read_plugins([evaluation])
    plan = check(load_suite(suite, ["recipe.epochs=1", "seeds=[0]"]), tmp_path)
    assert [metric.name for metric in plan.metrics] == ["error", "my_metric"]
    (tmp_path / "out").mkdir()
    result = run_trial(plan.trials[0], data_root=tmp_path, artifacts=tmp_path / "out")
    assert result.failures == {}
    assert 0 <= result.metrics["my_metric"] <= 100
    forget(str(evaluation.resolve()))
    for name in ("error", "torch", "9x"):
        with pytest.raises(RequestError, match=f"new-evaluation {name}: "):
            write_component("evaluation", name, tmp_path / "new")


def test_a_shipped_suite_is_copied_once(tmp_path: Path) -> None:
    for name, path in shipped_suites().items():
        assert write_suite(name, tmp_path / "suites").read_bytes() == path.read_bytes()
    (tmp_path / "suites/digits.yaml").write_text("mine", encoding="utf-8")
    with pytest.raises(RequestError, match=r"digits\.yaml exists already"):
        write_suite("digits", tmp_path / "suites")
    assert (tmp_path / "suites/digits.yaml").read_text(encoding="utf-8") == "mine"
    with pytest.raises(RequestError, match="did you mean 'cifar10'"):
        write_suite("cifar-10", tmp_path / "other")
    assert not (tmp_path / "other").exists()
