"""Where reports go and how they are labelled; the results are stored without a training."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lossbench.assembly.check import check
from lossbench.cli.common import load_plan
from lossbench.planning.plan import Plan, file_label
from lossbench.planning.trial import Trial
from lossbench.records import EpochRecord, TrialResult
from lossbench.suite.load import load_suite
from lossbench.tracking.store import Tracker

Write = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]
Store = Callable[..., None]


@pytest.fixture
def store(tmp_path: Path, empty_database: Path, run: Run) -> Store:
    """Store made-up results of a suite in the working folder's database."""

    def store(suite: Path, *overrides: str) -> None:
        if not Path("mlflow.db").exists():
            shutil.copy(empty_database, "mlflow.db")
        plan = check(load_suite(suite, overrides), tmp_path)
        tracker = Tracker.open(None)
        tracker.start_suite(plan, {})
        (tmp_path / "nothing").mkdir(exist_ok=True)
        for trial in plan.trials:
            tracker.finish(trial, _result(plan, trial), tmp_path / "nothing")
        tracker.finish_suite("FINISHED")

    return store


def _result(plan: Plan, trial: Trial) -> TrialResult:
    level = [row.label for row in plan.rows].index(trial.row)
    return TrialResult(
        identity=trial.identity,
        status="finished",
        metrics={"error": 5.0 + level + 0.1 * trial.seed},
        history=(EpochRecord(epoch=1, timestamp_ms=1_700_000_000_000, metrics={}),),
        wall_time_sec=1.0,
        peak_memory_mib=200.0,
        device="cpu",
        environment={"torch": "2.13.0"},
    )


def _contents(folder: str) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in Path(folder).iterdir() if p.is_file()}


def test_changed_and_narrowed_reports_leave_the_suites_own_alone(
    run: Run, write_suite: Write, store: Store
) -> None:
    suite = write_suite()
    store(suite)
    assert run("report", suite)[0] == 0
    before = _contents("reports/small")
    assert json.loads(before["verdicts.json"])["made_from"][0]["file"] == "../../../small.yaml"
    store(suite, "recipe.epochs=20", "seeds=[0]")
    arguments = ["--set", "recipe.epochs=20", "--only", "lgm*", "--seeds", "0"]
    code, out, err = run("report", suite, *arguments)
    assert code == 0
    label = "small.yaml, changed: recipe.epochs=20; seeds 0; only lgm*."
    assert label in " ".join(out.split())
    [folder] = Path("reports").glob("small@*")
    assert f"report: {folder}/report.html" in " ".join(err.split())
    assert folder.name.startswith("small@only=lgm_+recipe.epochs=20+seeds=0-")
    assert _contents("reports/small") == before

    labelled = {name: text.decode() for name, text in _contents(str(folder)).items()}
    assert f"<p>{label}</p>" in labelled["report.html"]
    assert label.replace("*", r"\*") in labelled["report.md"]
    assert labelled["table.tex"].startswith(f"% {label}\n")
    assert r"over 1 seed" not in labelled["table.tex"]
    assert "1 seed; changed: recipe.epochs=20; seeds 0; only lgm*.}" in labelled["table.tex"]
    changes = ["recipe.epochs=20", "seeds 0", "only lgm*"]
    assert json.loads(labelled["verdicts.json"])["made_from"][0]["changes"] == changes
    assert all(cell["changes"] == changes for cell in json.loads(labelled["results.json"]))
    for line in csv.DictReader(io.StringIO(labelled["results.csv"])):
        assert line["changes"] == "; ".join(changes)
    for format in ("markdown", "latex", "csv", "json"):
        assert "recipe.epochs=20" in run("report", suite, *arguments, "--format", format)[1]

    for name, text in before.items():
        assert b"changed:" not in text, name
    assert run("report", suite)[2].endswith("reports/small/report.html\n")
    assert _contents("reports/small") == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["--set", "recipe.epochs=2"],
        ["--set", "title=Another title"],
        ["--set", "resources.gpus=0"],
        ["--seeds", "0,1"],
        ["--only", "*"],
        ["--only", "default/*"],
    ],
    ids=" ".join,
)
def test_what_changes_no_number_is_no_change(
    run: Run, write_suite: Write, store: Store, arguments: list[str]
) -> None:
    suite = write_suite()
    store(suite)
    assert run("report", suite, *arguments)[0] == 0
    assert [path.name for path in Path("reports").iterdir()] == ["small"]
    assert "changed:" not in Path("reports/small/report.md").read_text(encoding="utf-8")


def test_stored_seeds_that_were_not_asked_for_are_named(
    run: Run, write_suite: Write, store: Store
) -> None:
    suite = write_suite()
    store(suite, "seeds=[0, 1, 2, 7]")
    store(suite, "recipe.epochs=20", "seeds=[9]")  # of another table
    told = "2 more seeds are stored: --seeds 0,1,2,7 shows them"
    _, out, _ = run("report", suite)
    assert told in " ".join(out.split())
    assert f"<p>{told}.</p>" in Path("reports/small/report.html").read_text(encoding="utf-8")
    assert told in Path("reports/small/report.md").read_text(encoding="utf-8")
    assert f"% {told}.\n" in Path("reports/small/table.tex").read_text(encoding="utf-8")
    for format in ("markdown", "latex", "csv", "json"):
        code, out, err = run("report", suite, "--format", format)
        assert (code, err) == (0, f"{told}\n")
        assert (told in out) == (format in ("markdown", "latex"))
    _, out, err = run("report", suite, "--seeds", "0,1,2,7", "--format", "latex")
    assert "over 4 seeds" in out
    assert "stored" not in out + err
    one = "1 more seed is stored: --seeds 0,1,2,7 shows it"
    assert one in " ".join(run("report", suite, "--seeds", "7,2,0")[1].split())


def test_another_file_of_the_same_name_does_not_replace_a_report(
    run: Run, write_suite: Write, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = write_suite()
    store(first)
    assert run("report", first)[0] == 0
    before = _contents("reports/small")
    second = tmp_path / "other" / "small.yaml"
    second.parent.mkdir()
    second.write_text(first.read_text(encoding="utf-8"), encoding="utf-8")
    assert run("report", second)[0] == 0  # a copy has the same table
    second.write_text(
        first.read_text(encoding="utf-8").replace("[0.0, 0.3]", "[0.0, 0.5]"), encoding="utf-8"
    )
    store(second)
    monkeypatch.setattr("lossbench.runner.run.run_plan", _never)
    assert run("report", first)[0] == 0
    before = _contents("reports/small")
    for verb in ("report", "run"):
        code, out, err = run(verb, second)
        assert (code, out) == (2, "")
        for part in ("reports/small", str(first), str(second), "`suite:`", "--output DIR"):
            assert part in " ".join(err.split())
    assert _contents("reports/small") == before
    assert run("report", second, "--format", "csv")[0] == 0  # writes nothing

    code, _, err = run("report", second, "--output", "reports/small")
    assert code == 0
    assert f"(replaces the report of {first})" in " ".join(err.split())
    first.unlink()
    second.rename(first)
    code, _, err = run("report", first)  # the other one is gone
    assert code == 0
    assert "replaces" not in err


def test_an_edited_suite_says_that_it_replaces_its_report(
    run: Run, write_suite: Write, store: Store
) -> None:
    suite = write_suite()
    store(suite)
    run("report", suite)
    suite.write_text(
        suite.read_text(encoding="utf-8").replace("[0.0, 0.3]", "[0.0]"), encoding="utf-8"
    )
    code, _, err = run("report", suite)
    assert code == 0
    assert "(replaces the report of an earlier state of the suite" in " ".join(err.split())
    assert "replaces" not in run("report", suite)[2]


@pytest.mark.parametrize("content", ["", "[]", '{"made_from": 3}', '{"made_from": [{}, 4]}', "x"])
def test_a_folder_without_a_record_is_written(
    run: Run, write_suite: Write, store: Store, content: str
) -> None:
    suite = write_suite()
    store(suite)
    Path("reports/small").mkdir(parents=True)
    Path("reports/small/verdicts.json").write_text(content, encoding="utf-8")
    assert run("report", suite)[0] == 0


def test_rankings_of_other_suites_have_folders_of_their_own(
    run: Run, write_suite: Write, store: Store, tmp_path: Path
) -> None:
    suite = write_suite(("[0.0, 0.3]", "[0.3]"))
    store(suite, "seeds=[0, 1, 2]")
    other = tmp_path / "other.yaml"
    other.write_text(
        suite.read_text(encoding="utf-8").replace("suite: small", "suite: other"), encoding="utf-8"
    )
    store(other)
    assert run("rank", suite)[0] == 0
    before = _contents("reports/ranking/small")
    code, out, _ = run("rank", suite, other, "--metric", "error")
    assert code == 0
    assert "1 more seed is stored: --seeds 0,1,2 shows it" in " ".join(out.split())
    code, out, _ = run("rank", suite, "--set", "title=Other", "--seeds", "2")
    assert code == 0
    assert "small.yaml, changed: seeds 2" in " ".join(out.split())
    assert {path.name for path in Path("reports/ranking").iterdir()} == {
        "small",
        "small+other@metric=error",
        "small@seeds=2",
    }
    ranking = Path("reports/ranking/small@seeds=2")
    assert all(
        line["changes"] == "seeds 2"
        for line in csv.DictReader(
            io.StringIO((ranking / "ranking.csv").read_text(encoding="utf-8"))
        )
    )
    assert "small.yaml, changed: seeds 2" in (ranking / "ranking.html").read_text(encoding="utf-8")
    assert _contents("reports/ranking/small") == before

    second = tmp_path / "copy" / "small.yaml"
    second.parent.mkdir()
    second.write_text(suite.read_text(encoding="utf-8").replace("[0.3]", "[0.5]"), encoding="utf-8")
    store(second)
    code, _, err = run("rank", second)
    assert code == 2
    assert str(suite) in " ".join(err.split())
    assert str(second) in " ".join(err.split())
    assert _contents("reports/ranking/small") == before


def test_file_labels_are_distinct_and_plain() -> None:
    changes = [
        ("only lgm*",), ("only lgm",), ("only lgm?",), ("only 2-D/lgm*",), ("only 2-D_lgm*",),
        ("recipe.epochs=20",), ("recipe.epochs=20", "only lgm"), ("recipe.epochs=2",),
        ("recipe.optimizer={name: sgd, lr: 0.1}",), ("title=../../etc",), ("only " + "ä" * 300,),
        ("seeds " + ",".join(map(str, range(100))),), ("seeds " + ",".join(map(str, range(101))),),
    ]  # fmt: skip
    labels = [file_label("small", listed) for listed in changes]
    assert len(set(labels)) == len(labels)
    for label in labels:
        assert label.startswith("small@")
        assert len(label) < 120
        assert set(label) <= set("abcdefghijklmnopqrstuvwxyzDäÄ0123456789_.,=+-@") - set("äÄ")
    assert file_label("small", ("b=1", "a=2")) == file_label("small", ("a=2", "b=1"))
    assert file_label("small", ()) == "small"


def test_a_changed_suite_has_a_file_of_its_own_in_mlflow(
    run: Run, write_suite: Write, store: Store, tmp_path: Path
) -> None:
    suite = write_suite()
    store(suite)
    [whole] = Path("mlartifacts/small").glob("*/artifacts/suite.yaml")
    before = whole.read_text(encoding="utf-8")
    Tracker.open(None).start_suite(load_plan(suite, [], "lgm", "5", tmp_path, []), {})
    [narrowed] = whole.parent.glob("suite@*")
    assert whole.read_text(encoding="utf-8") == before
    assert narrowed.name == "suite@only=lgm+seeds=5.yaml"
    assert "seeds: [5]" in narrowed.read_text(encoding="utf-8")


def _never(*_: object, **__: object) -> None:
    raise AssertionError("a refused request was started")
