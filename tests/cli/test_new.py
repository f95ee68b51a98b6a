"""`lossbench new`."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lossbench.assembly.check import check
from lossbench.assembly.plugins import forget, installed, read_plugins
from lossbench.assembly.registries import REGISTRIES
from lossbench.cli.new import write_component, write_suite
from lossbench.errors import RequestError
from lossbench.runner.trial import run_trial
from lossbench.suite.load import load_suite
from lossbench.suite.shipped import shipped_suites

Run = Callable[..., tuple[int, str, str]]
KINDS = ("loss", "model", "evaluation", "augmentation", "optimizer", "schedule")
BROKEN = {
    "loss": ("labels)}", "labels) * 2}"),
    "model": ("maps.mean((2, 3))", "maps.mean((2, 3)) - images.mean()"),
    "evaluation": ("posterior < threshold", "posterior > threshold"),
    "augmentation": ("(rows < side)", "(rows <= side)"),
    "optimizer": ("lr * (step", "0.1 * (step"),
    "schedule": ("min(1.0, remaining)", "min(2.0, remaining)"),
}
"""Kind -> a fault that its own test should find: a text of the template, and another one."""


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    yield
    for file in list(installed):
        forget(file)


def test_new_components_pass_their_own_tests_which_can_fail(tmp_path: Path) -> None:
    for kind in KINDS:
        write_component(kind, f"sound_{kind}", tmp_path)
        component, *_ = write_component(kind, f"broken_{kind}", tmp_path)
        text, (old, new) = component.read_text(encoding="utf-8"), BROKEN[kind]
        assert old in text, kind
        component.write_text(text.replace(old, new), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-rf", "-p", "no:cacheprovider", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8")
    failed = set(re.findall(r"^FAILED test_(\w+)\.py", done.stdout, re.MULTILINE))
    assert failed == {f"broken_{kind}" for kind in KINDS}, done.stdout
    assert " passed" in done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_the_suite_of_a_new_component_is_trained_and_measured(kind: str, tmp_path: Path) -> None:
    component, _, suite = write_component(kind, "my_own", tmp_path / "new")
    read_plugins([component])
    plan = check(load_suite(suite, ["recipe.epochs=1", "seeds=[0]"]), tmp_path)
    [entry] = [e for registry in REGISTRIES for e in registry.plugin_entries().values()]
    assert (entry.kind, entry.name) == (kind, "my_own")
    [trial, *_] = [
        trial for trial in plan.trials if kind == "evaluation" or f"{kind} my_own" in trial.sources
    ]
    (tmp_path / "out").mkdir()
    result = run_trial(trial, data_root=tmp_path, artifacts=tmp_path / "out")
    assert (result.status, result.failures) == ("finished", {})
    assert all(0 <= value <= 100 for value in result.metrics.values())
    assert set(result.metrics) == {"error", *(["my_own"] if kind == "evaluation" else [])}


@pytest.mark.parametrize("kind", KINDS)
def test_names_that_cannot_be_used_write_nothing(kind: str, tmp_path: Path) -> None:
    paths = write_component(kind, "my_own", tmp_path / "new")
    texts = [path.read_text(encoding="utf-8") for path in paths]
    [known] = [registry for registry in REGISTRIES if registry.kind == kind]
    taken = known.builtin_names[0]
    for name in ("my_own", taken, "torch", "json", "lambda", "9x", "../up", "größe"):
        with pytest.raises(RequestError, match=f"new {kind} {re.escape(name)}: "):
            write_component(kind, name, tmp_path / "new")
    assert [path.read_text(encoding="utf-8") for path in paths] == texts
    assert len(list((tmp_path / "new").iterdir())) == 3
    assert not (tmp_path / "up.py").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_writes_the_files_and_names_the_next_commands(
    kind: str, run: Run, tmp_path: Path
) -> None:
    code, out, _ = run("new", kind, "my_own", "--folder", tmp_path)
    assert code == 0
    assert f"lossbench run {tmp_path}/my_own.yaml --plugin {tmp_path}/my_own.py" in out
    assert f"python -m pytest {tmp_path}/test_my_own.py" in out
    assert ("test-loss my_own" in out) == (kind == "loss")
    code, _, err = run("new", kind, "my_own", "--folder", tmp_path)
    assert code == 2
    assert "my_own.yaml exist already" in err


def test_the_earlier_commands_still_work_but_are_not_listed(run: Run, tmp_path: Path) -> None:
    for kind, name in (("loss", "my_loss"), ("evaluation", "my_metric"), ("suite", "digits")):
        assert run(f"new-{kind}", name, "--folder", tmp_path / "old")[0] == 0
        assert run("new", kind, name, "--folder", tmp_path / "new")[0] == 0
    old, new = (
        {path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()}
        for folder in ("old", "new")
    )
    assert old == new
    assert len(old) == 7
    listed = run("--help")[1]
    assert "\n  new  " in listed
    assert "new-" not in listed


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
