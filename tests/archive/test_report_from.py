"""Reports, checks and rankings from archives are those of the database."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lossbench.archive.writing import writing_archive
from lossbench.assembly.check import check
from lossbench.assembly.plugins import forget, installed, read_plugins
from lossbench.suite.load import load_suite
from tests.archive.trained import SUITE, Stored, contents, edit, fill, worsen, write
from tests.assembly.test_plugins import PLUGIN
from tests.report.synthetic_report import result_of

Run = Callable[..., tuple[int, str, str]]
MakeStore = Callable[[str], str]
UPDATE = (
    "--update",
    *("--min-effect", "error=1", "--min-effect", "nll=0.1", "--min-effect", "brier_score=0.1"),
)
WITHOUT_LIBRARIES = """
import sys

class Hidden:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("torch", "ray", "mlflow", "torchvision"):
            raise ImportError(name)

sys.meta_path.insert(0, Hidden())
from lossbench.cli.main import main
main()
"""


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def differing(first: Path, second: Path) -> set[str]:
    """Names of the files in which two folders differ."""
    one, other = files_of(first), files_of(second)
    assert one.keys() == other.keys()
    return {name for name in one if one[name] != other[name]}


def without_command(text: str) -> list[str]:
    """Lines of a report without those of LaTeX that name the command."""
    return [line for line in text.splitlines() if not line.startswith("% command: ")]


@pytest.mark.parametrize("format_", ["json", "markdown", "csv", "latex"])
def test_results_from_an_archive_are_those_of_the_database(
    format_: str, stored: Stored, run: Run
) -> None:
    arguments = ["report", "--format", format_, "--only", "*"]
    database = run(*arguments, stored.suite, "--tracking-uri", stored.uri)
    archive = run(*arguments, "--from", stored.archive)
    assert without_command(archive[1]) == without_command(database[1])
    assert archive[0::2] == database[0::2] == (0, "")
    assert len(database[1]) > 300
    assert not list(Path().iterdir())


def test_the_report_of_an_archive_is_that_of_the_database(stored: Stored, run: Run) -> None:
    uri = ("--tracking-uri", stored.uri)
    assert run("report", stored.suite, "--output", "database", *uri)[0] == 0
    code, _, err = run("report", "--from", stored.archive, "--output", "archive")
    assert (code, err) == (0, "report: archive/report.html\n")
    # these name the file and the command that they were made from
    named = {"report.md", "report.html", "verdicts.json", "table.tex", ".report.json"}
    assert differing(Path("database"), Path("archive")) == named
    assert {"results.json", "results.csv", "table.tex"} < files_of(Path("archive")).keys()
    assert any(name.startswith("figures/") for name in files_of(Path("archive")))
    for name, where in (("database", stored.suite), ("archive", stored.archive)):
        verdicts = json.loads(Path(name, "verdicts.json").read_text(encoding="utf-8"))
        [origin] = verdicts.pop("made_from")
        assert Path(name, origin["file"]).resolve() == where.resolve()
        Path(name, "verdicts.json").write_text(json.dumps(verdicts), encoding="utf-8")
        path = Path(name, "report.md")
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if "small." not in line and name not in line]
        assert len(kept) > 0.7 * len(lines)
        path.write_text("\n".join(kept), encoding="utf-8")
        table = Path(name, "table.tex")
        table.write_text("\n".join(without_command(table.read_text(encoding="utf-8"))), "utf-8")
    assert differing(Path("database"), Path("archive")) == {"report.html", ".report.json"}


def test_seeds_of_two_archives_make_one_table(
    stored: Stored, run: Run, make_store: MakeStore
) -> None:
    parts = (stored.last_seeds, stored.first_seeds)
    json_ = ("--format", "json")
    whole = run("report", "--from", stored.archive, *json_)
    joint = run("report", "--from", parts[0], "--from", parts[1], *json_)
    cells = json.loads(joint[1])
    assert all(cell["n"] == 6 and cell["changes"] == ["seeds 0,1,2,3,4,5"] for cell in cells)
    for cell in cells:
        del cell["changes"]
    assert cells == json.loads(whole[1])

    uri = ("--tracking-uri", make_store("joint"))
    code, _, err = run("import", *parts, *uri)
    assert code == 0
    assert err.count(": 6 trainings imported, 0 with new measurements, 0 stored already") == 2
    assert run("report", stored.suite, *json_, *uri) == whole
    for name, arguments in {
        "joint": [stored.suite, *uri],
        "whole": [stored.suite, "--tracking-uri", stored.uri],
        "archives": ["--from", parts[0], "--from", parts[1]],
    }.items():
        assert run("report", "--output", name, *arguments)[0] == 0
    verdicts = [
        json.loads(Path(name, "verdicts.json").read_text(encoding="utf-8"))
        for name in ("joint", "whole", "archives")
    ]
    for each in verdicts:
        del each["made_from"]
    assert verdicts[0] == verdicts[1]
    assert json.dumps(verdicts[2]).replace('"seeds 0,1,2,3,4,5"', "") == json.dumps(verdicts[0])


def test_only_and_seeds_narrow_an_archive(stored: Stored, run: Run) -> None:
    arguments = ["--only", "lgm*", "--seeds", "4,1", "--format", "json"]
    code, out, err = run("report", "--from", stored.archive, *arguments)
    assert code == 0
    assert {(cell["loss"], cell["n"]) for cell in json.loads(out)} == {("lgm", 2)}
    assert err == "4 more seeds are stored: --seeds 0,1,2,3,4,5 shows them\n"


def test_an_archive_is_checked_against_a_baseline(stored: Stored, run: Run) -> None:
    uri = ("--tracking-uri", stored.uri)
    update = (*UPDATE, "--baseline")
    assert run("check", stored.suite, *uri, *update, "database.json")[0] == 0
    assert run("check", "--from", stored.archive, *update, "archive.json")[0] == 0
    made = [json.loads(Path(f).read_bytes()) for f in ("database.json", "archive.json")]
    for baseline in made:
        baseline.pop("command", None)
        baseline.get("made_with", {}).pop("command", None)
    assert made[0] == made[1]
    for format_ in ("json", "text"):
        arguments = ("--baseline", "database.json", "--format", format_)
        archive = run("check", "--from", stored.archive, *arguments)
        assert archive == run("check", stored.suite, *uri, *arguments)
        assert archive[0] == 0
    worse = Path("worse.zip")
    worse.write_bytes(stored.archive.read_bytes())
    for trial in stored.plan.trials:
        edit(worse, f"{trial.identity}/result.json", worsen)
    code, out, _ = run("check", "--from", worse, "--baseline", "database.json")
    assert code == 1, out
    assert "regression" in out


def test_archives_of_two_suites_are_ranked(
    stored: Stored, run: Run, tmp_path: Path, make_store: MakeStore
) -> None:
    second = _second_suite(stored, tmp_path, make_store("second"))
    assert run("export", second, "--output", "b.zip", "--tracking-uri", _uri(tmp_path))[0] == 0
    uri = make_store("both")
    run("import", stored.archive, "b.zip", "--tracking-uri", uri)
    code, table, _ = run("rank", stored.suite, second, "--tracking-uri", uri, "--output", "one")
    assert code == 0
    code, from_archives, _ = run(
        "rank", "--from", stored.archive, "--from", "b.zip", "--output", "two"
    )
    assert (code, from_archives) == (0, table)
    assert differing(Path("one"), Path("two")) <= {"ranking.md", "ranking.html", "ranking.json"}
    code, _, err = run("rank", "--from", stored.archive, "--from", stored.archive)
    assert (code, err) == (2, "error: a file is given twice\n")


def _uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/second/mlflow.db"


def _second_suite(stored: Stored, tmp_path: Path, uri: str) -> Path:
    """Another suite with three epochs and made-up results."""
    text = SUITE.replace("suite: small", "suite: second").replace("epochs: 2", "epochs: 3")
    suite = tmp_path / "second.yaml"
    suite.write_text(text, encoding="utf-8")
    plan = check(load_suite(suite), tmp_path)
    names = [metric.name for metric in plan.metrics]
    results = {
        trial.identity: result_of(
            trial, 5.0, metrics={name: 5.0 + trial.seed + len(trial.row) for name in names}
        )
        for trial in plan.trials
    }
    (tmp_path / "nothing").mkdir()
    fill(uri, plan, results, lambda trial: tmp_path / "nothing")
    return suite


def test_reports_of_archives_need_no_torch_ray_mlflow_data_or_plugin(
    run: Run, tmp_path: Path
) -> None:
    plugin = tmp_path / "elsewhere" / "my_loss.py"
    plugin.parent.mkdir()
    plugin.write_text(PLUGIN, encoding="utf-8")
    suite = tmp_path / "mine.yaml"
    text = SUITE.replace("suite: small", "suite: mine").replace(
        "  - lgm:", "  - mine: {heat: 2}\n  - lgm:"
    )
    suite.write_text(text, encoding="utf-8")
    read_plugins([plugin])
    plan = check(load_suite(suite), tmp_path)
    names = [metric.name for metric in plan.metrics]
    with writing_archive(Path("mine.zip"), "mine") as archive:
        for trial in plan.trials:
            values = {name: 5.0 + trial.seed + len(trial.row) for name in names}
            archive.add_training(trial, result_of(trial, 5.0, metrics=values), [])
        archive.finish(plan, {})
    code, table, err = run("report", "--from", "mine.zip", "--format", "markdown")
    assert code == 0, err
    assert "| mine" in table
    forget(str(plugin))
    plugin.unlink()
    elsewhere = tmp_path / "empty"
    elsewhere.mkdir()
    archive_path = Path("mine.zip").resolve()
    for arguments in (
        ["report", "--from", archive_path, "--format", "markdown"],
        ["report", "--from", archive_path, "--output", "page"],
        ["rank", "--from", archive_path, "--output", "ranking"],
        ["check", "--from", archive_path, *UPDATE],
    ):
        ended = subprocess.run(
            [sys.executable, "-c", WITHOUT_LIBRARIES, *map(str, arguments)],
            cwd=elsewhere,
            capture_output=True,
            text=True,
            encoding="utf-8",
        )
        assert ended.returncode == 0, ended.stderr
        if "--format" in arguments:
            assert ended.stdout == table
    made = {path.name for path in elsewhere.iterdir()}
    assert made == {"page", "ranking", "baselines"}


@pytest.fixture(autouse=True)
def _no_plugin_stays() -> Iterator[None]:
    yield
    for file in list(installed):
        forget(file)


def test_labels_are_escaped_in_reports(stored: Stored, run: Run, archive: Path) -> None:
    script = "<script>alert(1)</script>"

    def change(plan: dict[str, list[dict[str, object]]]) -> None:
        plan["metrics"][0]["label"] = f"error {script} [red]| $\\input{{x}}"
        plan["metrics"][0]["unit"] = script
        plan["suite"]["title"] = script  # type: ignore[call-overload]
        column = plan["columns"]["default"]  # type: ignore[call-overload]
        column["facts"]["class_names"] = [script] * 10

    edit(archive, "plan.json", change)
    code, out, err = run("report", "--from", archive, "--output", "page")
    assert code == 0, err
    assert "[red]" in out
    page = Path("page/report.html").read_text(encoding="utf-8")
    assert script not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    # the suite is in a block of code
    text, _, _ = Path("page/report.md").read_text(encoding="utf-8").partition("\n````")
    assert "error" in text
    assert script not in text
    assert r"\input{x}" not in Path("page/table.tex").read_text(encoding="utf-8")


def test_arrays_of_another_form_are_refused_in_one_line(
    run: Run, archive: Path, tmp_path: Path
) -> None:
    import io

    import numpy as np

    files = contents(archive)
    stream = io.BytesIO()
    np.savez(stream, strange=np.zeros(3))
    for name in files:
        if name.endswith("predictions.npz"):
            files[name] = stream.getvalue()
    write(archive, files)
    code, _, err = run("report", "--from", archive, "--output", "page")
    assert code == 2
    assert err.startswith(f"error: {archive}: cannot be reported: KeyError")
    assert err.count("\n") == 1
    assert not Path("page").exists()


def test_published_numbers_of_another_version_are_left_out(run: Run, archive: Path) -> None:
    edit(archive, "plan.json", lambda plan: plan["suite"].update(published="other_error"))
    code, _, err = run("report", "--from", archive, "--format", "markdown")
    assert code == 0
    assert err.startswith("without published numbers: unknown table 'other_error'")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give a suite file, or archives with --from FILE"),
        (["SUITE", "--from", "ARCHIVE"], "--from: the archive has its own suite; leave out SUITE"),
        (["--from", "ARCHIVE", "--set", "seeds=[0]"], "--set: has no effect together with --from"),
        (["--from", "ARCHIVE", "--tracking-uri", "x"], "--tracking-uri: has no effect together"),
        (["--from", "ARCHIVE", "--only", "x*"], "--only x*: matches no cell"),
        (["--from", "ARCHIVE", "--seeds", "x"], "--seeds x: should be whole numbers"),
        (["--from", "missing.zip"], "missing.zip: no such file"),
        (["--from", "ARCHIVE", "--from", "OTHER"], "is of another table than"),
    ],
)
def test_a_wrong_request_is_one_message(
    arguments: list[str], said: str, stored: Stored, run: Run, archive: Path
) -> None:
    other = Path("other.zip").absolute()
    other.write_bytes(archive.read_bytes())
    edit(other, "plan.json", lambda plan: plan["suite"]["recipe"].update(epochs=9))
    places = {"SUITE": stored.suite, "ARCHIVE": archive, "OTHER": other}
    given = [places.get(argument, argument) for argument in arguments]
    code, out, err = run("report", *given, "--format", "json")
    assert (code, out) == (2, "")
    assert said.replace("SUITE", str(stored.suite)) in err
    assert err.count("\n") == 1
