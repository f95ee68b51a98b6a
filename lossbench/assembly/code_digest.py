"""Digest of the code that one object of a plugin file depends on.

The code of an object is its definition and, transitively, everything in its file that the
definition refers to (functions, constants, base classes, imports); the statements of the file that
may have side effects; and imported Python files of the same folder. Comments, docstrings and
formatting are ignored. If dependencies cannot be determined (`from x import *`, `exec`,
metaclasses, ...), the code of the object is the whole file.
"""

from __future__ import annotations

import ast
import copy
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from lossbench.planning.trial import short_digest

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_BLOCKS = (ast.If, ast.For, ast.While, ast.Try, ast.With, ast.Match)
_DYNAMIC = {
    *("exec", "eval", "compile", "globals", "locals", "vars", "setattr", "delattr", "__import__"),
}
"""Functions by which a file can access or change objects without mentioning their names."""
_DYNAMIC_PARTS = {"__dict__", "import_module", "__init_subclass__", "__set_name__"}
_PLAIN_DECORATORS = {
    *("property", "staticmethod", "classmethod", "functools", "dataclasses", "dataclass", "torch"),
    *("lru_cache", "cache", "contextlib", "contextmanager", "abc", "typing", "final", "override"),
}
_LEFT_OUT = {"ctx", "kind", "type_comment", "type_ignores"}


class CodeDigests:
    """Digests of the objects that a file registers.

    Args:
        text: Content of the file, valid Python.
        file: Path of the file; it may import other files of its folder.
    """

    def __init__(self, text: str, file: Path) -> None:
        self._file = file
        tree = ast.parse(text)
        if not any(_name_of(node) == "__doc__" for node in ast.walk(tree)):
            tree = _WithoutDocstrings().visit(tree)
        self._imported = _lossbench_names(tree)
        self._defined = {node.name for node in tree.body if isinstance(node, _SCOPES)}
        self._body = [
            part for part in map(self._without_registration, tree.body) if part is not None
        ]
        self._whole = any(map(_is_opaque, ast.walk(tree)))

    def __call__(self, factory: Callable[..., Any]) -> str:
        """Digest of the code of a factory that is defined or imported at the top of the file."""
        name = getattr(factory, "__qualname__", "")
        binders = [node for node in self._body if name in _bound(node)]
        defined = getattr(factory, "__module__", None) == self._file.stem
        expected = _SCOPES if defined else ast.ImportFrom
        if self._whole or not any(isinstance(node, expected) for node in binders):
            return self._digest(self._body)
        return self._digest(self._reached(binders))

    def _reached(self, start: Iterable[ast.stmt]) -> list[ast.stmt]:
        """The start statements, those with side effects, and all that they use, in file order."""
        binders: dict[str, list[ast.stmt]] = {}
        for node in self._body:
            for name in _bound(node):
                binders.setdefault(name, []).append(node)
        waiting = [*start, *filter(self._has_effects, self._body)]
        reached: set[int] = set()
        while waiting:
            statement = waiting.pop()
            if id(statement) in reached:
                continue
            reached.add(id(statement))
            for name in {name for node in ast.walk(statement) for name in _identifiers(node)}:
                waiting += binders.get(name, [])
        return [node for node in self._body if id(node) in reached]

    def _digest(self, statements: Iterable[ast.stmt]) -> str:
        parts = []
        for statement in statements:
            parts.append(_canonical(statement))
            parts += [found for node in ast.walk(statement) for found in _files(node, self._file)]
        return short_digest("\0".join(parts))

    def _without_registration(self, node: ast.stmt) -> ast.stmt | None:
        """A statement without calls that only register; None if nothing is left."""
        if isinstance(node, _SCOPES):
            node = copy.copy(node)
            node.decorator_list = [d for d in node.decorator_list if not self._registers(d)]
        elif isinstance(node, ast.Expr):
            call = node.value  # LOSSES.register("mine")(Mine)
            if isinstance(call, ast.Call) and self._registers(call.func):
                return None
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'":
            return None  # not run, because plugins are imported
        return node

    def _registers(self, node: ast.expr) -> bool:
        """Whether an expression is `REGISTRY.register(...)` with a registry of lossbench."""
        called = node.func if isinstance(node, ast.Call) else None
        registry = called.value if isinstance(called, ast.Attribute) else None
        return (
            isinstance(called, ast.Attribute)
            and called.attr == "register"
            and isinstance(registry, ast.Name)
            and registry.id in self._imported
        )

    def _has_effects(self, node: ast.stmt) -> bool:
        """Whether a statement may change others when the file is imported."""
        if isinstance(node, _SCOPES):
            roots = set(map(_root, node.decorator_list))
            return bool(roots - _PLAIN_DECORATORS or roots & self._defined)
        if isinstance(node, ast.ImportFrom):
            return node.module == "__future__"
        if isinstance(node, _BLOCKS):
            return any(map(self._has_effects, _statements(ast.iter_child_nodes(node))))
        return isinstance(node, ast.Expr | ast.Assert | ast.Delete | ast.Raise)


def normalized_source(tree: ast.Module) -> str:
    """Text of a module that is independent of its comments, docstrings and formatting."""
    return _canonical(_WithoutDocstrings().visit(tree))


class _WithoutDocstrings(ast.NodeTransformer):
    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else node


def _statements(nodes: Iterable[ast.AST]) -> Iterator[ast.stmt]:
    """Statements in the children of a block; those of `except` and `case` are one level deeper."""
    for node in nodes:
        if isinstance(node, ast.stmt):
            yield node
        elif isinstance(node, ast.ExceptHandler | ast.match_case):
            yield from node.body


def _identifiers(node: ast.AST) -> Iterator[str]:
    """Names that a node refers to, including those in string annotations."""
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Global):
        yield from node.names
    elif isinstance(node, ast.arg | ast.AnnAssign) and node.annotation:
        yield from _in_strings(node.annotation)
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns:
        yield from _in_strings(node.returns)


def _in_strings(annotation: ast.expr) -> Iterator[str]:
    for node in ast.walk(annotation):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(r"[^\W\d]\w*", node.value)


def _name_of(node: ast.AST) -> str:
    """Name that a node defines or looks up; empty if there is none."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.name if isinstance(node, _SCOPES) else ""


def _bound(statement: ast.stmt) -> set[str]:
    """Top-level names that a statement assigns or changes."""
    found: set[str] = set()
    inside: list[ast.AST] = [statement]
    while inside:
        node = inside.pop()
        if isinstance(node, _SCOPES):
            found.add(node.name)
            for inner in ast.walk(node):
                found.update(inner.names if isinstance(inner, ast.Global) else ())
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name | ast.Attribute | ast.Subscript | ast.Starred):
            if not isinstance(node.ctx, ast.Load):
                found.add(_root(node))
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
            found.add(node.name or "")
        elif isinstance(node, ast.MatchMapping):
            found.add(node.rest or "")
        inside += ast.iter_child_nodes(node)
    return found


def _root(node: ast.AST) -> str:
    """`a` of `a.b[0].c(d)`."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Starred | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _is_opaque(node: ast.AST) -> bool:
    """Whether a node may connect parts of a file without mentioning their names."""
    if isinstance(node, ast.ImportFrom):
        return any(alias.name == "*" for alias in node.names)
    if isinstance(node, ast.ClassDef):
        return any(keyword.arg == "metaclass" for keyword in node.keywords)
    if isinstance(node, ast.Attribute) and (_root(node), node.attr) == ("sys", "modules"):
        return True
    return (isinstance(node, ast.Name) and node.id in _DYNAMIC) or _name_of(node) in _DYNAMIC_PARTS


def _lossbench_names(tree: ast.Module) -> set[str]:
    return {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "lossbench"
        for alias in node.names
    }


def _canonical(node: Any) -> str:
    """Text of a syntax tree that is the same for all versions of Python."""
    if isinstance(node, ast.AST):
        fields = [
            f"{name}={_canonical(value)}"
            for name, value in ast.iter_fields(node)
            if name not in _LEFT_OUT and value is not None and value != []
        ]
        return f"{type(node).__name__}({','.join(fields)})"
    if isinstance(node, list):
        return f"[{','.join(map(_canonical, node))}]"
    return ascii(node)


def _files(node: ast.AST, importer: Path, seen: frozenset[Path] = frozenset()) -> Iterator[str]:
    """Code of the files in the importer's folder that an import statement reads, recursively."""
    if isinstance(node, ast.Import):
        modules = {alias.name.partition(".")[0] for alias in node.names}
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        modules = {node.module.partition(".")[0]}
    else:
        return
    folder = importer.parent
    for module in sorted(modules):
        loaded = getattr(sys.modules.get(module), "__file__", None)
        if loaded and folder not in Path(loaded).resolve().parents:
            continue  # an installed package takes precedence over the folder
        package = folder / module
        files = sorted(package.rglob("*.py")) if (package / "__init__.py").is_file() else []
        for file in files or [folder / f"{module}.py"]:
            if not file.is_file() or file in seen or file == importer:
                continue
            seen |= {file}
            content = file.read_bytes()
            try:
                tree = _WithoutDocstrings().visit(ast.parse(content))
            except (SyntaxError, ValueError):
                yield content.decode(errors="replace")
                continue
            yield _canonical(tree)
            for inner in ast.walk(tree):
                # `_` is not a file; only its folder is used
                yield from _files(inner, folder / "_", seen)
