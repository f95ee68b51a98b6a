from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lossbench.assembly.check import check
from lossbench.assembly.checks_without_data import pixel_range_problems
from lossbench.data.prepared import make_card, save_prepared
from lossbench.errors import RequestError
from lossbench.suite.load import load_suite
from lossbench.suite.schema import Input

Write = Callable[..., Path]
NOWHERE = Path("/nonexistent/data")
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


INPUT = ("recipe", "input")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {"mean": 0.1307, "std": 0.3081},
            {
                "mean": "0.1307 of 255 is nearly black (these images have 33.3); did you mean "
                "33.33 (= 0.1307 x 255)?",
                "std": "0.3081 of 255 is hardly a difference (these images have 78.6); did you "
                "mean 78.57 (= 0.3081 x 255)?",
            },
        ),
        (
            IMAGENET,
            {
                "mean": "did you mean [123.7, 116.3, 103.5] (= [0.485, 0.456, 0.406] x 255)?",
                "std": "did you mean [58.4, 57.12, 57.38] (= [0.229, 0.224, 0.225] x 255)?",
            },
        ),
        ({"mean": 0.5, "std": 0.5}, {"mean": "127.5 (= 0.5 x 255)", "std": "127.5 (= 0.5 x 255)"}),
        ({"mean": 0.5, "std": 1.0}, {"mean": "127.5"}),
        ({"mean": 0.1307}, {"mean": "33.33"}),
        ({"mean": 33.3, "std": 0.3081}, {"std": "78.57"}),
        ({"mean": 0.0, "std": 0.5}, {"std": "127.5"}),
        ({"mean": 1.0, "std": 127.5}, {"mean": "255"}),
        ({"mean": [0.0, 0.0, 0.4], "std": 128.0}, {"mean": "[0, 0, 102]"}),
    ],
)
def test_mean_and_std_for_pixels_up_to_1_are_refused(
    given: dict[str, object], expected: dict[str, str]
) -> None:
    problems = {
        p.loc[-1]: p.message
        for p in pixel_range_problems(Input(**given), INPUT, lambda: (33.3, 78.6))
    }
    assert problems.keys() == expected.keys()
    assert all(expected[key] in message for key, message in problems.items())
    without_data = {p.loc[-1]: p.message for p in pixel_range_problems(Input(**given), INPUT, None)}
    assert without_data.keys() == expected.keys()
    assert not any("these images" in message for message in without_data.values())


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"mean": 0.0, "std": 255.0},
        {"mean": 0.0, "std": 256.0},
        {"mean": 0.0, "std": 1.0},  # bytes as they are
        {"mean": [104.0, 117.0, 123.0], "std": 1.0},  # as Caffe's models
        {"mean": 127.5, "std": 127.5},
        {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]},
        {"mean": -1.0, "std": 127.5},
        {"mean": [0.5, 116.0, 103.0], "std": 60.0},
    ],
)
def test_mean_and_std_for_pixels_up_to_255_are_accepted(given: dict[str, object]) -> None:
    assert pixel_range_problems(Input(**given), INPUT, lambda: (33.3, 78.6)) == []


def test_small_mean_and_std_are_accepted_for_dark_images() -> None:
    given = Input(mean=0.1307, std=0.3081)
    assert pixel_range_problems(given, INPUT, lambda: (0.13, 0.34)) == []
    problems = pixel_range_problems(given, INPUT, lambda: (0.5, 9.0))  # dark, with bright dots
    assert [problem.loc[-1] for problem in problems] == ["std"]


def test_the_images_are_measured(write_suite: Write, tmp_path: Path) -> None:
    scaling = "recipe.input={mean: 0.1307, std: 0.3081}"
    with pytest.raises(RequestError, match=r"input\.std: pixels are 0 to 255 here") as caught:
        check(load_suite(write_suite(), [scaling]), NOWHERE)
    assert "recipe.input.mean: pixels are 0 to 255 here, and 0.1307 of 255" in str(caught.value)
    random = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for split in ("train", "test"):
        arrays[f"{split}_images"] = random.integers(0, 2, (40, 8, 8, 1), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(40) % 2
    card = make_card("masks", ["a", "b"], "random", "", arrays)
    save_prepared(tmp_path / "masks", arrays, card)
    path = write_suite(("dataset: digits", "dataset: masks"))
    assert check(load_suite(path, [scaling]), tmp_path).trials
