"""`lossbench weights list` and `prune`: messages and confirmation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lossbench.assembly.check import check
from lossbench.suite.load import load_suite
from lossbench.tracking.store import Tracker

Run = Callable[..., tuple[int, str, str]]
Store = Callable[..., None]
AMOUNT = "weights of 6 networks, 12.0 MiB"


@pytest.fixture
def stored(write_suite: Callable[..., Path], store: Store) -> list[Path]:
    """Files with weights of the six trials of a suite."""
    store(write_suite())
    results = Path("mlartifacts/small").glob("*/artifacts/result.json")
    files = [path.with_name("weights.pt") for path in results]
    for file in files:
        file.write_bytes(bytes(2 * 2**20))
    assert len(files) == 6
    return files


def test_list_prints_the_space_of_each_suite(stored: list[Path], run: Run) -> None:
    assert run("weights", "list") == (0, f"small: {AMOUNT}\n", "")


def test_prune_needs_a_confirmation(
    stored: list[Path], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    means = "without them, a new evaluation needs a new training of these networks"
    code, printed, messages = run("weights", "prune", "small")
    assert (code, printed) == (2, "")
    assert messages == f"error: small: {AMOUNT}; {means}. Delete them with --yes\n"
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    asked: list[str] = []
    monkeypatch.setattr("typer.confirm", lambda text: asked.append(text))
    code, _, messages = run("weights", "prune", "small")
    assert (code, messages) == (2, "error: nothing was deleted\n")
    assert asked == [f"small: {AMOUNT}; {means}. Delete them?"]
    assert all(file.exists() for file in stored)


def test_prune_deletes_the_weights_of_a_suite_file(
    stored: list[Path], run: Run, tmp_path: Path
) -> None:
    code, printed, messages = run("weights", "prune", tmp_path / "small.yaml", "--yes")
    assert (code, printed) == (0, "")
    assert messages == f"small: {AMOUNT} deleted; the results are kept\n"
    assert not any(file.exists() for file in stored)
    assert all((file.parent / "result.json").exists() for file in stored)
    code, _, messages = run("weights", "prune", "small", "--yes")
    assert (code, messages) == (0, "small: no stored weights\n")


def test_prune_warns_if_another_suite_depends_on_the_weights(
    stored: list[Path], run: Run, tmp_path: Path
) -> None:
    suite = load_suite(tmp_path / "small.yaml", ["suite=copy", "losses=[softmax]"])
    plan, tracker = check(suite, tmp_path), Tracker.open(None)
    tracker.results(plan.trials)
    tracker.start_suite(plan, {})
    assert tracker.adopt(plan.trials) == {"small": 2}
    code, _, messages = run("weights", "prune", "small", "--only", "softmax", "--yes")
    assert code == 0
    assert messages.splitlines()[0] == "warning: 2 trials of suite copy have no weights but these"
    code, _, messages = run("weights", "prune", "copy")
    assert code == 0
    assert messages.splitlines() == [
        "2 trials of copy were copied from suite small, which has their weights",
        "copy: no stored weights",
    ]


def test_wrong_names_are_refused(stored: list[Path], run: Run) -> None:
    code, _, messages = run("weights", "prune", "smal")
    assert code == 2
    assert "has no trials of suite 'smal'; did you mean 'small'?" in messages
    code, _, messages = run("weights", "prune", "missing.yaml")
    assert code == 2
    assert "missing.yaml" in messages
