"""The losses that `lossbench test-loss` can load, and its messages for all others."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lossbench.conformance import load_target
from lossbench.errors import RequestError

HEAD = """\
import torch
from typing import Annotated
from pydantic import Field
from torch import nn
from torch.nn import functional as F
from lossbench.losses import LossHead
from lossbench.losses.base import in_float32

class Head(LossHead):
    def __init__(self, num_classes, feature_dim, *, scale: Annotated[float, Field(gt=0)] = 1.0):
        super().__init__(num_classes, feature_dim)
        self.scale = scale
        self.linear = nn.Linear(feature_dim, num_classes)

    @in_float32
    def terms(self, features, labels):
        return {"x": self.scale * F.cross_entropy(self.linear(features), labels)}

    @in_float32
    def logits(self, features):
        return self.linear(features)

def make(num_classes, feature_dim, *, scale: float = 2.0):
    return Head(num_classes, feature_dim, scale=scale)
"""
NUMBERS = itertools.count()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Write a module with a unique name into the working folder."""
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)

    def write(text: str) -> str:
        name = f"losses_{next(NUMBERS)}"
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        return name

    yield write
    for name in set(sys.modules) - before:
        if name.startswith("losses_"):
            del sys.modules[name]


def test_classes_factories_and_registered_names_are_loaded(module: Callable[[str], str]) -> None:
    name = module(HEAD)
    assert load_target(f"{name}:Head", ["scale=3"]).fresh().scale == 3
    assert load_target(f"{name}:make").fresh().scale == 2
    assert load_target("lgm", ["lambda=0.5"]).fresh().lambda_ == 0.5
    assert str(Path.cwd()) not in sys.path


BAD_TARGETS = [
    ("lgn", [], HEAD, "unknown loss 'lgn'; did you mean 'lgm'?"),
    ("@_:Head", [], HEAD, "no module '@_' in "),
    ("@.py:Head", [], HEAD, "name the module without .py, as in @:Head"),
    ("../@:Head", [], HEAD, "should be MODULE:CLASS, as in my_losses:MyHead"),
    ("@:", [], HEAD, "name the class, as in @:MyHead (known: Head, make)"),
    ("@:Haed", [], HEAD, "@.py has no 'Haed'; did you mean 'Head'?"),
    ("@:Head", ["scal=3"], HEAD, "@.py: Head: scal: unknown key; did you mean 'scale'?"),
    ("@:Head", ["scale=0"], HEAD, "scale: should be greater than 0, not 0"),
    ("@:Head", ["scale=much"], HEAD, "scale: should be a valid number, not 'much'"),
    ("@:Head", ["scale"], HEAD, "--set scale: should be KEY=VALUE"),
    ("@:Head", ["a.scale=1"], HEAD, "should be PARAMETER=VALUE, without dots"),
    ("@:Head", ["scale=[1"], HEAD, "--set scale=[1: broken YAML"),
    ("triplet", ["weight=0", "softmax_weight=0"], HEAD, "triplet: weight: should not be 0 if"),
    ("@:torch", [], HEAD, "@.py: torch is a module, not a LossHead class"),
    ("@:Plain", [], "class Plain:\n    pass\n", "@.py:1: Plain is not a LossHead"),
    ("@:Abstract", [], HEAD + "\nclass Abstract(LossHead):\n    pass\n", "has no logits and no"),
    ("@:number", [], HEAD + "\ndef number(k, d):\n    return 3\n", "returns a int, not a LossHead"),
    ("@:few", [], HEAD + "\ndef few():\n    return 3\n", "few cannot be created: TypeError: few()"),
    ("@:bad", [], HEAD + "\ndef bad(k, d):\n    return 1 / 0\n", "ZeroDivisionError"),
    ("@:f", [], HEAD + "\ndef f(k, d, *, x=1):\n    pass\n", "parameter 'x' has no annotation"),
    ("@:f", [], HEAD + "\ndef f(k, d, *, x: 'y'):\n    pass\n", "parameters of f cannot be read"),
    ("@:Head", [], "x = 1\nclass Head(:\n", "@.py:2: SyntaxError: "),
    ("@:Head", [], "if 1:\nx = 2\n", "@.py:2: IndentationError: "),
    ("@:Head", [], "import no_such_thing\n", "No module named 'no_such_thing' (@.py:1)"),
    ("@:Head", [], "\nx = 1 / 0\n", "ZeroDivisionError: division by zero (@.py:2)"),
    ("@:Head", [], "import sys\nsys.exit(3)\n", "cannot be imported: SystemExit: 3 (@.py:2)"),
]  # fmt: skip


@pytest.mark.parametrize(("target", "overrides", "text", "expected"), BAD_TARGETS)
def test_a_wrong_target_or_parameter_is_refused(
    module: Callable[[str], str], target: str, overrides: list[str], text: str, expected: str
) -> None:
    name = module(text)
    with pytest.raises(RequestError) as caught:
        load_target(target.replace("@", name), overrides)
    assert expected.replace("@", name) in str(caught.value)
    assert "\n" not in str(caught.value)
