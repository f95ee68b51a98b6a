"""ARCHITECTURE.md is true: its layers, packages, files and names are those of the code."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
PACKAGES = sorted(path.parent.name for path in ROOT.glob("lossbench/*/__init__.py"))
FILES = sorted(set(re.findall(r"`((?:lossbench|tests|docs|suites)/[\w./-]*)`", PAGE)))
NAMES = sorted(set(re.findall(rf"`((?:{'|'.join(PACKAGES)})(?:\.\w+){{2,3}})`", PAGE)))


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
    """`package.module.function`, or `package.module.Class.method`."""
    package, module, *parts = name.split(".")
    found = importlib.import_module(f"lossbench.{package}.{module}")
    for part in parts:
        found = getattr(found, part)
