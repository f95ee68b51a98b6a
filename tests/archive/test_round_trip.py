"""Everything that is exported arrives, and nothing of the machine does."""

from __future__ import annotations

import getpass
import io
import platform
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lossbench.archive.reading import Archive
from lossbench.archive.store import ArchiveStore
from lossbench.archive.writing import writing_archive
from lossbench.assembly.check import check
from lossbench.errors import LossbenchError
from lossbench.planning.looks import start_looks, with_next_round
from lossbench.planning.plan import Plan
from lossbench.planning.plan_file import plan_record
from lossbench.planning.portable import portable_plan
from lossbench.planning.selection import PlanWithResults, load_plan_with_results
from lossbench.planning.trial import Trial
from lossbench.records import TrialResult
from lossbench.report import render
from lossbench.runner.trial import run_trial
from lossbench.suite.load import load_suite
from lossbench.tracking.store import Tracker
from lossbench.training.trained_weights import read_weights, weights_digest
from tests.archive.trained import Stored, contents, export_to, fill
from tests.report.synthetic_report import result_of
from tests.synthetic_plans import SyntheticStore

Run = Callable[..., tuple[int, str, str]]

SEARCHING = """
seeds: [0, 1]
evaluate: [error, balanced_error]
selection: {holdout: 0.25, samples: 4, stop_early: true, compare: [{center: {weight: 0.1}}]}
losses:
  - softmax
  - center: {weight: {grid: [0.1, 0.2]}}
  - lgm: {alpha: {search: {low: 0.01, high: 3, log: true}}}
variants: {2-D: {}, 3-D: {model: {feature_dim: 3}}}
"""


def results_in(uri: str, plan: Plan) -> dict[str, TrialResult]:
    return Tracker.open(uri, create=False).results(plan.trials)


def test_all_values_arrays_and_weights_arrive(
    stored: Stored, make_store: Callable[[str], str], run: Run
) -> None:
    uri = make_store("other")
    code, _, err = run("import", stored.archive_with_weights, "--tracking-uri", uri)
    assert (code, err.splitlines()[-1]) == (
        0,
        f"{stored.archive_with_weights}: 12 trainings imported, 0 with new measurements, "
        "0 stored already",
    )
    assert results_in(uri, stored.plan) == dict(stored.results)
    here, there = Tracker.open(stored.uri), Tracker.open(uri)
    names = ["predictions", "embedding", "reliability", "per_class_error"]
    for trial in stored.plan.trials:
        for tracker in (here, there):
            tracker.results([trial])
        for name in names:
            first, second = (t.arrays(trial.identity, name) for t in (here, there))
            assert first
            assert second
            assert first.keys() == second.keys()
            for key, array in first.items():
                assert array.dtype == second[key].dtype
                np.testing.assert_array_equal(array, second[key])
        files = dict(there.files(trial, weights=True))
        assert files.pop("trial.json") == trial.model_dump_json(indent=1).encode() + b"\n"
        assert files == dict(here.files(trial, weights=True))
        digest = weights_digest(read_weights(files["weights.pt"]))
        assert digest == stored.results[trial.identity].weights_digest


def test_equal_results_give_equal_archives(
    stored: Stored, make_store: Callable[[str], str], run: Run, tmp_path: Path
) -> None:
    export_to(tmp_path / "again.zip", stored.plan, stored.uri, weights=True)
    assert (tmp_path / "again.zip").read_bytes() == stored.archive_with_weights.read_bytes()
    uri = make_store("other")
    run("import", stored.archive_with_weights, "--tracking-uri", uri)
    code, _, _ = run(
        *("export", stored.suite, "--weights", "--output", tmp_path / "third.zip"),
        *("--tracking-uri", uri),
    )
    assert code == 0
    assert (tmp_path / "third.zip").read_bytes() == stored.archive_with_weights.read_bytes()


def test_trainings_are_in_the_order_of_the_suite(stored: Stored) -> None:
    archive = Archive(stored.archive)
    assert archive.manifest.trainings == [trial.identity for trial in stored.plan.trials]
    assert list(archive.trials.values()) == list(stored.plan.trials)
    assert archive.results == stored.results
    assert not any(archive.has_weights(identity) for identity in archive.trials)


@pytest.fixture
def searched(write_suite: Callable[..., Path], tmp_path: Path) -> PlanWithResults:
    """A suite with a selection and searches, with diverged and pruned trials."""
    head = "suite: searching\ndataset: digits\nmodel: {name: mlp}\n"
    recipe = "recipe: {epochs: 8, batch_size: 64, optimizer: {name: sgd, lr: 0.1}}\n"
    plan = check(load_suite(write_suite(text=head + recipe + SEARCHING)), tmp_path)

    class Store(SyntheticStore):
        def results(self, trials: Iterable[Trial]) -> dict[str, TrialResult]:
            return {trial.identity: made_up(trial) for trial in trials}

    return load_plan_with_results(plan, Store(lambda trial: 0.0))


def made_up(trial: Trial) -> TrialResult:
    if trial.row == "center(weight=0.2)" and trial.holdout:
        reason = "it was behind after epoch 5 of 8"
        return result_of(trial, 20, status="stopped", metrics={}, reason=reason)
    if trial.variant == "3-D" and trial.seed == 1 and trial.row == "softmax":
        return result_of(trial, 90, status="diverged")
    alpha = float(trial.loss.params.get("alpha", 1))
    return result_of(trial, 5 + np.log(alpha) ** 2 + trial.seed)


def test_selections_searches_pruned_and_diverged_trials_arrive(
    searched: PlanWithResults, tmp_path: Path, make_store: Callable[[str], str], run: Run
) -> None:
    path = tmp_path / "searching.zip"
    with writing_archive(path, "searching") as writer:
        for trial in searched.trials:
            writer.add_training(trial, searched.results[trial.identity], [])
        writer.finish(searched.plan, searched.plan.search_points)
    statuses = {result.status for result in searched.results.values()}
    assert statuses == {"finished", "diverged", "stopped"}
    archive = Archive(path)
    assert archive.search_points == searched.plan.search_points != {}
    found = load_plan_with_results(archive.plan, ArchiveStore([archive]))
    assert found.results == searched.results
    assert found.trials == searched.trials
    assert found.plan.rows == searched.plan.rows
    for name in ("json", "markdown", "csv", "latex"):
        assert render(found, name) == render(searched, name)
    uri = make_store("other")
    assert run("import", path, "--tracking-uri", uri)[0] == 0
    tracker = Tracker.open(uri, create=False)
    again = load_plan_with_results(archive.plan, tracker)
    assert again.results == searched.results
    assert again.plan.search_points == searched.plan.search_points


def test_a_table_with_added_seeds_arrives(
    stored: Stored, tmp_path: Path, make_store: Callable[[str], str], run: Run
) -> None:
    suite = stored.plan.suite.model_copy(update={"seeds": [0, 1], "reference": "softmax"})
    plan = replace(stored.plan, suite=suite)
    cells = [("default", row.label) for row in plan.rows]
    record = with_next_round(plan, start_looks(plan, 4), cells)
    source = SyntheticStore(lambda trial: 5.0 + trial.seed + 9.0 * (trial.row == "lgm"))
    source.records = {record.identity: record}
    found = load_plan_with_results(plan, source)
    assert {trial.seed for trial in found.trials} == {0, 1, 2}
    path, shorter = tmp_path / "looked.zip", tmp_path / "shorter.zip"
    for file, rounds in ((path, 2), (shorter, 1)):
        part = record.model_copy(update={"rounds": record.rounds[:rounds]})
        with writing_archive(file, suite.suite) as writer:
            for trial in found.trials:
                if trial.seed < rounds + 1:
                    writer.add_training(trial, found.results[trial.identity], [])
            writer.finish(replace(found.plan, looks=part), {})
    whole = Archive(path)
    read = load_plan_with_results(whole.plan, ArchiveStore([whole]))
    assert (read.plan.looks, read.trials) == (record, found.trials)
    assert render(read, "markdown") == render(found, "markdown")
    uri = make_store("other")
    for file in (path, shorter):  # of the same record, the longer one stays
        assert run("import", file, "--tracking-uri", uri)[0] == 0
        again = load_plan_with_results(whole.plan, Tracker.open(uri, create=False))
        assert (again.plan.looks, again.results) == (record, found.results)
    other = replace(found.plan, looks=record.model_copy(update={"max_seeds": 9}))
    with writing_archive(path, suite.suite) as writer:
        writer.add_training(found.trials[0], found.results[found.trials[0].identity], [])
        writer.finish(other, {})
    code, _, err = run("import", path, "--tracking-uri", uri)
    assert code == 1
    assert "another record of seeds added to this table, with 2 rounds up to 4 seeds" in (
        " ".join(err.split())
    )


def test_the_record_of_a_plan_has_all_of_it(stored: Stored, searched: PlanWithResults) -> None:
    for plan, path in ((stored.plan, stored.archive), (searched.plan, None)):
        kept = replace(plan, search_points={}, search_notes=())
        record = plan_record(portable_plan(kept))
        if path:
            assert plan_record(Archive(path).plan).model_dump() == record.model_dump()
        content = record.model_dump_json()
        assert type(record).model_validate_json(content).model_dump() == record.model_dump()


def test_the_plan_of_an_archive_plans_the_same_trials(stored: Stored) -> None:
    plan = Archive(stored.archive).plan
    assert plan.trials == stored.plan.trials
    assert plan.table_identity == stored.plan.table_identity
    assert (plan.metrics, plan.artifacts) == (stored.plan.metrics, stored.plan.artifacts)
    assert plan.head_requirements == stored.plan.head_requirements
    assert plan.columns == stored.plan.columns
    assert plan.limits == stored.plan.limits


def uncompressed(path: Path) -> bytes:
    """All bytes of an archive, with those of the NPZ files and weights in it decompressed."""
    whole = path.read_bytes()
    for name, content in contents(path).items():
        whole += name.encode() + content
        if name.endswith((".npz", ".pt")):
            with zipfile.ZipFile(io.BytesIO(content)) as file:
                whole += b"".join(file.read(entry) for entry in file.namelist())
    return whole


def test_nothing_of_the_machine_is_in_an_archive(
    tmp_path: Path,
    make_folder: Callable[..., Path],
    write_suite: Callable[..., Path],
    make_store: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MY_TOKEN", "a-very-secret-token")
    mine, other = make_folder("mine"), make_folder("unseen", classes=4)
    checkpoint = tmp_path / "initial.pt"
    torch.manual_seed(0)
    torch.save(torch.nn.Linear(1, 1).state_dict(), checkpoint)
    text = f"""
suite: private
dataset: {mine}
model: {{name: mlp}}
recipe: {{epochs: 1, batch_size: 16, optimizer: {{name: sgd, lr: 0.1}}}}
seeds: [0]
evaluate: [error, {{other_images: {{dataset: {other}}}}}]
losses: [softmax, center]
"""
    plan = check(load_suite(write_suite(text=text)), tmp_path)
    results = {}
    for trial in plan.trials:
        folder = tmp_path / trial.identity
        folder.mkdir()
        result = run_trial(trial, data_root=tmp_path, artifacts=folder)
        reason = f"{tmp_path}/a_file.py: a value was not finite; token a-very-secret-token"
        results[trial.identity] = result.model_copy(update={"reason": reason})
    uri = make_store("private")
    change = f"evaluate={{other_images: {{dataset: {other}}}}}"
    changed = replace(plan, changes=(change, f"model.checkpoint={checkpoint}"))
    fill(uri, changed, results, lambda trial: tmp_path / trial.identity)
    export_to(tmp_path / "private.zip", changed, uri, weights=True)
    content = uncompressed(tmp_path / "private.zip")
    private = [str(tmp_path), str(Path.home()) + "/", f"{platform.node()}:", "a-very-secret-token"]
    private += [getpass.getuser() + "/", "mlflow.db", "mlartifacts"]
    for text in private:
        assert text.encode() not in content, text
    archive = Archive(tmp_path / "private.zip", weights=True)
    assert [t.identity for t in archive.plan.trials] == [t.identity for t in plan.trials]
    assert archive.plan.suite.dataset.name == "mine"
    assert archive.plan.columns["default"].evaluations[1].params == {"dataset": "unseen"}
    assert archive.plan.changes[1] == "model.checkpoint=initial.pt"
    for identity, result in archive.results.items():
        assert result.metrics == results[identity].metrics
        assert result.reason == "a_file.py: a value was not finite; token ***"
        assert not ArchiveStore([archive]).results(archive.plan.trials)[identity].unmeasured


def test_an_archive_that_could_not_be_read_is_not_written(stored: Stored, tmp_path: Path) -> None:
    trial = stored.plan.trials[0]
    result = stored.results[trial.identity]
    [first, *_] = result.history
    long = result.model_copy(update={"history": (first,) * 200_000})
    with (
        pytest.raises(LossbenchError, match=r"result\.json has .* bytes; an archive may have"),
        writing_archive(tmp_path / "long.zip", "small") as writer,
    ):
        writer.add_training(trial, long, [])
    assert list(tmp_path.iterdir()) == []
