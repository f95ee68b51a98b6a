"""Rules of style that a program can check."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
FILES = sorted(
    str(path.relative_to(REPOSITORY))
    for folder in ("lossbench", "tests")
    for path in (REPOSITORY / folder).rglob("*.py")
)
PRIVATE = re.compile(r"^_(?!_)")
ATTRIBUTE_WITHOUT_NOUN = re.compile(r"^ +[a-z_]+(, [a-z_]+)*: Of ", re.MULTILINE)
MAX_LINES = 400


def private_imports(tree: ast.Module) -> Iterator[str]:
    """Private names of other modules that a module imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lossbench"):
            yield from (alias.name for alias in node.names if PRIVATE.match(alias.name))


def docstrings(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            yield ast.get_docstring(node) or ""


@pytest.mark.parametrize("file", FILES)
def test_modules_keep_to_the_style(file: str) -> None:
    source = (REPOSITORY / file).read_text(encoding="utf-8")
    assert source.count("\n") <= MAX_LINES
    tree = ast.parse(source)
    assert list(private_imports(tree)) == []
    for text in docstrings(tree):
        assert not text.startswith(("What ", "Of ")), text
        assert not ATTRIBUTE_WITHOUT_NOUN.search(text), text


def test_the_rules_find_what_they_forbid() -> None:
    assert list(private_imports(ast.parse("from lossbench.x import _y, z, __version__"))) == ["_y"]
    assert ATTRIBUTE_WITHOUT_NOUN.search("Attributes:\n    identity: Of the trial.\n")
    assert not ATTRIBUTE_WITHOUT_NOUN.search("Attributes:\n    identity: Identity of the trial.\n")
