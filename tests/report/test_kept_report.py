"""A report is kept if nothing that determines it has changed, and written again otherwise."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lossbench.analysis.tables import make_tables
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.report import build, kept_report
from lossbench.report.kept_report import RECORD, report_key, write_report_if_changed
from tests.report.synthetic_report import make_arrays

BODY = "seeds: [0, 1]\nreference: softmax\nlosses: [softmax, {lgm: {alpha: 1.0, label: a}}]\n"


class Writer:
    """Writes a report into a folder, and counts how often it is built."""

    def __init__(self, folder: Path, found: PlanWithResults, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.found, self.built = folder, found, 0
        self.arrays: Mapping[str, np.ndarray] | None = make_arrays(found.plan.trials[0], 10, 50)
        built = build.build_report

        def count(*arguments: Any, **options: Any) -> list[Path]:
            self.built += 1
            return built(*arguments, **options)

        patch.setattr(build, "build_report", count)

    def read(self, identity: str, name: str) -> Mapping[str, np.ndarray] | None:
        first = self.found.plan.trials[0].identity
        return self.arrays if (identity, name) == (first, "embedding") else None

    def __call__(
        self, command: str = "c", *, every_figure: bool = False, processes: int = 1
    ) -> bool:
        """Whether the report was built."""
        before, tables = self.built, make_tables(self.found)
        files = write_report_if_changed(
            self.found,
            tables,
            self.read,
            self.folder,
            command,
            every_figure=every_figure,
            processes=processes,
        )
        assert files[0] == self.folder / "report.html"
        there = {path for path in self.folder.rglob("*") if path.is_file()}
        assert set(files) == there - {self.folder / RECORD, self.folder / "figures" / "own.png"}
        return self.built > before


@pytest.fixture
def write(
    make_plan: Callable[..., Plan], run_all: Callable, tmp_path: Path, monkeypatch: Any
) -> Writer:
    plan = make_plan(BODY)
    writer = Writer(tmp_path / "out", PlanWithResults(plan, run_all(plan)), monkeypatch)
    assert writer()
    return writer


def test_an_unchanged_report_is_kept(write: Writer) -> None:
    times = {path: path.stat().st_mtime_ns for path in write.folder.rglob("*")}
    assert not write()
    assert {path: path.stat().st_mtime_ns for path in write.folder.rglob("*")} == times


def test_a_changed_value_is_shown(write: Writer) -> None:
    identity = write.found.plan.trials[1].identity
    result = write.found.results[identity]
    changed = result.model_copy(update={"metrics": {"error": 77.77}})
    write.found = replace(write.found, results={**write.found.results, identity: changed})
    assert write()
    assert "77.77" in (write.folder / "results.json").read_text(encoding="utf-8")
    assert not write()


def test_any_field_of_a_result_changes_the_key(write: Writer) -> None:
    def key(found: PlanWithResults) -> str:
        return report_key(found, write.folder, "c", every_figure=False)

    found, keys = write.found, set()
    identity, result = next(iter(found.results.items()))
    epoch = result.history[0]
    for update in (
        {},
        {"metrics": {"error": 1.0}},
        {"wall_time_sec": 1.0},
        {"device": "gpu"},
        {"unmeasured": ("error",)},
        {"history": (epoch.model_copy(update={"metrics": {"train_loss": 9.0}}),)},
    ):
        changed = {**found.results, identity: result.model_copy(update=update)}
        keys.add(key(replace(found, results=changed)))
    assert len(keys) == 6
    plan, suite = found.plan, found.plan.suite
    row = replace(plan.rows[1], label="other label")
    for other in (
        replace(plan, suite=suite.model_copy(update={"title": "other title"})),
        replace(plan, rows=(plan.rows[0], row)),
        replace(plan, changes=("recipe.epochs=3",)),
        replace(plan, more_seeds=(7,)),
        replace(plan, metrics=(plan.metrics[0].model_copy(update={"unit": "s"}),)),
    ):
        keys.add(key(replace(found, plan=other)))
    assert len(keys) == 11


def test_other_arrays_count(write: Writer) -> None:
    assert write.arrays is not None
    write.arrays = {**write.arrays, "features": write.arrays["features"] + 1}
    assert write()
    assert not write()
    write.arrays = None
    own = write.folder / "figures" / "own.png"
    own.write_bytes(b"of the user")
    assert write()
    assert own.is_file()
    assert not list(write.folder.glob("figures/embedding*"))  # of the report before


def test_other_commands_and_options_count(write: Writer) -> None:
    assert write("other command")
    assert "other command" in (write.folder / "report.md").read_text(encoding="utf-8")
    assert write("other command", every_figure=True)
    assert not write("other command", every_figure=True)


def test_other_code_and_libraries_count(write: Writer, monkeypatch: Any) -> None:
    monkeypatch.setattr(kept_report, "_code_digest", lambda: "other")
    assert write()
    monkeypatch.setattr(kept_report, "LIBRARIES", ("numpy",))
    assert write()
    assert not write()


def test_the_digest_of_the_code_has_all_files(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    for name in ("__init__.py", "report/style.py", "report/page.css"):
        (tmp_path / name).write_text("one", encoding="utf-8")
    digests = set()
    for name in ("__init__.py", "report/style.py", "report/page.css"):
        digests.add(kept_report._code_digest.__wrapped__(tmp_path))
        (tmp_path / name).write_text("two", encoding="utf-8")
    digests.add(kept_report._code_digest.__wrapped__(tmp_path))
    assert len(digests) == 4


@pytest.mark.parametrize("name", ["report.html", "figures/cost-default.png", RECORD])
def test_a_damaged_or_deleted_file_is_written_again(write: Writer, name: str) -> None:
    path = write.folder / name
    good = path.read_bytes()
    for damaged in (good[:-1], b"", b"[]", b"{}", None) if name == RECORD else (good[:-1], None):
        if damaged is None:
            path.unlink()
        else:
            path.write_bytes(damaged)
        assert write()
        assert path.read_bytes() == good
    assert not write()


def test_an_interrupted_report_is_written_again(write: Writer, monkeypatch: Any) -> None:
    from lossbench.suite.atomic_files import write_atomically

    written: list[Path] = []

    def until_full(path: Path, content: bytes) -> None:
        if len(written) == 3:
            raise OSError("no space left")
        written.append(path)
        write_atomically(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(build, "write_atomically", until_full)
        with pytest.raises(OSError, match="no space"):
            write("other command")
    assert write("other command")
    assert write()  # the first command again


@pytest.mark.parametrize("processes", [1, 3])
def test_figures_with_other_fonts_are_always_drawn(
    processes: int,
    make_plan: Callable[..., Plan],
    run_all: Callable,
    tmp_path: Path,
    monkeypatch: Any,
) -> None:
    plan = make_plan(BODY.replace("label: a", "label: '猫'"))
    write = Writer(tmp_path / "out", PlanWithResults(plan, run_all(plan)), monkeypatch)
    assert write(processes=processes)
    assert write(processes=processes)
    assert not (write.folder / RECORD).exists()


def test_an_unchanged_report_needs_no_drawing_library(write: Writer) -> None:
    code = (
        "import sys, lossbench.report, lossbench.report.kept_report\n"
        "print([m for m in ('matplotlib', 'seaborn', 'pandas', 'torch') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, encoding="utf-8"
    )
    assert done.stdout.strip() == "[]"
    content = json.loads((write.folder / RECORD).read_text(encoding="utf-8"))
    assert content["files"].keys() >= {"report.html", "figures/cost-default.png"}
