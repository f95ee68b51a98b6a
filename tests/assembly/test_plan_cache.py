"""Kept plans: used for an unchanged suite only, and equal to those of a check."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lossbench.assembly import plan_cache
from lossbench.assembly.check import check
from lossbench.assembly.plan_cache import check_and_cache, read_cached_plan
from lossbench.assembly.plugins import forget
from lossbench.assembly.resolved_suite import dataset_names, resolve_suite
from lossbench.cli.common import load_plan
from lossbench.data.loading import close_datasets
from lossbench.planning.head_requirements import head_key
from lossbench.planning.plan import Plan
from lossbench.suite.cache import read_cached, write_cached
from lossbench.suite.load import load_suite
from lossbench.suite.schema import Component, Suite
from tests.conftest import REPOSITORY

Write = Callable[..., Path]
MakeFolder = Callable[..., Path]
DIGITS = "dataset: digits"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache that is on, and that takes files as old which were written just now."""
    monkeypatch.delenv(plan_cache.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(plan_cache, "SETTLED_NS", -(10**18))
    return tmp_path / "cache" / "lossbench"


@pytest.fixture
def suite(write_suite: Write, make_folder: MakeFolder) -> Suite:
    """Suite on a prepared folder in `data`."""
    make_folder()
    return load_suite(write_suite((DIGITS, "dataset: mine")))


def keep(suite: Suite, data_root: Path) -> Plan:
    close_datasets()
    return check_and_cache(suite, data_root, dataset_names(resolve_suite(suite)))


def files(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.glob("plan-*"))


@pytest.mark.parametrize("name", ["digits", "sweep_digits", "tuned_digits"])
def test_a_kept_plan_is_that_of_the_check(name: str, tmp_path: Path) -> None:
    suite = load_suite(REPOSITORY / "suites" / f"{name}.yaml")
    plan = keep(suite, tmp_path / "data")
    kept = read_cached_plan(suite, tmp_path / "data")
    assert kept == plan
    assert repr(kept.limits) == repr(plan.limits)  # also the same types: reports compare them
    assert [t.model_dump_json() for t in kept.trials] == [t.model_dump_json() for t in plan.trials]
    assert kept.suite.origin == suite.origin


def test_a_search_can_go_on(tmp_path: Path) -> None:
    suite = load_suite(REPOSITORY / "suites" / "digits.yaml")
    plan = keep(suite, tmp_path / "data")
    kept = read_cached_plan(suite, tmp_path / "data")
    assert kept is not None
    variant, new = next(iter(plan.columns)), Component(name="softmax", params={"bias": False})
    row = replace(plan.rows[0], loss=new)
    assert head_key(variant, new) not in kept.head_requirements
    assert kept.with_rows((row,)) == plan.with_rows((row,))


def test_an_unchanged_suite_is_planned_without_torch(
    suite: Suite, tmp_path: Path, write_suite: Write
) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from lossbench.assembly import plan_cache\n"
        "from lossbench.cli.common import load_plan\n"
        "plan_cache.SETTLED_NS = -10**18\n"
        "plan = load_plan(Path(sys.argv[1]), [], None, None, Path(sys.argv[2]), [])\n"
        "print(len(plan.trials), 'torch' in sys.modules)\n"
    )
    command = [sys.executable, "-c", code, suite.origin.path, str(tmp_path / "data")]
    for imported in (True, False):
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
        assert (done.stdout, done.stderr) == (f"6 {imported}\n", "")


def edit_data(folder: Path) -> None:
    text = (folder / "dataset.json").read_text(encoding="utf-8")
    (folder / "dataset.json").write_text(text.replace('"random"', '"edited"'), encoding="utf-8")


def touch_data(folder: Path) -> None:
    (folder / "train_images.npy").touch()


def add_validation_set(folder: Path) -> None:
    shutil.copy(folder / "test_images.npy", folder / "validation_images.npy")


def replace_array(folder: Path) -> None:
    """With the same size and time of the last change."""
    array = folder / "test_labels.npy"
    shutil.copy2(array, folder.parent / "copy.npy")
    (folder.parent / "copy.npy").replace(array)


@pytest.mark.parametrize("change", [edit_data, touch_data, add_validation_set, replace_array])
def test_changed_data_are_checked(
    change: Callable[[Path], None], suite: Suite, tmp_path: Path
) -> None:
    keep(suite, tmp_path / "data")
    assert read_cached_plan(suite, tmp_path / "data") is not None
    change(tmp_path / "data" / "mine")
    assert read_cached_plan(suite, tmp_path / "data") is None


def test_a_folder_with_the_name_of_a_bundled_data_set(
    write_suite: Write, make_folder: MakeFolder, tmp_path: Path
) -> None:
    suite = load_suite(write_suite())
    keep(suite, tmp_path / "data")
    assert read_cached_plan(suite, tmp_path / "data") is not None
    make_folder("digits", classes=10, train=100)
    assert read_cached_plan(suite, tmp_path / "data") is None


def test_a_file_of_labels(write_suite: Write, make_folder: MakeFolder, tmp_path: Path) -> None:
    make_folder()
    labels = tmp_path / "noisy.csv"
    labels.write_text("\n".join(str(k % 3) for k in range(60)) + "\n", encoding="utf-8")
    noise = f"dataset: {{name: mine, label_noise: {{from: {labels}}}}}"
    suite = load_suite(write_suite((DIGITS, noise)))
    keep(suite, tmp_path / "data")
    assert read_cached_plan(suite, tmp_path / "data") is not None
    other = load_suite(Path(suite.origin.path), ["recipe.epochs=3"])
    keep(other, tmp_path / "data")  # in the same process, which does not read the labels again
    assert read_cached_plan(other, tmp_path / "data") is not None
    labels.write_text("\n".join(str(k % 2) for k in range(60)) + "\n", encoding="utf-8")
    assert read_cached_plan(suite, tmp_path / "data") is None
    assert read_cached_plan(other, tmp_path / "data") is None


@pytest.mark.parametrize("what", ["override", "option", "installation", "folder"])
def test_another_suite_or_another_installation_is_checked(
    what: str, suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_root = tmp_path / "data"
    keep(suite, data_root)
    assert read_cached_plan(suite, data_root) is not None
    if what == "override":
        suite = load_suite(Path(suite.origin.path), ["recipe.epochs=3"])
    elif what == "option":
        data_root = tmp_path / "other" / ".." / "data"
    elif what == "installation":
        monkeypatch.setattr(plan_cache, "installation_digest", lambda: "another")
    else:
        monkeypatch.chdir(tmp_path)
    assert read_cached_plan(suite, data_root) is None


def test_a_given_default_is_another_suite(write_suite: Write, tmp_path: Path) -> None:
    """`selection.holdout` that is given excludes the validation set, whatever its value."""
    selection = "selection: {metric: error}\nseeds: [0, 1]"
    suite = load_suite(write_suite(("seeds: [0, 1]", selection)))
    assert suite.selection is not None
    given = load_suite(Path(suite.origin.path), [f"selection.holdout={suite.selection.holdout}"])
    assert given.model_dump() == suite.model_dump()
    keep(suite, tmp_path / "data")
    assert read_cached_plan(suite, tmp_path / "data") is not None
    assert read_cached_plan(given, tmp_path / "data") is None


def test_data_that_may_have_changed_during_the_check(
    suite: Suite, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_cache, "SETTLED_NS", 10**18)
    keep(suite, tmp_path / "data")
    assert files(cache) == []


def test_nested_data_are_not_kept(suite: Suite, tmp_path: Path, cache: Path) -> None:
    (tmp_path / "data" / "mine" / "inside").mkdir()
    keep(suite, tmp_path / "data")
    assert files(cache) == []


PLUGIN = """\
from lossbench.losses import LOSSES
from lossbench.losses.softmax import SoftmaxHead

@LOSSES.register("my_loss", reference="mine")
class MyHead(SoftmaxHead): ...
"""


def test_plugins_are_not_kept(write_suite: Write, tmp_path: Path, cache: Path) -> None:
    plugin = tmp_path / "my_plugin.py"
    plugin.write_text(PLUGIN, encoding="utf-8")
    path = write_suite()
    load_plan(path, [], None, None, tmp_path / "data", [plugin])
    assert files(cache) == []
    forget(str(plugin))  # as in another process
    load_plan(path, [], None, None, tmp_path / "data", [])
    assert len(files(cache)) == 1


def test_packages_with_components_are_not_kept(
    suite: Suite, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = importlib.metadata.EntryPoint("mine", "mine:Head", "lossbench.losses")
    found = importlib.metadata.EntryPoints([point])

    def entry_points(**given: str) -> importlib.metadata.EntryPoints:
        return found if not given else importlib.metadata.EntryPoints(())

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    keep(suite, tmp_path / "data")
    assert files(cache) == []


def test_the_variable_turns_the_cache_off(
    suite: Suite, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(suite, tmp_path / "data")
    before = files(cache)
    monkeypatch.setenv(plan_cache.VARIABLE, "off")
    assert read_cached_plan(suite, tmp_path / "data") is None
    other = load_suite(Path(suite.origin.path), ["recipe.epochs=3"])
    keep(other, tmp_path / "data")
    assert files(cache) == before


@pytest.mark.parametrize("damage", ["truncated", "no states", "another form"])
def test_a_damaged_plan_is_not_used(damage: str, suite: Suite, tmp_path: Path, cache: Path) -> None:
    plan = keep(suite, tmp_path / "data")
    [file] = cache.glob("plan-*")
    key = file.stem.removeprefix("plan-")
    content = read_cached("plan", key)
    if damage == "truncated":
        file.write_text(file.read_text(encoding="utf-8")[:-100], encoding="utf-8")
    elif damage == "no states":
        write_cached("plan", key, {**content, "states": {}})
    else:
        write_cached("plan", key, {**content, "another": 0})
    assert read_cached_plan(suite, tmp_path / "data") is None
    keep(suite, tmp_path / "data")
    assert read_cached_plan(suite, tmp_path / "data") == plan


def test_a_cache_that_cannot_be_written(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/cache")
    assert keep(suite, tmp_path / "data") == check(suite, tmp_path / "data")
    assert read_cached_plan(suite, tmp_path / "data") is None


def test_old_plans_are_removed(
    suite: Suite, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_cache, "KEPT", 2)
    path = Path(suite.origin.path)
    suites = [load_suite(path, [f"recipe.epochs={n}"]) for n in (3, 4, 5)]
    for each in suites:
        keep(each, tmp_path / "data")
    found = [read_cached_plan(each, tmp_path / "data") is not None for each in suites]
    assert (found, len(files(cache))) == ([False, True, True], 2)
