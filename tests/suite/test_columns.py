"""Settings of columns: differences of a variant from the suite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from lossbench.suite.columns import column_settings, setting_location
from lossbench.suite.dump import suite_yaml
from lossbench.suite.load import load_suite
from lossbench.suite.origin import SuiteError
from lossbench.suite.schema import Suite, Variant

BASE = """\
suite: small
dataset: {name: digits, train_size: 300}
model: {name: digits_cnn, feature_dim: 2}
augment: [mirror]
recipe:
  epochs: 2
  batch_size: 64
  optimizer: {name: sgd, lr: 0.1, momentum: 0.9}
  clip_norm: 2.0
  input: {mean: 3, std: 256}
losses: [softmax]
"""
Make = Callable[[str], Suite]


@pytest.fixture
def suite_of(tmp_path: Path) -> Make:
    def make(variant: str) -> Suite:
        path = tmp_path / "small.yaml"
        path.write_text(f"{BASE}variants:\n  own: {variant}\n", encoding="utf-8")
        return load_suite(path)

    return make


@pytest.mark.parametrize("variant", ["{}", "", "null"])
def test_an_empty_variant_has_the_settings_of_the_suite(suite_of: Make, variant: str) -> None:
    suite = suite_of(variant)
    settings = column_settings(suite, "own")
    assert settings.dataset == suite.dataset
    assert settings.recipe is suite.recipe
    assert [chosen.name for chosen in settings.augment] == ["mirror"]
    assert [chosen.name for chosen in settings.evaluate] == ["error"]


@pytest.mark.parametrize(
    ("variant", "key", "expected"),
    [
        ("{recipe: {epochs: 5}}", "epochs", 5),
        ("{recipe: {clip_norm: null}}", "clip_norm", None),
        ("{recipe: {batch_size: 16}}", "optimizer.lr", 0.1),
        ("{recipe: {optimizer: {lr: 0.01}}}", "optimizer.lr", 0.01),
        ("{recipe: {optimizer: {lr: 0.01}}}", "optimizer.momentum", 0.9),
        ("{recipe: {optimizer: sgd}}", "optimizer.momentum", 0.9),
        ("{recipe: {optimizer: {name: adamw, lr: 0.01}}}", "optimizer.momentum", "absent"),
        ("{recipe: {optimizer: adamw}}", "optimizer.lr", "absent"),
        ("{recipe: {input: {std: 255}}}", "input.mean", 3),
        ("{recipe: {input: {std: 255}}}", "input.std", 255),
    ],
)
def test_a_variant_replaces_single_keys_of_the_recipe(
    suite_of: Make, variant: str, key: str, expected: object
) -> None:
    recipe = column_settings(suite_of(variant), "own").recipe
    first, _, rest = key.partition(".")
    value = getattr(recipe, first)
    if rest:
        value = getattr(value, rest) if first == "input" else value.params.get(rest, "absent")
    assert value == expected


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ("{dataset: mnist}", ("mnist", 300)),
        ("{dataset: {name: mnist, train_size: null}}", ("mnist", None)),
        ("{dataset: {train_size: 20}}", ("digits", 20)),
    ],
)
def test_a_variant_replaces_single_keys_of_the_data_set(
    suite_of: Make, variant: str, expected: tuple[str, int | None]
) -> None:
    dataset = column_settings(suite_of(variant), "own").dataset
    assert (dataset.name, dataset.train_size) == expected


def test_a_variant_replaces_whole_lists(suite_of: Make) -> None:
    settings = column_settings(suite_of("{augment: none, evaluate: [top5_error]}"), "own")
    assert settings.augment == ()
    assert [chosen.name for chosen in settings.evaluate] == ["top5_error"]


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ("{recipe: {epoch: 3}}", "variants.own.recipe.epoch: unknown key; did you mean 'epochs'?"),
        ("{recipe: {epochs: 0}}", "variants.own.recipe.epochs: should be greater than or equal"),
        ("{recipe: {optimizer: 3}}", "variants.own.recipe.optimizer: should be a name"),
        ("{dataset: {train_sizes: 3}}", "variants.own.dataset.train_sizes: unknown key; did you"),
        ("{dataset: 3}", "variants.own.dataset: should be a mapping"),
        ("{recipes: {}}", "variants.own.recipes: unknown key; did you mean 'recipe'?"),
        ("{evaluate: []}", "variants.own.evaluate: should not be empty"),
        ("{losses: [lgm]}", "variants.own.losses: unknown key"),
        ("{seeds: [1]}", "variants.own.seeds: unknown key"),
        ("{augment: null}", "variants.own.augment: should be a list, or `none`, not None"),
        ("{evaluate: null}", "variants.own.evaluate: should be a list, not None"),
        ("{model: {name: 5}}", "variants.own.model.name: should be a valid string, not 5"),
        ("{model: {name: null}}", "variants.own.model.name: should be a valid string"),
        ("{recipe: {optimizer: {name: 5}}}", "variants.own.recipe.optimizer.name: should be a"),
        ("{recipe: {optimizer: {5: 1}}}", "variants.own.recipe.optimizer.params: the key 5"),
    ],
)
def test_problems_have_the_file_and_the_key(suite_of: Make, variant: str, message: str) -> None:
    with pytest.raises(SuiteError) as raised:
        suite_of(variant)
    assert "small.yaml:13: " in str(raised.value)
    assert message in str(raised.value)


@pytest.mark.parametrize("value", ["null", "5", "[]"])
def test_a_wrong_value_is_named_once(suite_of: Make, value: str) -> None:
    with pytest.raises(SuiteError) as raised:
        suite_of(f"{{recipe: {{schedule: {value}}}}}")
    shown = {"null": "None"}.get(value, value)
    assert str(raised.value).endswith(f"should be a name, or a mapping with a name, not {shown}")


def test_the_location_of_a_setting_is_where_it_was_given(suite_of: Make) -> None:
    suite = suite_of("{recipe: {epochs: 3}, model: {feature_dim: 3}}")
    own = ("variants", "own")
    assert setting_location(suite, "own", ("recipe", "epochs")) == (*own, "recipe", "epochs")
    assert setting_location(suite, "own", ("recipe", "input")) == ("recipe", "input")
    assert setting_location(suite, "own", ("model",)) == (*own, "model")
    assert setting_location(suite, "own", ("augment",)) == ("augment",)


def test_the_printed_suite_has_the_same_columns(suite_of: Make, tmp_path: Path) -> None:
    suite = suite_of("{recipe: {clip_norm: null, optimizer: {lr: 0.2}}, dataset: {test_size: 40}}")
    path = tmp_path / "printed.yaml"
    path.write_text(suite_yaml(suite), encoding="utf-8")
    again = load_suite(path)
    assert column_settings(again, "own") == column_settings(suite, "own")
    from_json = Suite.model_validate_json(suite.model_dump_json())
    assert column_settings(from_json, "own") == column_settings(suite, "own")


def test_a_wrong_difference_is_refused_without_a_file(suite_of: Make) -> None:
    suite = suite_of("{}").model_copy(update={"variants": {"own": Variant(recipe={"epochs": 0})}})
    with pytest.raises(ValidationError):
        column_settings(suite, "own")


def test_a_column_without_a_value_can_be_changed(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(f"{BASE}variants:\n  clean:\n", encoding="utf-8")
    suite = load_suite(path, ["variants.clean.recipe.epochs=7"])
    assert column_settings(suite, "clean").recipe.epochs == 7
