"""Keys of `dataset` for label noise and imbalance: written and read again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lossbench.suite.data_conditions import AsymmetricNoise, Imbalance, LabelNoise, yaml_keys
from lossbench.suite.dump import suite_yaml
from lossbench.suite.load import load_suite
from lossbench.suite.schema import CONDITIONS, DatasetChoice, Selection, Suite

Write = Callable[..., Path]
GIVEN: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {"label_noise": {"symmetric": 0.4}},
        {"label_noise": {"symmetric": 0.4, "seed": 0}},
    ),
    (
        {"label_noise": {"asymmetric": 0.4, "seed": 2}},
        {"label_noise": {"asymmetric": {"rate": 0.4}, "seed": 2}},
    ),
    (
        {"label_noise": {"asymmetric": {"rate": 0, "map": {"a": "b"}, "unmapped": "keep"}}},
        {
            "label_noise": {
                "asymmetric": {"rate": 0.0, "map": {"a": "b"}, "unmapped": "keep"},
                "seed": 0,
            }
        },
    ),
    (
        {"label_noise": {"from": "a.pt", "key": "worse_label"}},
        {"label_noise": {"from": "a.pt", "key": "worse_label"}},
    ),
    ({"imbalance": {"long_tail": 100}}, {"imbalance": {"long_tail": 100.0, "seed": 0}}),
    ({"imbalance": {"step": 10, "seed": 1}}, {"imbalance": {"step": 10.0, "seed": 1}}),
    ({"per_class": 5}, {"per_class": 5}),
]


@pytest.mark.parametrize(("given", "written"), GIVEN, ids=str)
def test_conditions_are_written_as_they_are_read(
    write_suite: Write, given: dict[str, Any], written: dict[str, Any]
) -> None:
    keys = [f"dataset.{key}={value}" for key, value in given.items()]
    suite = load_suite(write_suite(), keys)
    content = suite.dataset.model_dump(mode="json")
    assert {key: value for key, value in content.items() if key in CONDITIONS} == written
    assert DatasetChoice.model_validate_json(suite.dataset.model_dump_json()) == suite.dataset
    assert Suite.model_validate_json(suite.model_dump_json()).dataset == suite.dataset
    again = load_suite(write_suite(text=suite_yaml(suite)))
    assert again.dataset == suite.dataset


def test_a_suite_without_conditions_is_written_as_before(write_suite: Write) -> None:
    suite = load_suite(write_suite(), ["selection={holdout: 0.2}"])
    assert not {*CONDITIONS} & suite.dataset.model_dump().keys()
    assert suite.selection is not None
    assert "holdout_labels" not in suite.selection.model_dump()
    assert "noise" not in suite.model_dump_json()
    clean = Selection(holdout_labels="clean")
    assert Selection.model_validate_json(clean.model_dump_json()) == clean


def test_keys_of_a_suite_file_may_differ_from_fields() -> None:
    assert list(yaml_keys(LabelNoise)) == [
        "symmetric",
        "asymmetric",
        "from",
        "key",
        "digest",
        "seed",
    ]
    assert yaml_keys(LabelNoise)["from"] == "file"
    assert list(yaml_keys(Imbalance)) == list(Imbalance.model_fields)


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        (LabelNoise(symmetric=0.29), "symmetric, 29 %"),
        (LabelNoise(symmetric=0.125), "symmetric, 12.5 %"),
        (LabelNoise(asymmetric=AsymmetricNoise(rate=0.4)), "asymmetric, 40 %"),
        (LabelNoise.model_validate({"from": "/a/b.npy"}), "labels of b.npy"),
        (LabelNoise.model_validate({"from": "b.pt", "key": "aggre_label"}), "aggre_label of b.pt"),
        (Imbalance(long_tail=100), "long tail 100"),
        (Imbalance(step=2.5), "step 2.5"),
    ],
)
def test_conditions_are_described(condition: LabelNoise | Imbalance, text: str) -> None:
    assert condition.text == text
