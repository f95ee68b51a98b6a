"""`lossbench export` and `lossbench import`: results of a suite as one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from lossbench.cli.common import load_plan, load_results
from lossbench.cli.console import err
from lossbench.cli.options import (
    DEFAULT_DATA_ROOT,
    DataRootOption,
    OnlyOption,
    PluginOption,
    SeedsOption,
    SetOption,
    SuiteArgument,
    TrackingOption,
    expand,
    expand_all,
)
from lossbench.errors import LossbenchError, RequestError

if TYPE_CHECKING:
    from lossbench.archive.reading import Archive
    from lossbench.planning.trial import Trial
    from lossbench.records import TrialResult
    from lossbench.tracking.store import Tracker


def export(
    suite: SuiteArgument,
    output: Annotated[
        Path,
        typer.Option("--output", metavar="FILE", callback=expand, help="Archive to write (.zip)."),
    ],
    set_: SetOption = [],  # noqa: B006
    only: OnlyOption = None,
    seeds: SeedsOption = None,
    data_root: DataRootOption = DEFAULT_DATA_ROOT,
    tracking_uri: TrackingOption = None,
    plugin: PluginOption = [],  # noqa: B006
    weights: Annotated[
        bool, typer.Option("--weights", help="Include the weights, so that more can be measured.")
    ] = False,
) -> None:
    """Write the stored results of a suite to one archive.

    Others can report from it (lossbench report --from FILE) or add it to their own results
    (lossbench import FILE).

    \b
    Examples:
      lossbench export suites/digits.yaml --output digits.zip
      lossbench export suites/mnist.yaml --data-root data --output mnist.zip --weights
    """
    from lossbench.archive.writing import writing_archive

    plan = load_plan(suite, set_, only, seeds, data_root, plugin)
    found, tracker = load_results(plan, tracking_uri)
    trained = [trial for trial in found.trials if trial.identity in found.results]
    if not trained:
        raise RequestError(f"{suite}: no trial has a result yet; there is nothing to export")
    without = []
    try:
        with writing_archive(output, plan.suite.suite) as archive, err.status("exporting"):
            for trial in trained:
                result = tracker.stored_result(trial)
                assert result is not None
                if weights and result.weights_digest and not tracker.has_weights(trial):
                    without.append(trial.name)
                archive.add_training(trial, result, tracker.files(trial, weights=weights))
            archive.finish(found.plan, found.plan.search_points)
    except OSError as error:
        raise LossbenchError(f"{output}: not written: {error.strerror or error}") from None
    missing = len(found.trials) - len(trained)
    left = f"; {missing} of {len(found.trials)} trials have no result yet" if missing else ""
    err.print(f"{output}: {_trainings(len(trained))}{left}", highlight=False, soft_wrap=True)
    if without:
        err.print(Text(f"without weights, which are not stored: {', '.join(without)}", "yellow"))


def import_(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", callback=expand_all, help="Archives.")
    ],
    tracking_uri: TrackingOption = None,
) -> None:
    """Add the results in archives to the stored results.

    A training that is stored already is skipped; measurements and weights that it lacks are added.
    If its values differ, both are printed, the stored ones stay, and the exit code is 1.

    \b
    Examples:
      lossbench import digits.zip
      lossbench import seeds-0-2.zip seeds-3-5.zip
    """
    from lossbench.archive.store import open_archives
    from lossbench.tracking.store import Tracker

    with err.status("checking the archives"):
        archives = open_archives(files, weights=True)  # all of them, before any import
    tracker = Tracker.open(tracking_uri)
    differing: list[str] = []
    for archive in archives:
        with err.status(f"importing {archive.path}"):
            counts = _import_archive(archive, tracker, differing)
        new, added, weights, known = counts
        restored = f"{weights} with weights that were not stored, " if weights else ""
        err.print(
            f"{archive.path}: {_trainings(new)} imported, {added} with new measurements, "
            f"{restored}{known} stored already",
            highlight=False,
            soft_wrap=True,
        )
    for line in differing:
        err.print(Text(line, "yellow"), soft_wrap=True)
    if differing:
        raise typer.Exit(1)


def _import_archive(
    archive: Archive, tracker: Tracker, differing: list[str]
) -> tuple[int, int, int, int]:
    """Import the trainings of an archive.

    Returns:
        Numbers of new trainings, of stored ones with new measurements, of those of which only the
        weights are new, and of the others.
    """
    from lossbench.archive.comparison import compare

    plan, trials = archive.plan, list(archive.trials.values())
    tracker.start_suite(plan, {}, imported=True)
    tracker.kept.keep_search_points(archive.search_points)
    if archive.looks is not None:
        try:
            tracker.kept.keep_look_records({archive.looks.identity: archive.looks})
        except RequestError as error:
            differing.append(f"{archive.path}: record of added seeds: {error}")
    tracker.results(trials)
    new: list[Trial] = []
    added = weights = known = 0
    try:
        for trial in trials:
            result, stored = archive.results[trial.identity], tracker.stored_result(trial)
            if stored is None:
                new.append(trial)
                continue
            comparison = compare(stored, result)
            differing += [
                f"{trial.name}: {line} in {archive.path}" for line in comparison.differences
            ]
            same = not comparison.differences
            if same and comparison.new_measurements:
                _add(trial, result, archive, tracker)
                added += 1
            elif (
                same
                and stored.weights_digest == result.weights_digest
                and archive.has_weights(trial.identity)
                and not tracker.has_weights(trial)
            ):
                _add(trial, result, archive, tracker)
                weights += 1
            else:
                known += 1
        tracker.import_trainings(
            (trial, archive.results[trial.identity], archive.files(trial.identity)) for trial in new
        )
        tracker.adopt(trials)
    except LossbenchError:
        tracker.finish_suite("FAILED")
        raise
    tracker.finish_suite("FINISHED")
    return len(new), added, weights, known


def _add(trial: Trial, result: TrialResult, archive: Archive, tracker: Tracker) -> None:
    import tempfile

    from lossbench.suite.atomic_files import write_files

    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), archive.files(trial.identity))
        tracker.finish(trial, result, Path(folder))


def _trainings(count: int) -> str:
    return "1 training" if count == 1 else f"{count} trainings"
