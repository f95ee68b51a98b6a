"""`lossbench export` and `lossbench import`: what is stored, skipped, added and refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lossbench.assembly.check import check
from lossbench.planning.plan import Plan
from lossbench.records import TrialResult
from lossbench.suite.load import load_suite
from lossbench.tracking.store import Tracker
from tests.archive.trained import SUITE, Stored, edit, worsen

Run = Callable[..., tuple[int, str, str]]
MakeStore = Callable[[str], str]


def last_line(err: str) -> str:
    return err.splitlines()[-1]


def results_in(uri: str, plan: Plan) -> dict[str, TrialResult]:
    return Tracker.open(uri, create=False).results(plan.trials)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_nothing_to_export_is_a_message(stored: Stored, run: Run, make_store: MakeStore) -> None:
    uri = ("--tracking-uri", make_store("empty"))
    code, _, err = run("export", stored.suite, "--output", "x.zip", *uri)
    assert (code, err) == (
        2,
        f"error: {stored.suite}: no trial has a result yet; there is nothing to export\n",
    )
    assert not list(Path().iterdir())


def test_an_export_names_what_is_missing(stored: Stored, run: Run, make_store: MakeStore) -> None:
    uri = ("--tracking-uri", make_store("half"))
    run("import", stored.first_seeds, *uri)
    code, _, err = run("export", stored.suite, "--output", "x.zip", "--weights", *uri)
    assert code == 0
    lines = " ".join(err.split())
    assert "x.zip: 6 trainings; 6 of 12 trials have no result yet" in lines
    assert "without weights, which are not stored: default/softmax/seed0" in lines
    Path("folder").mkdir()
    code, _, err = run("export", stored.suite, "--output", "folder", *uri)
    assert code == 1
    assert err.startswith("error: folder: not written: ")
    assert list(Path("folder").iterdir()) == []
    assert {path.name for path in Path().iterdir()} == {"x.zip", "folder"}


def test_an_import_of_the_same_changes_nothing(
    stored: Stored, run: Run, make_store: MakeStore, tmp_path: Path
) -> None:
    uri = ("--tracking-uri", make_store("twice"))
    assert run("import", stored.first_seeds, *uri)[0] == 0
    database = tmp_path / "twice"
    before, results = files_of(database / "mlartifacts"), results_in(uri[1], stored.plan)
    code, _, err = run("import", stored.first_seeds, stored.first_seeds, *uri)
    assert code == 0
    assert err.count(": 0 trainings imported, 0 with new measurements, 6 stored already\n") >= 1
    assert files_of(database / "mlartifacts") == before
    assert results_in(uri[1], stored.plan) == results


def test_different_values_are_shown_and_the_stored_ones_stay(
    stored: Stored, run: Run, make_store: MakeStore, archive: Path
) -> None:
    uri = ("--tracking-uri", make_store("conflict"))
    run("import", stored.archive, *uri)
    before = results_in(uri[1], stored.plan)

    def retrained(result: dict[str, object]) -> None:
        worsen(result)
        result["weights_digest"] = "0123456789abcdef"

    edit(archive, "result.json", retrained)
    code, _, err = run("import", archive, *uri)
    first = stored.plan.trials[0]
    value = stored.results[first.identity].metrics["error"]
    line = f"{first.name}: error: {value!r} stored, 99.0 in {archive}"
    assert (code, last_line(err)) == (1, line)
    assert "0 trainings imported, 0 with new measurements, 12 stored already" in err
    assert results_in(uri[1], stored.plan) == before

    code, _, err = run("report", "--from", stored.archive, "--from", archive, "--format", "json")
    assert code == 0
    assert err == f"not used, because another archive differs: {archive}: {first.name}\n"


def test_weights_of_another_network_are_a_difference(
    stored: Stored, run: Run, make_store: MakeStore, archive: Path
) -> None:
    uri = ("--tracking-uri", make_store("conflict"))
    run("import", stored.archive, *uri)
    edit(archive, "result.json", lambda result: result.update(weights_digest="0" * 16))
    code, _, err = run("import", archive, *uri)
    digest = stored.results[stored.plan.trials[0].identity].weights_digest
    assert (code, last_line(err)) == (
        1,
        f"{stored.plan.trials[0].name}: weights: digest {digest} stored, {'0' * 16} in {archive}",
    )


def test_further_measurements_are_added(
    stored: Stored, run: Run, make_store: MakeStore, archive: Path
) -> None:
    first = stored.plan.trials[0]

    def reduce(result: dict[str, object]) -> None:
        records = result["measurements"]
        assert isinstance(records, list)
        result["measurements"] = records[:1]
        result["metrics"] = records[0]["metrics"]

    edit(archive, "result.json", reduce)
    uri = ("--tracking-uri", make_store("reduced"))
    run("import", archive, *uri)
    reduced = results_in(uri[1], stored.plan)[first.identity]
    assert reduced.unmeasured == ("calibration", "balanced_error")
    code, _, err = run("import", stored.archive_with_weights, *uri)
    assert code == 0
    assert "0 trainings imported, 1 with new measurements, 11 with weights that were" in err
    assert results_in(uri[1], stored.plan) == dict(stored.results)
    tracker = Tracker.open(uri[1])
    tracker.results(stored.plan.trials)
    assert tracker.arrays(first.identity, "reliability")
    code, _, err = run("import", archive, *uri)  # the reduced one adds nothing
    assert (code, "12 stored already" in err) == (0, True)


def test_weights_that_are_not_stored_are_added(
    stored: Stored, run: Run, make_store: MakeStore
) -> None:
    uri = ("--tracking-uri", make_store("weights"))
    run("import", stored.archive, *uri)
    for counts in (
        "0 with new measurements, 12 with weights that were not stored, 0 stored already",
        "0 with new measurements, 12 stored already",
    ):
        code, _, err = run("import", stored.archive_with_weights, *uri)
        path = stored.archive_with_weights
        assert (code, last_line(err)) == (0, f"{path}: 0 trainings imported, {counts}")
    tracker = Tracker.open(uri[1], create=False)
    assert tracker.results(stored.plan.trials) == dict(stored.results)
    assert all(map(tracker.has_weights, stored.plan.trials))


def test_a_plan_says_which_trials_to_measure_have_no_weights(
    stored: Stored, run: Run, make_store: MakeStore
) -> None:
    uri = ("--tracking-uri", make_store("plan"))
    more = ("--set", "evaluate=[error, knn]", *uri)
    run("import", stored.archive, *uri)
    text = "no stored weights: "
    for option in ((), ("--trials",)):
        _, out, _ = run("plan", stored.suite, *option, *more)
        assert "12 of the trials to measure have no stored weights: they have to be" in out
    _, out, _ = run("plan", stored.suite, *more, "--seeds", "0", "--only", "softmax")
    assert "1 of the trials to measure has no stored weights: it has to be trained again" in out
    assert text not in run("plan", stored.suite, *uri)[1]  # nothing to measure
    run("import", stored.archive_with_weights, *uri)
    assert text not in run("plan", stored.suite, *more)[1]


def test_results_that_another_suite_adopted_are_exported_with_their_weights(
    stored: Stored, run: Run, make_store: MakeStore, tmp_path: Path
) -> None:
    uri = make_store("adopting")
    run("import", stored.archive_with_weights, "--tracking-uri", uri)
    suite = tmp_path / "another.yaml"
    suite.write_text(SUITE.replace("suite: small", "suite: another"), encoding="utf-8")
    plan = check(load_suite(suite), tmp_path)
    tracker = Tracker.open(uri)
    tracker.start_suite(plan, {})
    tracker.results(plan.trials)
    assert tracker.adopt(plan.trials) == {"small": 12}
    tracker.finish_suite("FINISHED")
    arguments = ("--output", "another.zip", "--weights", "--tracking-uri", uri)
    code, _, err = run("export", suite, *arguments)
    assert (code, err) == (0, "another.zip: 12 trainings\n")
    fresh = make_store("fresh")
    assert run("import", "another.zip", "--tracking-uri", fresh)[0] == 0
    imported = Tracker.open(fresh)
    assert imported.results(plan.trials) == dict(stored.results)
    assert all(imported.has_weights(trial) for trial in plan.trials)

    # the same networks under the other name are found, not imported again
    code, _, err = run("import", stored.archive, "--tracking-uri", fresh)
    assert (code, "0 trainings imported" in err) == (0, True)
    assert run("report", stored.suite, "--tracking-uri", fresh, "--format", "json")[0] == 0


def test_results_of_the_version_before_are_kept(
    stored: Stored, run: Run, make_store: MakeStore, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    from tests.tracking.earlier_version import log_as_before

    uri = make_store("earlier")
    client = MlflowClient(uri, registry_uri=uri)
    (tmp_path / "nothing").mkdir()
    for trial in stored.plan.trials[:3]:
        result = stored.results[trial.identity]
        log_as_before(client, trial, result, tmp_path / "nothing", tmp_path / "earlier")
    code, _, err = run("import", stored.archive_with_weights, "--tracking-uri", uri)
    assert code == 0, err
    assert "9 trainings imported, 0 with new measurements, 3 stored already" in err
    found = results_in(uri, stored.plan)
    assert {i: r.metrics for i, r in found.items()} == {
        i: r.metrics for i, r in stored.results.items()
    }
