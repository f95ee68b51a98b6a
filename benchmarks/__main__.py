"""Print what lossbench costs beside what a user would pick instead."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks import heads as of_heads
from benchmarks.environment import environment

app = typer.Typer(add_completion=False, no_args_is_help=True)
console = Console()
Json = Annotated[Path | None, typer.Option("--json", help="Write the figures there, too.")]
Rounds = Annotated[int, typer.Option(min=1, help="How often every candidate has its turn.")]


@app.callback()
def main() -> None:
    """Print what lossbench costs beside what a user would pick instead."""


@app.command()
def heads(
    rounds: Rounds = 9,
    turn_sec: Annotated[float, typer.Option(help="Length of a turn.")] = 0.2,
    compiled: Annotated[bool, typer.Option(help="Also under torch.compile.")] = False,
    only: Annotated[str, typer.Option(help="Heads whose name has this in it.")] = "",
    shape: Annotated[list[int] | None, typer.Option(help="Which shapes, from 0.")] = None,
    json_file: Json = None,
) -> None:
    """Loss heads beside a linear layer with cross-entropy."""
    measured: list[of_heads.Measured] = []
    shapes = [of_heads.SHAPES[i] for i in shape or range(len(of_heads.SHAPES))]
    modes = [False, True] if compiled else [False]
    with Progress(console=console, transient=True) as progress:
        for one in progress.track([(s, m) for s in shapes for m in modes]):
            measured += of_heads.measure(one[0], rounds, turn_sec, compiled=one[1], only=only)
    console.print(f"forward + backward, float32, one thread; {_said(environment())}")
    for one_shape in shapes:
        console.print(_heads_table(one_shape, [m for m in measured if m.shape == one_shape]))
    _write(json_file, "heads", measured)


def _heads_table(shape: tuple[int, int, int], rows: Iterable[of_heads.Measured]) -> Table:
    batch, feature_dim, num_classes = shape
    table = Table(title=f"batch {batch}, D {feature_dim}, K {num_classes}", title_justify="left")
    for name, justify in (
        ("head", "left"), ("mode", "left"), ("us a call", "right"), ("time ratio", "right"),
        ("middle half", "right"), ("bar", "right"), ("memory ratio", "right"), ("bar", "right"),
    ):  # fmt: skip
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for row in rows:
        table.add_row(
            row.head,
            row.mode,
            f"{row.microseconds:,.0f}",
            _against(row.time_ratio, row.time_bar),
            f"{row.time_low:.3g} to {row.time_high:.3g}",
            "" if row.time_bar is None else f"{row.time_bar:g}",
            "" if row.memory_ratio is None else _against(row.memory_ratio, row.memory_bar),
            "" if row.memory_bar is None else f"{row.memory_bar:g}",
        )
    return table


def _against(value: float, bar: float | None) -> str:
    shown = f"{value:.3g}"
    if bar is None:
        return shown
    return f"[green]{shown}[/]" if value <= bar else f"[red]{shown} missed[/]"


def _said(facts: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def _write(path: Path | None, name: str, measured: Iterable[Any]) -> None:
    if path is not None:
        found = {"environment": environment(), name: [asdict(one) for one in measured]}
        path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    app()
