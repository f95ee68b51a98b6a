"""The action and the workflows as data, and the steps of the action as programs."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
BASH = ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c")
"""How GitHub starts the `run` lines of a step with `shell: bash`."""


def read_yaml(text: str) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load(text)
    return found


def read_action() -> dict[str, Any]:
    return read_yaml((ROOT / "action.yml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Done:
    """Result of the action.

    Attributes:
        failed: Name of the step that failed; empty if none did.
        code: Exit code of the last step that ran.
        output: Standard output of all steps.
        outputs: Outputs of the action.
        summary: The job's summary.
    """

    failed: str
    code: int
    output: str
    outputs: Mapping[str, str]
    summary: str


def run_action(folder: Path, programs: Path, **inputs: str) -> Done:
    """Run the steps of the action as GitHub does.

    Args:
        folder: Working folder.
        programs: Folder of `lossbench` and `python`, before the others of PATH.
        inputs: Inputs, with `_` for `-`; the others have their defaults.
    """
    action = read_action()
    given = {name.replace("_", "-"): value for name, value in inputs.items()}
    assert given.keys() <= action["inputs"].keys()
    values = {f"inputs.{n}": given.get(n, i.get("default")) for n, i in action["inputs"].items()}
    folder = folder.absolute()
    runner = folder / "runner"
    runner.mkdir()
    files = {name: runner / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    output, failed, code = "", "", 0
    for step in action["runs"]["steps"]:
        condition, _, wanted = step.get("if", "").partition(" == ")
        if failed or (condition and values[condition] != wanted.strip("'")):
            continue
        for file in files.values():
            file.touch()
        environment = {k: _substituted(v, values) for k, v in step.get("env", {}).items()}
        known = {**files, "RUNNER_TEMP": runner, "GITHUB_ACTION_PATH": ROOT}
        done = subprocess.run(
            [*BASH, step["run"]],
            cwd=folder,
            env={
                **os.environ,
                **{name: str(path) for name, path in known.items()},
                **environment,
                "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        output, code = output + done.stdout, done.returncode
        failed = step["name"] if code else ""
        for line in files["GITHUB_OUTPUT"].read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition("=")
            values[f"steps.{step['id']}.outputs.{name}"] = value
        files["GITHUB_OUTPUT"].unlink()
    outputs = {n: _substituted(o["value"], values) for n, o in action["outputs"].items()}
    return Done(
        failed, code, output, outputs, files["GITHUB_STEP_SUMMARY"].read_text(encoding="utf-8")
    )


def _substituted(text: str, values: Mapping[str, str | None]) -> str:
    """Replace expressions; outputs of steps that did not run are empty."""

    def value(found: re.Match[str]) -> str:
        assert found[1] in values or found[1].startswith("steps.")
        return values.get(found[1]) or ""

    return re.sub(r"\$\{\{ (\S+) \}\}", value, text)
