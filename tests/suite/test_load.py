from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lossbench.errors import RequestError
from lossbench.suite.load import load_suite
from lossbench.suite.origin import SuiteError

Write = Callable[..., Path]


def message_of(path: Path, *overrides: str) -> str:
    with pytest.raises(RequestError) as caught:
        load_suite(path, overrides)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_exponents_without_a_dot_are_numbers(write_suite: Write) -> None:
    suite = load_suite(write_suite(("lr: 0.03", "lr: 3e-2")))
    assert suite.recipe.optimizer.params["lr"] == 0.03


def test_overrides_are_applied(write_suite: Write) -> None:
    suite = load_suite(
        write_suite(),
        [
            "recipe.epochs=7",
            "recipe.optimizer.lr=1e-3",
            "dataset.train_size=100",
            "losses.lgm.lambda=0.2",
            "recipe.schedule=cosine",
            "seeds=[4]",
        ],
    )
    assert suite.recipe.epochs == 7
    assert suite.recipe.optimizer.params["lr"] == 1e-3
    assert suite.dataset.train_size == 100
    assert suite.losses[1].params == {"alpha": {"grid": [0.0, 0.3]}, "lambda": 0.2}
    assert suite.recipe.schedule.name == "cosine"
    assert suite.seeds == [4]


def test_an_override_adds_parameters_to_a_loss(write_suite: Write) -> None:
    suite = load_suite(write_suite(), ["losses.softmax.x=1"])
    assert suite.losses[0].params == {"x": 1}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("epochs: 2", "epoch: 2", "small.yaml:5: recipe.epoch: unknown key; did you mean 'epochs'"),
        ("seeds:", "seed:", "small.yaml:8: seed: unknown key; did you mean 'seeds'"),
        ("epochs: 2", "epochs: two", "small.yaml:5: recipe.epochs: should be a valid integer"),
        ("epochs: 2", "epochs: 0", "recipe.epochs: should be greater than or equal to 1, not 0"),
        ("epochs: 2", "epochs: {grid: [1, 2]}", "recipe.epochs: a grid is only allowed as"),
        ("epochs: 2", "epochs: 2.5", "recipe.epochs: should be a valid integer"),
        ("[0, 1]", "[0, 0]", "small.yaml:8: seeds: given twice: 0"),
        ("[0, 1]", "[]", "seeds: should not be empty"),
        ("[0, 1]", "[-1]", "seeds: should be greater than or equal to 0, not -1"),
        ("name: sgd, ", "", "small.yaml:7: recipe.optimizer: should have a 'name'"),
        ("suite: small", "suite: ../up", "suite: should have letters, digits, - and _ only"),
        ("- softmax", "- {softmax: {}, center: {}}", "losses: should be one name"),
        ("- softmax", "- softmax: 3", "losses: the parameters of 'softmax' should be a mapping"),
        ("- softmax", "- 3", "small.yaml:10: losses: should be a name, or a name with its"),
        ("model: {name: digits_cnn, feature_dim: 2}", "model: 3", "model: should be a name, or"),
        ("dataset: digits", "dataset: [digits]", "dataset: should be a name, or a mapping"),
        ("seeds: [0, 1]", "7: x", "the key 7 should be text: put it in quotes"),
        ("seeds: [0, 1]", "variants: {2: {}}", "variants: the key 2 should be text: put it in"),
        ("seeds: [0, 1]", "seeds: 3", "seeds: should be a list, not 3"),
        ("seeds: [0, 1]", "variants: {}", "variants: should not be empty"),
        ("seeds: [0, 1]", "variants: {a: {augmnt: []}}", "did you mean 'augment'"),
        ("seeds: [0, 1]", "variants: {'a/b': {}}", "use letters, digits"),
        ("seeds: [0, 1]", "seeds: [0, 1", "broken YAML: line"),
        ("seeds: [0, 1]", "suite: again", "broken YAML: line 8"),
        ("seeds: [0, 1]", "resources: {gpus: -1}", "resources.gpus: should be greater"),
        ("seeds: [0, 1]", "selection: {holdout: 1.0}", "selection.holdout: should be less than 1"),
    ],
)
def test_messages_on_wrong_files(write_suite: Write, old: str, new: str, expected: str) -> None:
    assert expected in message_of(write_suite((old, new)))


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("recipe.epoch=3", "--set recipe.epoch=3: recipe.epoch: unknown key; did you mean"),
        ("recipe.epochs", "should be KEY=VALUE"),
        ("recipe.epochs.x=3", "recipe.epochs is a value, not a mapping; it has no key 'x'"),
        ("losses.lgn.alpha=1", "did you mean 'lgm'"),
        ("losses.lgm=1", "should be losses.lgm.PARAMETER=VALUE"),
        ("seeds=[1", "--set seeds=[1: broken YAML"),
    ],
)
def test_messages_on_wrong_overrides(write_suite: Write, override: str, expected: str) -> None:
    assert expected in message_of(write_suite(), override)


def test_all_problems_are_reported_at_once(write_suite: Write) -> None:
    path = write_suite(("epochs: 2", "epoch: 2"), ("seeds:", "seed:"))
    with pytest.raises(SuiteError) as caught:
        load_suite(path)
    assert {p.key for p in caught.value.problems} == {"recipe.epochs", "recipe.epoch", "seed"}


def test_message_on_a_missing_file_suggests_a_similar_name(
    write_suite: Write, tmp_path: Path
) -> None:
    write_suite()
    assert "no such file; did you mean 'small.yaml'" in message_of(tmp_path / "smal.yaml")


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"", "should be a mapping"), (b"- a\n", "should be a mapping"), (b"\xff\xfe", "UTF-8")],
)
def test_files_that_are_not_suites_are_refused(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    assert expected in message_of(path)


def test_a_suite_file_runs_no_code(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("suite: !!python/object/apply:os.system ['touch owned']\n", encoding="utf-8")
    message_of(path)
    assert not Path("owned").exists()
