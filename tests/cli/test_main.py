"""The command line as its users type it: wrong requests, `--help`, and what commands import."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lossbench.cli.commands import COMMANDS
from tests.cli.conftest import Store

Write = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["run"], "Missing argument 'SUITE'"),
        (["rnu"], "No such command 'rnu'. Did you mean 'run'?"),
        (["run", "SUITE", "--sed", "1"], "No such option"),
        (["run", "SUITE", "--seeds", "0,x"], "--seeds 0,x: should be whole numbers"),
        (["run", "SUITE", "--set", "recipe.epoch=1"], "did you mean 'epochs'"),
        (["run", "SUITE", "--set", "published=table9"], "published: unknown table 'table9'"),
        (["run", "SUITE", "--only", "x*"], "--only x*: matches no cell"),
        (["run", "SUITE", "--set", "dataset=mnist"], "lossbench data prepare mnist"),
        (["run", "SUITE", "--tracking-uri", "http://127.0.0.1:9"], "no MLflow server can be"),
        (["run", "SUITE", "--tracking-uri", "nonsense"], "--tracking-uri sqlite:///"),
        (["run", "SUITE", "--address", "127.0.0.1:9"], "no Ray cluster there"),
        (["plan", "SUITE", "--set", "losses=[]"], "losses: should not be empty"),
        (["report", "SUITE"], "nothing has been run here yet"),
        (["report", "SUITE", "--format", "xml"], "'xml' is not one of"),
        (["check", "SUITE"], "baselines/small.json: no such file; `--update` writes it"),
        (["check", "SUITE", "--update"], "nothing has been run here yet"),
        (["check", "SUITE", "--accept"], "--accept: only together with --update"),
        (["check", "SUITE", "--min-effect", "error=1"], "--min-effect: only together with"),
        (["check", "SUITE", "--format", "xml"], "'xml' is not one of"),
        (["list", "loses"], "'loses' is not one of"),
        (["new-suite", "minst"], "no such suite; did you mean 'mnist'"),
        (["plan", "suites/mnist.yaml"], "no such file; `lossbench new suite mnist` writes"),
        (["data", "prepare", "minst"], "unknown data set 'minst'; did you mean 'mnist'"),
        (["ui"], "nothing has been run here yet"),
    ],
)
def test_a_wrong_request_is_one_message_and_exit_code_2(
    run: Run, write_suite: Write, arguments: list[str], expected: str
) -> None:
    suite = str(write_suite())
    code, out, err = run(*(suite if a == "SUITE" else a for a in arguments))
    assert code == 2
    assert expected in " ".join(err.split()).replace("│", "")
    assert "Traceback" not in err + out
    assert not Path(".lossbench").exists()
    assert not Path("reports").exists()


def test_help_has_examples(run: Run) -> None:
    for verb in ("run", "plan", "report", "check", "list", "ui"):
        code, out, _ = run(verb, "--help")
        assert code == 0
        assert f"  lossbench {verb}" in out


IMPORTS = """
import sys
from lossbench.cli.main import main

for arguments, code in {commands!r}:
    sys.argv = ["lossbench", *arguments]
    try:
        main()
    except SystemExit as ended:
        assert (ended.code or 0) == code, (arguments, ended.code)
    runner = [name for name in sys.modules if name.partition(".")[::2] == ("lossbench", "runner")]
    assert not runner, (arguments, runner)
    assert "ray" not in sys.modules, arguments
"""


def test_verbs_that_only_read_import_no_runner(write_suite: Write, store: Store, uri: str) -> None:
    suite = write_suite()
    store(suite)
    name, empty = str(suite), ["--tracking-uri", uri]
    commands = [
        (["plan", name, "--trials", *empty], 0),
        (["plan", name, "--audit", *empty], 0),
        (["report", name, "--format", "json", *empty], 0),
        (["check", name, "--update", *empty], 2),
        (["rank", name, *empty], 2),
        (["plan", name], 0),
        (["plan", name, "--trials"], 0),
        (["plan", name, "--audit"], 0),
        (["report", name], 0),
        (["report", name, "--format", "json"], 0),
        (["rank", name], 0),
        (["check", name, "--update"], 0),
        (["check", name], 0),
        (["list", "losses"], 0),
        (["list", "datasets"], 0),
        (["docs"], 0),
    ]
    code = IMPORTS.format(commands=commands)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_import_no_command(option: str) -> None:
    code = f"""
import atexit, sys
sys.argv = ["lossbench", {option!r}]
atexit.register(lambda: print(*sys.modules))
from lossbench.cli.main import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8", check=True
    )
    imported = set(done.stdout.splitlines()[-1].split())
    assert "lossbench.cli.commands" in imported
    slow = {"torch", "numpy", "mlflow", "ray", "matplotlib", "pydantic", "rich.console", "psutil"}
    commands = {f"lossbench.cli.{source.module}" for source in COMMANDS.values()}
    assert not imported & (slow | commands)
