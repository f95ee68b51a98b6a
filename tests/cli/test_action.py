"""The steps of action.yml, with lossbench on made-up results, and with a stub."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.actions import run_action
from tests.cli.conftest import Store

Run = Callable[..., tuple[int, str, str]]
Write = Callable[..., Path]


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Folder with `python` and `lossbench`."""
    folder = tmp_path / "programs"
    folder.mkdir()
    _write_program(folder / "python", f'exec {shlex.quote(sys.executable)} "$@"')
    _write_program(
        folder / "lossbench", f'exec {shlex.quote(sys.executable)} -m lossbench.cli "$@"'
    )
    return folder


def _write_program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/bash\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


def _write_stub(programs: Path, *, code: int, out: str = "### result", err: str = "") -> None:
    """Replace lossbench: it notes its arguments, and only `check` prints and fails."""
    script = f"""
printf '[%s]' "$@" >> calls; echo >> calls
test "$1" = run && exit 0
printf '%s' {shlex.quote(out)}
printf '%s' {shlex.quote(err)} >&2
exit {code}
"""
    _write_program(programs / "lossbench", script)


def test_unchanged_results_pass(run: Run, write_suite: Write, store: Store, programs: Path) -> None:
    """Everything is trained, so the first step trains nothing."""
    suite = write_suite()
    store(suite)
    assert run("check", suite, "--update", "--baseline", "main.json")[0] == 0
    inputs = {"suite": str(suite), "baseline": "main.json", "install": "false"}
    done = run_action(Path(), programs, **inputs, data_root=".", arguments="--only 'lgm(*'")
    assert (done.failed, done.code) == ("", 0), done.output
    assert "every trial has its result; nothing to run" in done.output
    assert done.outputs["exit-code"] == "0"
    assert done.outputs["outcome"] == "no regression"
    assert done.summary.startswith("### lossbench check small: no regression (2 identical)\n")
    assert Path(done.outputs["summary"]).read_text(encoding="utf-8") == done.summary


def test_a_regression_fails(run: Run, write_suite: Write, store: Store, programs: Path) -> None:
    suite = write_suite()
    store(suite)
    assert run("check", suite, "--update")[0] == 0
    path = Path("baselines/small.json")
    text = path.read_text(encoding="utf-8")
    assert '"values": [5.0, 5.1]' in text
    path.write_text(text.replace('"values": [5.0, 5.1]', '"values": [1.0, 1.1]'), encoding="utf-8")
    done = run_action(
        Path(), programs, suite=str(suite), data_root=".", install="false", run="false"
    )
    assert (done.failed, done.code) == ("Check", 1)
    assert "::error title=small%3A regression in default/softmax::" in done.output
    assert done.outputs["outcome"] == "regression"
    assert "| **regression** |" in done.summary


@pytest.mark.parametrize(
    ("code", "undecided", "failed", "outcome"),
    [
        (0, "fail", "", "no regression"),
        (1, "pass", "Check", "regression"),
        (3, "pass", "", "too little evidence"),
        (3, "fail", "Check", "too little evidence"),
    ],
)
def test_too_little_evidence_passes_only_if_asked(
    code: int, undecided: str, failed: str, outcome: str, programs: Path, tmp_path: Path
) -> None:
    _write_stub(programs, code=code)
    done = run_action(tmp_path, programs, suite="s.yaml", install="false", undecided=undecided)
    assert done.failed == failed
    assert done.code == (code if failed else 0)
    assert (done.outputs["exit-code"], done.outputs["outcome"]) == (str(code), outcome)
    assert done.summary == "### result"


@pytest.mark.parametrize(("code", "outcome"), [(2, "not comparable"), (1, "error")])
def test_the_summary_of_a_wrong_request_is_its_message(
    code: int, outcome: str, programs: Path, tmp_path: Path
) -> None:
    _write_stub(programs, code=code, out="", err="error: s.yaml: no such file\n")
    done = run_action(tmp_path, programs, suite="s.yaml", install="false", undecided="pass")
    assert (done.failed, done.code) == ("Check", code)
    assert "error: s.yaml: no such file" in done.output
    assert done.outputs["outcome"] == outcome
    assert done.summary == f"### lossbench check: {outcome}\n\n    error: s.yaml: no such file\n"


def test_arguments_are_words_and_nothing_in_them_is_executed(
    programs: Path, tmp_path: Path
) -> None:
    _write_stub(programs, code=0)
    arguments = "--only 'a b/*' --set title=\"$(touch made)\" ; touch made"
    done = run_action(
        tmp_path, programs, suite="my suite.yaml", arguments=arguments, install="false"
    )
    assert done.failed == ""
    options = "[--only][a b/*][--set][title=$(touch made)][;][touch][made][--data-root][data]"
    assert (tmp_path / "calls").read_text(encoding="utf-8").splitlines() == [
        f"[run][my suite.yaml]{options}",
        f"[check][my suite.yaml]{options}[--format][markdown]",
        f"[check][my suite.yaml]{options}[--format][github]",
    ]
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"arguments": "--only '32-D"}, "::error::arguments: No closing quotation"),
        ({"undecided": "ignore"}, "::error::undecided: 'ignore' should be 'pass' or 'fail'"),
    ],
)
def test_a_wrong_input_starts_nothing(
    inputs: dict[str, str], message: str, programs: Path, tmp_path: Path
) -> None:
    _write_stub(programs, code=0)
    done = run_action(tmp_path, programs, suite="s.yaml", install="false", **inputs)
    assert (done.failed, done.code) == ("Read the options", 2)
    assert message in done.output
    assert not (tmp_path / "calls").exists()


def test_the_action_installs_lossbench_with_exact_versions(programs: Path, tmp_path: Path) -> None:
    _write_stub(programs, code=0)
    real = (programs / "python").read_text(encoding="utf-8").splitlines()[1]
    note = """case "$*" in "-m pip install "*) printf '[%s]' "$@" > installed; exit ;; esac"""
    _write_program(programs / "python", f"{note}\n{real}")
    done = run_action(tmp_path, programs, suite="s.yaml")
    assert done.failed == ""
    root = Path(__file__).resolve().parents[2]
    assert (tmp_path / "installed").read_text(encoding="utf-8") == (
        f"[-m][pip][install][-c][{root / 'constraints.txt'}][{root}]"
    )
