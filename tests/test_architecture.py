"""ARCHITECTURE.md is true: its layers, packages, files and names are those of the code."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
PACKAGES = sorted(path.parent.name for path in ROOT.glob("lossbench/*/__init__.py"))
FILES = sorted(set(re.findall(r"`((?:lossbench|tests|docs|suites)/[\w./-]*)`", PAGE)))
MODULES = [path.stem for path in ROOT.glob("lossbench/[a-z]*.py")]
NAMES = sorted(set(re.findall(rf"`((?:{'|'.join([*PACKAGES, *MODULES])})(?:\.\w+){{1,3}})`", PAGE)))


def test_the_layers_are_those_that_are_checked() -> None:
    shown = re.search(r"^```layers\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert shown
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    [layers] = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    assert shown[1].splitlines() == layers


def test_every_package_has_a_line_and_a_docstring() -> None:
    assert sorted(re.findall(r"^\| `lossbench/(\w+)/` \| \w", PAGE, re.MULTILINE)) == PACKAGES
    for package in PACKAGES:
        assert importlib.import_module(f"lossbench.{package}").__doc__, package


@pytest.mark.parametrize("path", FILES)
def test_files_exist(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("name", NAMES)
def test_names_exist(name: str) -> None:
    """`package.module.function`, `package.module.Class.method`; also attributes of dataclasses."""
    found: Any = importlib.import_module("lossbench")
    for part in name.split("."):
        fields = getattr(found, "__dataclass_fields__", {})
        if part in fields:
            return
        found = _child(found, part)


def _child(parent: Any, name: str) -> Any:
    if isinstance(parent, ModuleType) and hasattr(parent, "__path__"):
        return importlib.import_module(f"{parent.__name__}.{name}")
    return getattr(parent, name)
