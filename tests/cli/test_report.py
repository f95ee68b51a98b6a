"""`lossbench report`: folders and labels of reports, on made-up results."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]
Store = Callable[..., None]


def contents(folder: str) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in Path(folder).iterdir() if p.is_file()}


def test_reports_of_changed_suites_have_their_own_folder(
    run: Run, write_suite: Write, store: Store
) -> None:
    suite = write_suite()
    store(suite)
    assert run("report", suite)[0] == 0
    before = contents("reports/small")
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
    assert contents("reports/small") == before

    labelled = {name: text.decode() for name, text in contents(str(folder)).items()}
    assert f"<p>{label}</p>" in labelled["report.html"]
    assert label.replace("*", r"\*") in labelled["report.md"]
    assert labelled["table.tex"].startswith(f"% {label}\n")
    assert r"over 1 seed" not in labelled["table.tex"]
    assert "1 seed; changed: recipe.epochs=20; seeds 0; only lgm*." in labelled["table.tex"]
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
    assert contents("reports/small") == before


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
def test_changes_without_effect_on_numbers_are_not_listed(
    run: Run, write_suite: Write, store: Store, arguments: list[str]
) -> None:
    suite = write_suite()
    store(suite)
    assert run("report", suite, *arguments)[0] == 0
    assert [path.name for path in Path("reports").iterdir()] == ["small"]
    assert "changed:" not in Path("reports/small/report.md").read_text(encoding="utf-8")


def test_further_stored_seeds_are_listed(run: Run, write_suite: Write, store: Store) -> None:
    suite = write_suite()
    store(suite, "seeds=[0, 1, 2, 7]")
    store(suite, "recipe.epochs=20", "seeds=[9]")  # of another table
    note = "2 more seeds are stored: --seeds 0,1,2,7 shows them"
    _, out, _ = run("report", suite)
    assert note in " ".join(out.split())
    assert f"<p>{note}.</p>" in Path("reports/small/report.html").read_text(encoding="utf-8")
    assert note in Path("reports/small/report.md").read_text(encoding="utf-8")
    assert f"% {note}.\n" in Path("reports/small/table.tex").read_text(encoding="utf-8")
    for format in ("markdown", "latex", "csv", "json"):
        code, out, err = run("report", suite, "--format", format)
        assert (code, err) == (0, f"{note}\n")
        assert (note in out) == (format in ("markdown", "latex"))
    _, out, err = run("report", suite, "--seeds", "0,1,2,7", "--format", "latex")
    assert "over 4 seeds" in out
    assert "more seed" not in out + err
    one = "1 more seed is stored: --seeds 0,1,2,7 shows it"
    assert one in " ".join(run("report", suite, "--seeds", "7,2,0")[1].split())


def test_a_suite_of_the_same_name_does_not_replace_a_report(
    run: Run, write_suite: Write, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = write_suite()
    store(first)
    assert run("report", first)[0] == 0
    before = contents("reports/small")
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
    before = contents("reports/small")
    for verb in ("report", "run"):
        code, out, err = run(verb, second)
        assert (code, out) == (2, "")
        for part in ("reports/small", str(first), str(second), "`suite:`", "--output DIR"):
            assert part in " ".join(err.split())
    assert contents("reports/small") == before
    assert run("report", second, "--format", "csv")[0] == 0  # writes nothing

    code, _, err = run("report", second, "--output", "reports/small")
    assert code == 0
    assert f"(replaces the report of {first})" in " ".join(err.split())
    first.unlink()
    second.rename(first)
    code, _, err = run("report", first)  # the other one is gone
    assert code == 0
    assert "replaces" not in err


def test_an_edited_suite_replaces_its_report_with_a_note(
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
def test_a_folder_without_a_valid_record_is_replaced(
    run: Run, write_suite: Write, store: Store, content: str
) -> None:
    suite = write_suite()
    store(suite)
    Path("reports/small").mkdir(parents=True)
    Path("reports/small/verdicts.json").write_text(content, encoding="utf-8")
    assert run("report", suite)[0] == 0


def _never(*_: object, **__: object) -> None:
    raise AssertionError("a refused request was started")


def test_many_columns_have_figures_on_request(
    run: Run, write_suite: Write, store: Store, tmp_path: Path
) -> None:
    suite = write_suite()
    names = [f"c{i}" for i in range(9)]
    columns = ", ".join(f"{name}: {{recipe: {{epochs: {i + 1}}}}}" for i, name in enumerate(names))
    options = [f"variants={{{columns}}}", "seeds=[0]", "losses=[softmax]"]
    store(suite, *options)
    arguments = [word for option in options for word in ("--set", option)]
    for more, drawn in (([], names[:3]), (["--figures", "all"], names)):
        folder = tmp_path / f"drawn {len(drawn)}"
        code, _, err = run("report", suite, *arguments, *more, "--output", folder)
        assert code == 0, err
        assert {path.stem for path in folder.glob("figures/cost-*.png")} == {
            f"cost-{name}" for name in drawn
        }
        assert ("Of 9 columns only the first 3 have figures" in err) is (drawn != names)


def test_figures_are_drawn_in_as_many_processes_as_there_are_cores(
    run: Run, write_suite: Write, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    forks = []
    fork = os.fork
    monkeypatch.setattr(os, "fork", lambda: forks.append(1) or fork())
    monkeypatch.setattr("lossbench.report.figures.processes.usable_processes", lambda: 3)
    suite = write_suite()
    store(suite)
    code, _, err = run("report", suite)
    assert code == 0, err
    assert len(forks) == 2
