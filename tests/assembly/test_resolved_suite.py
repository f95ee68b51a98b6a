"""A suite whose data are not on this machine: its table, what is missing, and how to get it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lossbench.assembly.resolved_suite import missing_data, resolve_suite
from lossbench.suite.load import load_suite

REPOSITORY = Path(__file__).resolve().parents[2]
Run = Callable[..., tuple[int, str, str]]
Write = Callable[..., Path]

HOW = {
    "imagenet": "Put it, or a link to it, at data/imagenet",
    "lfw": "Put it, or a link to it, at data/casia_webface",
    "mnist": "lossbench data prepare mnist --data-root data",
    "mnist_adversarial": "lossbench data prepare cifar10 --data-root data",
    "lfw_within": "lossbench data prepare lfw --data-root data",
    "sweep_cifar100": "lossbench data prepare cifar100 --data-root data",
}


@pytest.mark.parametrize("name", HOW)
def test_shipped_suites_are_planned_without_data(name: str, run: Run) -> None:
    suite = REPOSITORY / "suites" / f"{name}.yaml"
    resolved = resolve_suite(load_suite(suite))
    code, out, err = run("plan", suite)
    assert (code, err) == (0, "")
    words = " ".join(out.split())
    assert HOW[name] in words
    assert "the remaining cost are unknown" in words
    for row in resolved.rows:
        assert row.label in out
    assert "?/3" in out
    assert list(Path.cwd().iterdir()) == []


def test_all_missing_data_are_named(run: Run) -> None:
    _, out, _ = run("plan", REPOSITORY / "suites" / "lfw.yaml")
    words = " ".join(out.split())
    assert words.count("missing:") == 2
    assert "data set 'lfw' is not in " in words


def test_trials_have_no_identity(run: Run) -> None:
    code, out, _ = run("plan", REPOSITORY / "suites" / "imagenet.yaml", "--trials", "--seeds", "7")
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert ["ResNet-101", "lgm", "7", "unknown", "unknown", "unknown"] in lines
    assert "missing: imagenet" in out


def test_json_marks_unknown_values(run: Run) -> None:
    suite = REPOSITORY / "suites" / "imagenet.yaml"
    code, out, _ = run("plan", suite, "--format", "json")
    content = json.loads(out)
    assert code == 0
    assert [cell["row"] for cell in content["cells"]] == ["softmax", "lgm"]
    assert {cell["trials"] for cell in content["cells"]} == {3}
    assert {cell["finished"] for cell in content["cells"]} == {None}
    assert content["forecast"] is None
    assert "imagenet cannot be downloaded" in content["missing"][0]


def test_nothing_is_missing_if_the_data_exist(run: Run, write_suite: Write) -> None:
    code, out, _ = run("plan", write_suite(), "--format", "json", "--probe", "0")
    content = json.loads(out)
    assert code == 0
    assert content["missing"] == []
    assert content["cells"][0]["finished"] == 0


def test_the_audit_reports_unknown_requirements(run: Run) -> None:
    code, out, _ = run("plan", REPOSITORY / "suites" / "lfw.yaml", "--audit")
    words = " ".join(out.split())
    assert code == 0
    assert "lgm: 3 rows, all measured on the test set" in words
    assert "without the data, the training requirements of the losses" in words
    assert "missing: casia_webface" in words


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("recipe.optimizer.rl=0.1", "recipe.optimizer.rl: unknown key"),
        ("recipe.optimizer={name: sgd, lr: 0.1, nesterov: true}", "nesterov: needs a momentum"),
        ("recipe.optimiser=sgd", "recipe.optimiser: unknown key"),
        ("losses.lgm.alhpa=1", "losses.lgm.alhpa: unknown key; did you mean 'alpha'"),
        ("losses=[softmaks]", "unknown loss 'softmaks'"),
        (
            "losses=[softmax, {triplet: {weight: 0, softmax_weight: 0}}]",
            "triplet.weight: should not be 0",
        ),
        ("model.name=resnet102", "unknown model 'resnet102'"),
        ("evaluate=[eror]", "unknown evaluation 'eror'"),
        ("evaluate=[other_images: {dataset: nothing}]", "unknown data set 'nothing'"),
        ("dataset=imagenett", "dataset.name: unknown data set 'imagenett'"),
        ("reference=sofmax", "reference: 'sofmax' is no row"),
        ("recipe.input.std=[0.229, 0.224, 0.225]", "did you mean [58.4, 57.12, 57.38]"),
        ("resources.workers=7", "should be a multiple of resources.workers (7)"),
        ("variants={a: {}, b: {}}", "variants.b: is the same as a"),
        ("published={error: table9}", "unknown table 'table9'"),
    ],
)
def test_other_mistakes_are_found_without_the_data(run: Run, override: str, expected: str) -> None:
    suite = REPOSITORY / "suites" / "imagenet.yaml"
    code, out, err = run("plan", suite, "--set", override)
    assert (code, out) == (2, "")
    assert expected in " ".join(err.split())


def test_a_wrong_glob_is_found_without_the_data(run: Run) -> None:
    suite = REPOSITORY / "suites" / "imagenet.yaml"
    assert run("plan", suite, "--only", "lgn*")[0] == 2
    code, out, _ = run("plan", suite, "--only", "lgm")
    assert code == 0
    assert "softmax" not in out


@pytest.mark.parametrize("verb", ["run", "report", "check"])
def test_other_commands_need_the_data(verb: str, run: Run) -> None:
    code, out, err = run(verb, REPOSITORY / "suites" / "imagenet.yaml")
    assert (code, out) == (2, "")
    assert "imagenet cannot be downloaded automatically" in err


def test_a_nonexistent_folder_is_missing(run: Run, write_suite: Write) -> None:
    path = write_suite(("dataset: digits", "dataset: ./elsewhere/mine"))
    code, out, _ = run("plan", path)
    assert code == 0
    assert "/elsewhere/mine: no such folder" in out


def test_only_the_data_of_an_evaluation_may_be_missing(
    run: Run, write_suite: Write, tmp_path: Path
) -> None:
    path = write_suite()
    code, out, _ = run("plan", path, "--set", "evaluate=[error, other_images: {dataset: mnist}]")
    assert code == 0
    assert "missing: data set 'mnist'" in out


def test_broken_data_are_not_missing(
    run: Run, write_suite: Write, make_folder: Callable[..., Path]
) -> None:
    folder = make_folder("mine")
    (folder / "train_labels.npy").unlink()
    path = write_suite(("dataset: digits", "dataset: mine"))
    code, _, err = run("plan", path, "--data-root", folder.parent)
    assert code == 2
    assert "train_labels.npy: no such file" in err


def test_bundled_data_are_never_missing(write_suite: Write, tmp_path: Path) -> None:
    assert missing_data(resolve_suite(load_suite(write_suite())), tmp_path) == ()
