"""Columns that differ in one numeric setting."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lossbench.assembly.check import check
from lossbench.planning.column_levels import ColumnLevels, column_levels
from lossbench.suite.load import load_suite

SUITE = """\
suite: levels
dataset: digits
model: {name: digits_cnn, feature_dim: 2}
recipe: {epochs: 2, batch_size: 64, optimizer: {name: sgd, lr: 0.05}}
losses: [softmax]
"""
Find = Callable[[str], ColumnLevels | None]


@pytest.fixture
def find(tmp_path: Path) -> Find:
    def find_levels(variants: str) -> ColumnLevels | None:
        path = tmp_path / "levels.yaml"
        path.write_text(f"{SUITE}variants: {variants}\n", encoding="utf-8")
        return column_levels(check(load_suite(path), tmp_path))

    return find_levels


@pytest.mark.parametrize(
    ("variants", "setting", "values"),
    [
        (
            "{half: {dataset: {label_noise: {symmetric: 0.5}}}, clean: {},"
            " fifth: {dataset: {label_noise: {symmetric: 0.2}}}}",
            "dataset.label_noise.symmetric",
            {"clean": 0.0, "fifth": 0.2, "half": 0.5},
        ),
        (
            "{a: {dataset: {label_noise: {symmetric: 0.1}}},"
            " b: {dataset: {label_noise: {symmetric: 0.2}}}}",
            "dataset.label_noise.symmetric",
            {"a": 0.1, "b": 0.2},
        ),
        (
            "{a: {}, b: {dataset: {label_noise: {asymmetric: {rate: 0.2, map: mnist}}}},"
            " c: {dataset: {label_noise: {asymmetric: {rate: 0.4, map: mnist}}}}}",
            "dataset.label_noise.asymmetric.rate",
            {"a": 0.0, "b": 0.2, "c": 0.4},
        ),
        (
            "{a: {}, b: {dataset: {imbalance: {long_tail: 10}}}}",
            "dataset.imbalance.long_tail",
            {"a": 1.0, "b": 10.0},
        ),
        (
            "{a: {}, b: {dataset: {imbalance: {step: 5}}}}",
            "dataset.imbalance.step",
            {"a": 1.0, "b": 5.0},
        ),
        (
            "{a: {model: {feature_dim: 8}}, b: {model: {feature_dim: 2}}}",
            "model.feature_dim",
            {"b": 2, "a": 8},
        ),
        (
            "{a: {recipe: {optimizer: {lr: 0.1}}}, b: {recipe: {optimizer: {lr: 0.01}}}}",
            "recipe.optimizer.lr",
            {"b": 0.01, "a": 0.1},
        ),
        (
            "{a: {dataset: {per_class: 10}}, b: {dataset: {per_class: 5}}}",
            "dataset.per_class",
            {"b": 5, "a": 10},
        ),
    ],
)
def test_levels_are_the_values_of_the_setting_in_ascending_order(
    find: Find, variants: str, setting: str, values: dict[str, float]
) -> None:
    found = find(variants)
    assert found is not None
    assert found.setting == setting
    assert list(found.values.items()) == list(values.items())


@pytest.mark.parametrize(
    "variants",
    [
        # two settings
        "{a: {}, b: {recipe: {epochs: 3, batch_size: 32}}}",
        # not numbers
        "{a: {model: {feature_relu: true}}, b: {model: {feature_relu: false}}}",
        "{a: {}, b: {recipe: {optimizer: {name: adamw, lr: 0.05}}}}",
        # no number where the setting is absent
        "{a: {}, b: {dataset: {per_class: 10}}}",
        # different kinds, maps or draws of the noise
        "{a: {}, b: {dataset: {label_noise: {symmetric: 0.2}}},"
        " c: {dataset: {label_noise: {asymmetric: {rate: 0.4, map: mnist}}}}}",
        "{a: {}, b: {dataset: {label_noise: {symmetric: 0.2}}},"
        " c: {dataset: {label_noise: {symmetric: 0.4, seed: 1}}}}",
        "{a: {}, b: {dataset: {imbalance: {step: 5}}}, c: {dataset: {imbalance: {long_tail: 5}}}}",
        # two columns of the same noise, drawn twice
        "{a: {}, b: {dataset: {label_noise: {symmetric: 0.2}}},"
        " c: {dataset: {label_noise: {symmetric: 0.2, seed: 1}}}}",
    ],
)
def test_other_differences_are_no_levels(find: Find, variants: str) -> None:
    assert find(variants) is None


def test_a_suite_with_one_column_has_no_levels(find: Find) -> None:
    assert find("{a: {}}") is None
