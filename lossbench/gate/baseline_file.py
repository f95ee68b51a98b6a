"""The baseline file: read it, and the text to write."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lossbench.errors import Loc, RequestError, validation_problems
from lossbench.gate.baseline import (
    Baseline,
    BaselineCell,
    BaselineColumn,
    BaselineData,
    BaselineMetric,
    Conditions,
    json_digest,
)
from lossbench.suite.schema import Recipe


def read_baseline(path: Path) -> Baseline:
    """Read a baseline file.

    Raises:
        RequestError: The file is missing, not JSON, or has invalid keys or values; the message
            lists all of them.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RequestError(
            f"{path}: no such file{_near_file(path)}; `--update` writes it"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not a text file in UTF-8"
        raise RequestError(f"{path}: cannot be read: {reason}") from None
    try:
        content = json.loads(text, object_pairs_hook=_without_duplicates)
        baseline = Baseline.model_validate_json(text)
    except ValidationError as error:
        lines = [
            f"{path}: {_dotted(p.loc) + ': ' if p.loc else ''}{p.message}"
            for p in validation_problems(error, _keys_at)
        ]
        raise RequestError("\n".join(lines)) from None
    except ValueError as error:
        raise RequestError(f"{path}: broken JSON: {error}") from None
    # computed from the file, not from the model, which may have gained keys since
    digest = json_digest(content["conditions"])
    if digest != baseline.conditions_digest:
        raise RequestError(
            f"{path}: conditions_digest: does not match the conditions ({digest}); the file was "
            "edited by hand: measure again and use --update"
        )
    return baseline


def _near_file(path: Path) -> str:
    """Suggestion of a JSON file in the same folder with a similar name; empty without one."""
    stems = [other.stem for other in path.parent.glob("*.json")]
    near = difflib.get_close_matches(path.stem, stems, n=1, cutoff=0.7)
    return f"; did you mean '{near[0]}.json'?" if near else ""


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object without duplicate keys, of which Python would keep the last."""
    seen: dict[str, Any] = {}
    for key, value in pairs:
        if key in seen:
            raise ValueError(f"duplicate key {key!r}")
        seen[key] = value
    return seen


def baseline_text(baseline: Baseline) -> str:
    """Text of the file: one line per metric and per cell, so that a diff shows which changed."""
    content = baseline.model_dump(mode="json")
    lines = []
    for key, value in content.items():
        if key in ("metrics", "cells"):
            inner = ",\n".join(f"  {json.dumps(v, ensure_ascii=False)}" for v in value)
            lines.append(f' "{key}": [\n{inner}\n ]')
        elif key == "conditions":
            inner = ",\n".join(
                f'  "{k}": {json.dumps(v, ensure_ascii=False)}' for k, v in value.items()
            )
            lines.append(f' "{key}": {{\n{inner}\n }}')
        else:
            lines.append(f' "{key}": {json.dumps(value, ensure_ascii=False)}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _dotted(path: Loc) -> str:
    text = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path)
    return text.removeprefix(".")


def _keys_at(path: Loc) -> list[str]:
    """Valid keys of the mapping at a path in the file."""
    model: Any = Baseline
    for part in path:
        if isinstance(part, int):
            continue
        models = {
            "data": BaselineData, "conditions": Conditions, "metrics": BaselineMetric,
            "cells": BaselineCell, "recipe": Recipe, "variants": BaselineColumn,
        }  # fmt: skip
        model = models.get(part, model)
    return list(model.model_fields)
