"""Baselines that are none, or of something else."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.malformed.corpus import Case

COMMITTED = Path(__file__).resolve().parents[2] / "baselines" / "digits.json"
DIGITS = COMMITTED.parent.parent / "suites" / "digits.yaml"
Content = dict[str, Any]


def changed(name: str, change: Callable[[Content], object], *expected: str) -> Case:
    """The digits suite against its committed baseline with something changed by hand."""

    def make(folder: Path) -> list[str]:
        content = copy.deepcopy(json.loads(COMMITTED.read_text(encoding="utf-8")))
        change(content)
        return _against(folder, json.dumps(content).encode())

    return Case(name, make, expected)


def written(name: str, content: bytes, *expected: str) -> Case:
    """Instead of a baseline."""
    return Case(name, lambda folder: _against(folder, content), expected)


def _against(folder: Path, content: bytes) -> list[str]:
    shutil.copy(DIGITS, folder / "digits.yaml")
    (folder / "base.json").write_bytes(content)
    return ["check", "digits.yaml", "--baseline", "base.json"]


def asked(name: str, arguments: list[str], *expected: str) -> Case:
    """A wrong command line with a valid baseline."""

    def make(folder: Path) -> list[str]:
        command = _against(folder, COMMITTED.read_bytes())
        return [*command[:2], *arguments]

    return Case(name, make, expected)


def _first(content: Content) -> Content:
    return content["cells"][0]


BASELINES = [
    written("an empty baseline", b"", "base.json"),
    written("half a baseline", COMMITTED.read_bytes()[:700], "base.json"),
    written("a baseline that is a list", b"[]", "base.json"),
    written("a baseline in latin-1", '{"suite": "b\xe4d"}'.encode("latin-1"), "base.json"),
    written("a pickled baseline", b"\x80\x04\x95\x0f\x00\x00\x00\x00\x00\x00\x00.", "base.json"),
    changed("a baseline's unknown key", lambda c: c.update(suit="x"), "base.json", "suit: unknown key", "did you mean 'suite'"),
    changed("a baseline's missing key", lambda c: c.pop("device"), "base.json", "device", "missing"),
    changed("a baseline of another version", lambda c: c.update(version=99), "base.json", "version"),
    changed("a baseline of another suite", lambda c: c.update(suite="mnist"), "suite: 'mnist' in the baseline, 'digits' now"),
    changed("a baseline on other data", lambda c: c["data"].update(digest="0" * 16), "base.json", "data", "0" * 16),
    changed("a value that is text", lambda c: _first(c).update(values=["a", "b", "c"]), "base.json", "cells", "values"),
    changed("a value that is not finite", lambda c: _first(c).update(values=[float("nan")] * 3), "base.json"),
    changed("fewer values than seeds", lambda c: _first(c).update(values=[1.0]), "base.json", "cells"),
    changed("a seed twice", lambda c: _first(c).update(seeds=[0, 0, 1]), "base.json", "cells"),
    changed("a cell twice", lambda c: c["cells"].append(_first(c)), "base.json", "cells"),
    changed("a cell of an unknown metric", lambda c: _first(c).update(metric="eror"), "base.json", "eror"),
    changed("a negative minimum effect", lambda c: c["metrics"][0].update(min_effect=-1), "base.json", "min_effect"),
    changed("a metric the other way round", lambda c: c["metrics"][0].update(direction="higher"), "base.json: metrics.error.direction: higher in the baseline, lower now"),
    changed("a metric of another unit", lambda c: c["metrics"][0].update(unit="points"), "base.json: metrics.error.unit: points in the baseline, % of images now"),
    written("a key of a baseline twice", COMMITTED.read_bytes().replace(b'"suite":', b'"suite": "x", "suite":', 1), "base.json: broken JSON: duplicate key 'suite'"),
    changed("a recipe changed by hand", lambda c: c["conditions"]["recipe"].update(epochs=3), "base.json"),
    changed("a row that the suite lost", lambda c: _first(c).update(loss="circle", row="circle"), "base.json", "the suite has no 2-D/circle"),
    asked("no baseline there", ["--baseline", "bsae.json"], "bsae.json: no such file; did you mean 'base.json'"),
    asked("a baseline that is a folder", ["--baseline", "."], "error: ."),
    asked("accept without update", ["--baseline", "base.json", "--accept"], "--accept: only together with --update"),
    asked("nothing run yet", ["--baseline", "base.json"], "nothing has been run here yet"),
    asked("an unknown form", ["--baseline", "base.json", "--format", "xml"], "'xml' is not one of"),
]  # fmt: skip
