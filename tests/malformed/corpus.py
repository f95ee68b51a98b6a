"""Cases of malformed input, with texts that the message must contain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SUITE = """\
suite: bad
dataset: digits
model: {name: digits_cnn, feature_dim: 2}
recipe:
  epochs: 2
  batch_size: 64
  optimizer: {name: sgd, lr: 0.03, momentum: 0.9}
seeds: [0, 1]
reference: softmax
losses:
  - softmax
  - lgm: {alpha: {grid: [0.0, 0.3]}}
"""


@dataclass(frozen=True)
class Case:
    """A malformed input.

    Attributes:
        name: Name of the case.
        make: Writes the input to the working folder, which has a valid suite `bad.yaml`, and
            returns the arguments of the command line.
        expected: Texts that the message must contain.
    """

    name: str
    make: Callable[[Path], list[str]]
    expected: tuple[str, ...]


def edited(name: str, old: str, new: str, *expected: str) -> Case:
    """A suite in which a piece of text is replaced."""
    assert SUITE.count(old) == 1, old

    def make(folder: Path) -> list[str]:
        (folder / "bad.yaml").write_text(SUITE.replace(old, new), encoding="utf-8")
        return ["run", "bad.yaml"]

    return Case(name, make, expected)


def written(name: str, content: str | bytes, *expected: str) -> Case:
    """A file that is no suite at all."""

    def make(folder: Path) -> list[str]:
        data = content.encode() if isinstance(content, str) else content
        (folder / "bad.yaml").write_bytes(data)
        return ["run", "bad.yaml"]

    return Case(name, make, expected)


def called(name: str, arguments: list[str], *expected: str) -> Case:
    """A wrong command line on a good suite."""
    return Case(name, lambda _: arguments, expected)


def overridden(name: str, override: str, *expected: str) -> Case:
    """A wrong `--set` on a good suite."""
    return called(name, ["run", "bad.yaml", "--set", override], *expected)
