"""Digests of plugin objects change only with code that the objects depend on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lossbench.assembly.plugins import forget, installed, read_plugins
from lossbench.losses import LOSSES

FILE = '''\
"""Two losses that share a helper."""
import math

import torch
from torch import nn
from torch.nn import functional as F

from lossbench.losses import LOSSES, LossHead

HEAT = 0.5  # of `first`
COLD = math.sqrt(4)
limits = {}


def shared(scores, labels):
    """Cross-entropy."""
    return F.cross_entropy(scores, labels) * scale()


def scale():
    return 1.0


def of_second(x):
    return x + COLD


class Base(LossHead):
    def __init__(self, num_classes, feature_dim):
        super().__init__(num_classes, feature_dim)
        self.linear = nn.Linear(feature_dim, num_classes)

    def logits(self, features):
        return self.linear(features)


@LOSSES.register("first", reference="A paper")
class First(Base):
    """The first."""

    def terms(self, features, labels):
        # a comment
        return {"a": HEAT * shared(self.logits(features), labels)}


@LOSSES.register("second")
class Second(Base):
    def terms(self, features, labels):
        return {"b": of_second(shared(self.logits(features), labels))}


if __name__ == "__main__":
    print(First(3, 2))
'''
Digests = Callable[..., dict[str, str]]


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    modules = set(sys.modules)
    yield
    for file in list(installed):
        forget(file)
    for name in set(sys.modules) - modules:
        if name in ("neighbour", "deeper", "package_of_mine"):
            del sys.modules[name]


@pytest.fixture
def digests(tmp_path: Path) -> Digests:
    def read(*edits: tuple[str, str], text: str = FILE) -> dict[str, str]:
        for old, new in edits:
            assert old in text, old
            text = text.replace(old, new)
        (tmp_path / "my_losses.py").write_text(text, encoding="utf-8")
        read_plugins([tmp_path / "my_losses.py"])
        entries = LOSSES.plugin_entries()
        return {k.removeprefix("loss "): entry.code_digest for k, entry in entries.items()}

    return read


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        # what says nothing
        ("# a comment", "# another one", ""),
        ('"""The first."""', '"""The very first."""', ""),
        ('"""Cross-entropy."""\n', "\n", ""),
        ('"""Two losses', '"""Three losses', ""),
        ("HEAT = 0.5  # of `first`", "HEAT = (\n    0.50\n)", ""),
        ('{"b": of_second(', "{'b':of_second( ", ""),
        ('reference="A paper"', 'reference="Another paper"', ""),
        ("print(First(3, 2))", "print(First(4, 2))", ""),
        ("import math\n", "import math\nimport os\n", ""),
        ("class Base", "def unused():\n    return 3\n\n\nclass Base", ""),
        # one
        ("HEAT = 0.5", "HEAT = 0.6", "first"),
        ('{"a": HEAT', '{"a": 2 * HEAT', "first"),
        ("x + COLD", "x - COLD", "second"),
        ("math.sqrt(4)", "math.sqrt(9)", "second"),
        ("class Base", "HEAT += 1\n\n\nclass Base", "first"),
        ("class Base", "Second_ = 1\nof_second.more = 2\n\n\nclass Base", "second"),
        ("limits = {}", "limits = {}\n\n\ndef warm():\n    global HEAT\n    HEAT = 2", "first"),
        # both
        ("return F.cross_entropy(scores, labels) *", "return F.nll_loss(scores, labels) *", "both"),
        ("return 1.0", "return 2.0", "both"),
        ("return self.linear(features)", "return 2 * self.linear(features)", "both"),
        ("from torch.nn import functional as F", "import torch.nn.functional as F", "both"),
        ("limits = {}", "limits = {}\ntorch.set_flush_denormal(False)", "both"),
        ("limits = {}", "limits = {}\nnn.Linear.mine = 3", "both"),
        ("limits = {}", "try:\n    limits = {}\n    print(end='')\nfinally:\n    pass", "both"),
        ("limits = {}", "LossHead.spare = property(lambda self: 1)\ndel LossHead.spare", "both"),
    ],
)
def test_an_edit_changes_the_digests_of_objects_that_use_it(
    digests: Digests, old: str, new: str, changed: str
) -> None:
    before, after = digests(), digests((old, new))
    expected = {"first", "second"} if changed == "both" else {changed} - {""}
    assert {name for name in before if before[name] != after[name]} == expected


@pytest.mark.parametrize(
    "opaque",
    [
        "from math import *",
        "exec('HEAT = 0.5')",
        "globals()['HEAT'] = 0.5",
        "setattr(Base, 'x', 1) if 0 else None",
        "import sys\nsys.modules[__name__].HEAT = 0.5",
        "class Parent:\n    def __init_subclass__(cls):\n        pass",
        "class Meta(type):\n    pass\n\n\nclass Odd(metaclass=Meta):\n    pass",
    ],
)
def test_the_digest_covers_the_whole_file_if_dependencies_are_unknown(
    digests: Digests, opaque: str
) -> None:
    edit = ("limits = {}", f"limits = {{}}\n{opaque}")
    before = digests(edit)
    changed = digests(edit, ("x + COLD", "x - COLD"))
    assert all(before[name] != changed[name] for name in before)
    assert digests(edit, ("# a comment", "# none")) == before


def test_a_decorator_of_the_file_counts_for_every_object(digests: Digests) -> None:
    """It may change anything."""
    mark = "limits = {}\n\n\ndef mark(f):\n    limits[f] = 1\n    return f\n\n\n"
    edit = ("limits = {}", f"{mark}@mark\ndef marked():\n    return 1")
    before = digests(edit)
    changed = digests(edit, ("limits[f] = 1", "limits[f] = 2"))
    assert all(before[name] != changed[name] for name in before)


def test_names_in_string_annotations_count_but_other_strings_do_not(digests: Digests) -> None:
    """Also `compile`, `modules` and words in messages, which tie nothing together."""
    words = (
        ("import math\n", "import math\nimport re\n"),
        ("# a comment", "assert re.compile('of_second exec').pattern and self.modules()"),
        ("def of_second(x)", "def of_second(x: 'Number')"),
        ("limits = {}", "Number = float"),
    )
    before = digests(*words)
    after = digests(*words, ("x + COLD", "x - COLD"))
    assert {name for name in before if before[name] != after[name]} == {"second"}
    after = digests(*words, ("Number = float", "Number = int"))
    assert {name for name in before if before[name] != after[name]} == {"second"}


def test_the_digest_of_an_object_from_a_call_covers_the_whole_file(digests: Digests) -> None:
    made = "\n\ndef make():\n    class Third(First):\n        pass\n    return Third\n\n\n"
    text = f'{FILE}{made}LOSSES.register("third")(make())\n'
    before, after = digests(text=text), digests(("x + COLD", "x - COLD"), text=text)
    assert {name for name in before if before[name] != after[name]} == {"second", "third"}


def test_registration_by_a_call_equals_a_decorator(digests: Digests) -> None:
    called = FILE.replace('@LOSSES.register("second")\n', "")
    called += '\n\nLOSSES.register("second")(Second)\n'
    assert digests(text=called) == digests()


def test_imported_files_of_the_folder_count(digests: Digests, tmp_path: Path) -> None:
    edits = [("import math\n", "import math\nimport neighbour\n"), ("HEAT *", "neighbour.heat() *")]

    def written(neighbour: str, deeper: str = "HEAT = 1\n") -> dict[str, str]:
        for name in ("neighbour", "deeper"):
            sys.modules.pop(name, None)
        for file in list(installed):  # like a new process
            forget(file)
        (tmp_path / "neighbour.py").write_text(
            f"from deeper import HEAT\n{neighbour}", encoding="utf-8"
        )
        (tmp_path / "deeper.py").write_text(deeper, encoding="utf-8")
        return digests(*edits)

    before = written("def heat():\n    return HEAT\n")
    commented = written("def heat():\n    return HEAT  # now\n", "HEAT = 1  # it\n")
    assert commented == before
    edited = written("def heat():\n    return 2 * HEAT\n")
    assert {name for name in before if before[name] != edited[name]} == {"first"}
    deep = written("def heat():\n    return HEAT\n", "HEAT = 2\n")
    assert {name for name in before if before[name] != deep[name]} == {"first"}


def test_the_digest_is_the_same_for_all_versions_of_python(digests: Digests) -> None:
    """A library's new version must not train everything again."""
    assert digests() == {"first": "ca99c26b29f5621c", "second": "b9581996e53710a8"}
