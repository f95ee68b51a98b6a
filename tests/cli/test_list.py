"""`lossbench list`."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from lossbench.assembly.plugins import forget
from lossbench.assembly.registries import REGISTRIES
from lossbench.cli.documentation import descriptions
from lossbench.cli.list import Kind
from lossbench.losses import LOSSES
from lossbench.registry import Entry, Registry, make_entry
from lossbench.training.optimizers import OPTIMIZERS

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of the stored descriptions, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "lossbench"


def test_lists(run: Run, make_folder: Callable[..., Path]) -> None:
    _, losses, _ = run("list", "losses")
    for name in ("softmax", "center", "l_softmax", "contrastive", "triplet", "lgm"):
        assert f"\n{name}  " in f"\n{losses}"
    assert re.search(r"covariance +identity +identity \| diagonal", losses)
    assert re.search(r"lambda +0\.1 +float, >= 0", losses)
    lgm = run("list", "losses", "lgm")[1]
    assert "Deviations:" in lgm
    assert len(re.findall(r"^ +alpha_every ", lgm, re.MULTILINE)) == 1
    assert "num_classes" not in lgm  # a suite cannot set it
    assert "did you mean 'lgm'" in run("list", "losses", "lgmm")[2]
    folder = make_folder("mine")
    _, datasets, _ = run("list", "datasets", "--data-root", folder.parent)
    assert re.search(r"^mnist .*\[`lossbench data prepare mnist`\]", datasets, re.MULTILINE)
    for name, needed in (("imagenet", "imagenet"), ("lfw", "lfw"), ("lfw_within", "lfw")):
        command = f"`lossbench data prepare {needed}`"
        assert f"[obtain it yourself; {command} prints how]" in datasets.split(f"\n{name} ")[1]
    assert "mine" in datasets
    assert "mnist_cnn" in run("list", "models")[1]


def test_metrics_of_evaluations_have_their_direction(run: Run) -> None:
    _, listed, _ = run("list", "evaluations")
    parts = {part.split(maxsplit=1)[0]: part for part in listed.split("\n\n") if part.strip()}
    assert "\n    lower is better: error" in parts["error"]
    assert "higher is better" not in parts["error"]
    assert "\n    lower is better: distance_ratio" in parts["class_separation"]
    assert "\n    neither is better: feature_norm" in parts["class_separation"]
    assert "\n    higher is better: class_separation" in parts["class_separation"]
    assert "\n    higher is better: other_DATASET_auroc" in parts["other_images"]
    one = run("list", "evaluations", "knn")[1]
    assert re.search(r"knn_20_error +k-NN error, k = 20, .*% of images +lower +representation", one)
    assert "better" not in run("list", "losses", "lgm")[1]


def test_docs_of_evaluations_have_the_direction_of_each_metric(run: Run) -> None:
    page = run("docs", "evaluations")[1]
    for cell in ("retrieval_map_at_r", "brier_score", "other_DATASET_fpr95"):
        assert cell in page


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.plural)
def test_every_kind_of_component_is_listed(run: Run, registry: Registry[Any]) -> None:
    code, listed, _ = run("list", registry.plural)
    assert code == 0
    for name in registry.builtin_names:
        assert f"\n{name}  " in f"\n{listed}"
        assert run("list", registry.plural, name)[0] == 0
    for library in registry.libraries:
        assert f"\n{library.prefix}.NAME  {library.placeholder.summary}" in f"\n{listed}"
        assert f"`lossbench list {registry.plural} {library.prefix}`" in listed
    assert {each.plural for each in REGISTRIES} | {"datasets", "suites"} == set(Kind)


def test_names_of_a_library(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OPTIMIZERS, "_libraries", {})
    names = ["Adam", "AdamW", "SGD"]
    OPTIMIZERS.register_prefix("far.off", lambda rest: OPTIMIZERS["sgd"], lambda: names, _far())
    for name in ("far.off", "far.off."):
        code, listed, _ = run("list", "optimizers", name)
        assert code == 0
        lines = listed.splitlines()
        assert lines[0] == "far.off.NAME  Optimizers of far."
        assert lines[-3:] == ["far.off.Adam", "far.off.AdamW", "far.off.SGD"]
    assert run("list", "optimizers", "far.off.Adam*")[1].split() == [
        "far.off.Adam",
        "far.off.AdamW",
    ]
    assert run("list", "optimizers", "s*")[1].split() == ["sgd"]
    code, _, error = run("list", "optimizers", "far.off.x*")
    assert (code, error) == (2, "error: list optimizers far.off.x*: no name matches\n")


def _far() -> Entry[Any]:
    def create() -> None:
        """Optimizers of far."""

    return make_entry("optimizer", "far.off.NAME", create)


def test_stored_descriptions_are_printed_like_new_ones_without_torch(cache: Path) -> None:
    for words in (["losses"], ["losses", "lgm"], ["evaluations"], ["evaluations", "knn"]):
        shutil.rmtree(cache, ignore_errors=True)
        new = _called("list", *words)
        stored = _called("list", *words)
        assert "torch" in new.modules
        assert "torch" not in stored.modules
        assert stored.text == new.text


def test_suites_data_sets_and_pages_are_listed_without_torch() -> None:
    for words in (["list", "suites"], ["list", "datasets"], ["docs"], ["docs", "start"]):
        assert "torch" not in _called(*words).modules


@dataclass(frozen=True)
class _Called:
    text: str
    modules: set[str]


def _called(*words: str) -> _Called:
    """Call the command line in another process: its output, and the modules that it imported."""
    code = f"""
import atexit, sys
sys.argv = {["lossbench", *words]!r}
atexit.register(lambda: print("MODULES", *sys.modules))
from lossbench.cli.main import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8", check=True
    )
    text, _, modules = done.stdout.rpartition("MODULES ")
    return _Called(text, set(modules.split()))


def test_another_installation_does_not_use_stored_descriptions(
    run: Run, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Another description." not in run("list", "losses", "softmax")[1]
    monkeypatch.setattr(LOSSES["softmax"].factory, "__doc__", "Another description.")
    assert "Another description." not in run("list", "losses", "softmax")[1]
    monkeypatch.setattr(descriptions, "installation_digest", lambda: "other")
    assert "Another description." in run("list", "losses", "softmax")[1]
    assert len(list(cache.iterdir())) == 2


def test_a_change_while_descriptions_are_made_is_not_stored(
    run: Run, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = iter(["before", "after"])
    monkeypatch.setattr(descriptions, "installation_digest", lambda: next(digests))
    assert run("list", "losses")[0] == 0
    assert not cache.exists()


def test_a_broken_or_unwritable_cache_is_no_error(
    run: Run, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run("list", "losses")
    [path] = cache.iterdir()
    good = path.read_bytes()
    for content in (b"broken", good[:1000]):
        path.write_bytes(content)
        assert run("list", "losses") == expected
        assert path.read_bytes() == good
    for value in ([], {"losses": 1}, {"losses": {"components": {"lgm": {}}, "libraries": {}}}):
        key = descriptions.installation_digest()
        descriptions.write_cached(descriptions.CACHE_NAME, key, value)
        assert run("list", "losses") == expected
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/cache")
    assert run("list", "losses") == expected


def test_components_of_other_packages_are_never_stored(
    run: Run, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = {"mine": [EntryPoint("mine", "nowhere.at_all:Mine", "lossbench.losses")]}
    monkeypatch.setitem(LOSSES.__dict__, "_entry_points", points)
    assert "mine  loss 'mine' of nowhere.at_all:Mine" in run("list", "losses")[1]
    assert run("list", "losses", "lgm")[0] == 0
    assert not cache.exists()


def test_plugins_are_never_stored(run: Run, cache: Path) -> None:
    Path("mine.py").write_text(
        "from lossbench.losses import LOSSES\n"
        "from lossbench.losses.softmax import SoftmaxHead\n"
        "@LOSSES.register('mine')\n"
        "class Mine(SoftmaxHead):\n"
        '    """My loss."""\n',
        encoding="utf-8",
    )
    assert "mine  My loss." in run("list", "losses", "--plugin", "mine.py")[1]
    assert not cache.exists()
    forget(str(Path("mine.py")))
