"""Text files are UTF-8 in every locale: nothing is opened with the locale's encoding."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
SOURCES = sorted(
    path
    for folder in ("lossbench", "tests", "benchmarks", "docs", ".ci", "deploy")
    for path in (REPOSITORY / folder).rglob("*.py")
)
BINARY = {"bz2", "gzip", "Image", "lzma", "os", "pq", "tarfile", "zipfile"}
"""Modules and classes whose `open` is of bytes unless told otherwise."""


def without_encoding(tree: ast.AST) -> Iterator[ast.Call]:
    """Calls that open text in the locale's encoding, as far as names tell.

    ruff's PLW1514 sees those only whose type it knows.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _opens_text(node):
            yield node


def _opens_text(call: ast.Call) -> bool:
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    if "encoding" in keywords or None in keywords:
        return False
    owner, name = "", ""
    if isinstance(call.func, ast.Attribute):
        owner, name = ast.unparse(call.func.value), call.func.attr
    elif isinstance(call.func, ast.Name):
        name = call.func.id
    values = [*call.args, keywords.get("mode")]
    texts = [v.value for v in values if isinstance(v, ast.Constant) and isinstance(v.value, str)]
    mode = next((text for text in reversed(texts) if text and set(text) <= set("rwxabt+")), "r")
    if name == "read_text":
        return not call.args
    if name == "write_text":
        return len(call.args) == 1
    if name == "open":
        of_paths = owner not in BINARY and not owner.endswith(
            ("Tracker", "Store", "opener", "archive")
        )
        return of_paths and "b" not in mode
    if name in ("NamedTemporaryFile", "TemporaryFile"):
        return texts != [] and "b" not in mode
    return "text" in keywords and owner == "subprocess"


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("open('x')", 1),
        ("open('x', 'rb')", 0),
        ("open('x', encoding='utf-8')", 0),
        ("(folder / 'x').open('w')", 1),
        ("path.open(mode='wb')", 0),
        ("path.read_text()", 1),
        ("path.write_text(text)", 1),
        ("subprocess.run(command, text=True)", 1),
        ("subprocess.run(command)", 0),
        ("Image.open(path)", 0),
        ("Tracker.open(uri)", 0),
    ],
)
def test_what_is_found(code: str, found: int) -> None:
    assert len(list(without_encoding(ast.parse(code)))) == found


def test_every_text_file_is_opened_as_utf_8() -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}:{call.lineno}: {ast.unparse(call)}"
        for path in SOURCES
        for call in without_encoding(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []
