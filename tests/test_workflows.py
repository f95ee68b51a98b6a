"""The action, the workflows and the hooks of pre-commit: their form, and what they refer to."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.actions import ROOT, read_action, read_yaml

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SHOWN = re.findall(
    r"^```yaml\n(# \.github/workflows/.*?)^```$",
    (ROOT / "docs/guide/ci-gate.md").read_text(encoding="utf-8"),
    re.DOTALL | re.MULTILINE,
)
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in WORKFLOWS}
TEXTS |= {f"ci-gate.md-{number}": text for number, text in enumerate(SHOWN)}
ACTION = read_action()
STEP = {"id", "name", "if", "uses", "with", "run", "env", "shell"}
JOB = {"runs-on", "timeout-minutes", "strategy", "steps", "permissions", "needs", "if"}
JOB |= {"environment"}
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def jobs(text: str) -> Iterator[dict[str, Any]]:
    yield from read_yaml(text)["jobs"].values()


@pytest.mark.parametrize("name", TEXTS)
def test_the_form_of_a_workflow(name: str) -> None:
    text = TEXTS[name]
    workflow = read_yaml(text)
    assert (
        {"on", "jobs"}
        <= set(workflow)
        <= {"name", "on", "permissions", "concurrency", "env", "jobs"}
    )
    assert workflow["permissions"]["contents"] == "read"
    for job in jobs(text):
        assert {"runs-on", "steps", "timeout-minutes"} <= {*job, "timeout-minutes"} <= JOB
        for step in job["steps"]:
            assert set(step) <= STEP
            assert ("uses" in step) != ("run" in step)
            uses = step.get("uses", "./")
            assert re.fullmatch(r"\./|[\w-]+/[\w.-]+@(v\d[\d.]*|VERSION)", uses)


@pytest.mark.parametrize("name", TEXTS)
def test_a_workflow_gives_the_action_what_it_needs(name: str) -> None:
    for job in jobs(TEXTS[name]):
        for step in job["steps"]:
            if step.get("uses") == "./" or "lossbench@" in step.get("uses", ""):
                required = {n for n, found in ACTION["inputs"].items() if found.get("required")}
                assert required <= set(step["with"]) <= set(ACTION["inputs"])
                outputs = rf"steps\.{step['id']}\.outputs\.([\w-]+)" if "id" in step else "(?!)"
                assert set(re.findall(outputs, TEXTS[name])) <= set(ACTION["outputs"])
        ids = {step["id"] for step in job["steps"] if "id" in step}
        assert set(re.findall(r"steps\.([\w-]+)\.", str(job))) <= ids


def test_the_action_uses_every_input_and_sets_every_output() -> None:
    text = (ROOT / "action.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"inputs\.([\w-]+)", text)) == set(ACTION["inputs"])
    for name, output in ACTION["outputs"].items():
        assert output["value"] == f"${{{{ steps.check.outputs.{name} }}}}"
        assert f'echo "{name}=' in text
    for found in (*ACTION["inputs"].values(), *ACTION["outputs"].values()):
        assert found["description"].endswith(".")
    for found in ACTION["inputs"].values():
        assert found.get("required") or isinstance(found["default"], str)
    assert all(step["shell"] == "bash" for step in ACTION["runs"]["steps"])


def run_lines() -> Iterator[str]:
    for step in ACTION["runs"]["steps"]:
        yield step["run"]
    for text in TEXTS.values():
        for job in jobs(text):
            yield from (step["run"] for step in job["steps"] if "run" in step)


@pytest.mark.parametrize("script", list(run_lines()))
def test_commands_are_bash_without_expressions(script: str) -> None:
    """GitHub pastes the value of an expression into the script: a title could run commands."""
    subprocess.run(["bash", "-n", "-c", script], check=True)
    assert "${{" not in script


@pytest.mark.parametrize("script", list(run_lines()))
def test_files_that_commands_name_exist(script: str) -> None:
    named = re.findall(r"(?<![\w$/\"])((?:\.ci|suites|tests|deploy)/[\w./-]+|[\w-]+\.toml)", script)
    assert all((ROOT / name).exists() for name in named)


def test_the_tests_run_on_the_pythons_of_the_classifiers() -> None:
    prefix = "Programming Language :: Python :: 3."
    minors = [c.removeprefix(prefix) for c in PROJECT["project"]["classifiers"] if prefix in c]
    [job] = [job for job in jobs(TEXTS["tests.yml"]) if "strategy" in job]
    assert job["strategy"]["matrix"]["python-version"] == [f"3.{minor}" for minor in minors]
    assert PROJECT["project"]["requires-python"] == f">=3.{minors[0]}"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"Python 3.{minors[0]} to 3.{minors[-1]}" in readme


def test_the_hooks_of_pre_commit_are_the_checks_of_the_guide() -> None:
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    [repository] = read_yaml(text)["repos"]
    assert repository["repo"] == "local"
    names = [hook["name"] for hook in repository["hooks"]]
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    [line] = re.findall(r"^ruff check .*$", guide, re.MULTILINE)
    assert names == [re.sub(r" (\.|--check \.)$", "", part) for part in line.split(" && ")]
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].startswith(hook["name"])
        assert hook["entry"].split()[0] in {"ruff", "mypy", "lint-imports"}
