"""Tables and files of measured numbers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.environment import environment


def table_of(title: str, *headings: str) -> Table:
    """Empty table: the first column and that of the losses are text, the others numbers."""
    table = Table(title=title or None, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for i, heading in enumerate(headings):
        words = i == 0 or heading == "loss"
        table.add_column(heading, justify="left" if words else "right", no_wrap=i == 0)
    return table


def format_bar(bar: float | None) -> str:
    """Text of a target; empty if there is none."""
    return "" if bar is None else f"{bar:g}"


def format_against(value: float, bar: float | None, *, more_is_better: bool = False) -> str:
    """Number, green if it meets its target, else red and marked."""
    shown = f"{value:.3g}"
    if bar is None:
        return shown
    met = value >= bar if more_is_better else value <= bar
    return f"[green]{shown}  [/]" if met else f"[red]{shown} ✗[/]"


def format_facts(facts: dict[str, Any]) -> str:
    """`torch 2.13.0, threads 1`."""
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def write_json(path: Path | None, name: str, measured: Iterable[Any]) -> None:
    """Write numbers with the environment to a JSON file, if there is one."""
    if path is not None:
        found = {"environment": environment(), name: [asdict(one) for one in measured]}
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
