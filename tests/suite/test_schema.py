from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lossbench.suite.columns import column_settings
from lossbench.suite.load import load_suite

Write = Callable[..., Path]


def test_short_and_long_forms_are_equivalent(write_suite: Write) -> None:
    suite = load_suite(write_suite())
    assert suite.dataset.name == "digits"
    assert [loss.name for loss in suite.losses] == ["softmax", "lgm"]
    assert suite.losses[1].params == {"alpha": {"grid": [0.0, 0.3]}}
    assert suite.recipe.schedule.name == "constant"
    long = load_suite(write_suite(("dataset: digits", "dataset: {name: digits}")))
    assert long.dataset == suite.dataset


def test_parameters_of_a_variant_replace_those_of_the_model(write_suite: Write) -> None:
    variants = "variants: {a: {}, b: {model: {feature_dim: 3}}, c: {model: {name: other}}}"
    suite = load_suite(write_suite(("seeds: [0, 1]", variants)))
    models = [column_settings(suite, name).model for name in "abc"]
    assert [model.params for model in models] == [{"feature_dim": 2}, {"feature_dim": 3}, {}]
    assert models[2].name == "other"


def test_has_variants_is_true_for_suites_with_variants(write_suite: Write) -> None:
    assert not load_suite(write_suite()).has_variants
    for variants in ("{one: {}}", "{default: {}, other: {augment: none}}"):
        text = f"variants: {variants}\nseeds: [0, 1]"
        assert load_suite(write_suite(("seeds: [0, 1]", text))).has_variants
