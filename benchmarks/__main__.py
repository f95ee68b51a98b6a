"""Times and memory of lossbench compared with the alternatives; error rates of its verdicts."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks import heads as of_heads
from benchmarks.environment import environment
from benchmarks.gpu_command import gpu
from benchmarks.output import format_against, format_bar, format_facts, table_of, write_json

app = typer.Typer(add_completion=False)
console = Console()
Json = Annotated[Path | None, typer.Option("--json", help="Also write the numbers to this file.")]
app.command()(gpu)
Rounds = Annotated[int, typer.Option(min=1, help="How often every candidate is timed.")]


@app.callback(invoke_without_command=True)
def main(context: typer.Context) -> None:
    """Print times and memory of lossbench compared with the alternatives, and targets.

    Without a command: heads, pipeline, step, precision and suite.
    """
    if context.invoked_subcommand is None:
        for command in (heads, pipeline, step, precision, suite):
            command()


@app.command()
def heads(
    rounds: Rounds = 9,
    turn_sec: Annotated[
        float, typer.Option(help="Seconds that a candidate is called in one round.")
    ] = 0.2,
    compiled: Annotated[bool, typer.Option(help="Also time them under torch.compile.")] = False,
    only: Annotated[str, typer.Option(help="Only heads whose name contains this.")] = "",
    shape: Annotated[list[int] | None, typer.Option(help="Indices of the shapes, from 0.")] = None,
    json_file: Json = None,
) -> None:
    """Compare loss heads with a linear layer and cross-entropy."""
    measured: list[of_heads.Measured] = []
    shapes = [of_heads.SHAPES[i] for i in shape or range(len(of_heads.SHAPES))]
    modes = [False, True] if compiled else [False]
    with Progress(console=console, transient=True) as progress:
        for one in progress.track([(s, m) for s in shapes for m in modes]):
            measured += of_heads.measure(one[0], rounds, turn_sec, compiled=one[1], only=only)
    console.print(f"forward + backward, float32, one thread\n{format_facts(environment())}")
    for one_shape in shapes:
        for mode in ("eager", "compiled") if compiled else ("eager",):
            rows = [m for m in measured if (m.shape, m.mode) == (one_shape, mode)]
            console.print(_heads_table(one_shape, mode, rows))
    write_json(json_file, "heads", measured)


def _heads_table(
    shape: tuple[int, int, int], mode: str, rows: Iterable[of_heads.Measured]
) -> Table:
    batch, feature_dim, num_classes = shape
    table = table_of(
        f"batch {batch}, D {feature_dim}, K {num_classes}, {mode}",
        "head", "us", "time", "target", "memory", "target",
    )  # fmt: skip
    for row in rows:
        table.add_row(
            row.head,
            f"{row.microseconds:,.0f}",
            format_against(row.time_ratio, row.time_bar),
            format_bar(row.time_bar),
            "" if row.memory_ratio is None else format_against(row.memory_ratio, row.memory_bar),
            format_bar(row.memory_bar),
        )
    return table


@app.command()
def pipeline(rounds: Rounds = 5, json_file: Json = None) -> None:
    """Compare augmented batches with a DataLoader and PIL transforms."""
    from benchmarks import pipeline as of_pipeline

    measured = list(of_pipeline.measure(rounds))
    side = of_pipeline.SIDE
    console.print(f"crop with padding 4, mirror, normalise; {side}x{side}x3, one thread")
    console.print(format_facts(environment()))
    table = table_of("", "input pipeline", "images/s", "speed", "target")
    for row in measured:
        speed = format_against(row.speed_ratio, row.bar, more_is_better=True)
        table.add_row(row.name, f"{row.images_per_sec:,.0f}", speed, format_bar(row.bar))
    console.print(table)
    write_json(json_file, "pipeline", measured)


@app.command()
def step(rounds: Rounds = 15, json_file: Json = None) -> None:
    """Compare whole training steps with the bare model, and with a matrix product."""
    from benchmarks import step as of_step

    measured = list(of_step.measure(rounds))
    console.print(f"batch {of_step.BATCH}, float32, one thread\n{format_facts(environment())}")
    table = table_of("", "model", "loss", "ms per step", "time", "interquartile range", "target")
    for row in measured:
        table.add_row(
            row.model,
            row.loss,
            f"{row.milliseconds:.1f}",
            format_against(row.time_ratio, row.bar),
            f"{row.time_low:.3f} - {row.time_high:.3f}",
            format_bar(row.bar),
        )
    console.print(table)
    shares = list(of_step.measure_shares(rounds))
    table = table_of(
        f"speed of a step with softmax, as a share of that of a product of {of_step.SIDE} x "
        f"{of_step.SIDE} matrices",
        "model", "batch", "ms per step", "GFLOP/s", "share", "interquartile range", "target",
    )  # fmt: skip
    for one in shares:
        table.add_row(
            one.model,
            str(one.batch),
            f"{one.milliseconds:.1f}",
            f"{one.gigaflops:.0f}",
            format_against(one.share, one.bar, more_is_better=True),
            f"{one.share_low:.2f} - {one.share_high:.2f}",
            format_bar(one.bar),
        )
    console.print(table)
    write_json(json_file, "step", [*measured, *shares])


@app.command()
def precision(
    rounds: Rounds = 3,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    json_file: Json = None,
) -> None:
    """Compare bfloat16 and torch.compile with eager float32."""
    from benchmarks import precision as of_precision

    measured = list(of_precision.measure(rounds, _device(device)))
    console.print(f"{of_precision.MODEL}, batch {of_precision.BATCH}, on {device}, one CPU thread")
    console.print(format_facts(environment()))
    table = table_of("", "mode", "ms per step", "speed", "all rounds", "target")
    for row in measured:
        table.add_row(
            row.mode,
            f"{row.milliseconds:.1f}",
            format_against(row.speed_ratio, row.bar, more_is_better=True),
            f"{row.low:.2f} - {row.high:.2f}",
            format_bar(row.bar),
        )
    console.print(table)
    write_json(json_file, "precision", measured)


@app.command()
def suite(
    trials: Annotated[int, typer.Option(min=4, help="Number of short trials.")] = 24,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs per short trial.")] = 40,
    many: Annotated[
        list[int] | None,
        typer.Option(min=50, help="Numbers of trials with synthetic results. [1000, 10000]"),
    ] = None,
    json_file: Json = None,
) -> None:
    """Time whole commands, with few trials that are trained and many synthetic results."""
    from benchmarks import suite as of_suite

    console.print(format_facts(environment()))
    measured: list[of_suite.Measured] = []
    sizes = many or [1000, 10_000]
    for title, part in {
        "start-up": of_suite.start_up(),
        "a second run": of_suite.second_run(),
        "short trials": of_suite.short_trials(trials, epochs),
        **{f"{size:,} trials": of_suite.many_trials(size) for size in sizes},
        f"archive of {sizes[0]:,} trials": of_suite.archived_trials(sizes[0]),
    }.items():
        table = table_of("", title, "measured", "target")
        with console.status(title):
            rows = list(part)
        for row in rows:
            table.add_row(row.what, format_against(row.value, row.bar), format_bar(row.bar))
        console.print(table)
        measured += rows
    write_json(json_file, "suite", measured)


@app.command()
def scale(
    trials: Annotated[
        list[int] | None, typer.Option(min=10, help="Numbers of trials. [200, 1000, 4000]")
    ] = None,
    at_once: Annotated[int, typer.Option(min=1, help="Trials at once.")] = 20,
    sleep_sec: Annotated[float, typer.Option(min=0.0, help="Duration of a trial.")] = 0.1,
    json_file: Json = None,
) -> None:
    """Run trials that only sleep with Ray Tune, without and with MLflow.

    A worker needs 70 MiB of memory, and 1 to 2 seconds of a processor to start.

    \b
    Examples:
      python -m benchmarks scale
      python -m benchmarks scale --trials 1000 --at-once 200 --sleep-sec 60
    """
    from benchmarks import scale as of_scale

    console.print(format_facts(environment()))
    table = table_of(
        f"{at_once} at once, {sleep_sec:g} s each", "MLflow", "trials", "trials/s",
        "driver, CPU ms per trial", "driver, MiB more", "workers", "MiB per worker",
    )  # fmt: skip
    measured = []
    for logged in (False, True):
        for number in trials or [200, 1000, 4000]:
            row = of_scale.measure(number, at_once, sleep_sec, logged=logged)
            measured.append(row)
            table.add_row(
                "SQLite" if logged else "none",
                str(row.trials),
                f"{row.trials_per_sec:.1f}",
                f"{1000 * row.driver_cpu_sec:.0f}",
                f"{row.driver_mib:.0f}",
                str(row.workers),
                f"{row.worker_mib:.0f}",
            )
    console.print(table)
    write_json(json_file, "scale", measured)


@app.command()
def verdicts(
    rows: Annotated[
        list[int] | None, typer.Option(min=2, help="Rows, with the reference; default: 8.")
    ] = None,
    columns: Annotated[list[int] | None, typer.Option(min=1, help="Columns; default: 2.")] = None,
    seeds: Annotated[
        list[int] | None, typer.Option(help="Seeds: 2, 3, 5 or 10; default: 3.")
    ] = None,
    tables: Annotated[int, typer.Option(min=50, help="Tables of each kind.")] = 1000,
    json_file: Json = None,
) -> None:
    """Error rates of the verdicts in made-up tables, with the paired t test's.

    Each entry has three shares: of tables without differences that have a verdict; of tables with a
    verdict on a row without a difference, while half of the other rows have one; and of these
    differences that are found.

    \b
    Examples:
      python -m benchmarks verdicts
      python -m benchmarks verdicts --rows 2 --rows 14 --columns 6 --seeds 5 --tables 300
    """
    from benchmarks import verdicts as of_verdicts

    measured: list[of_verdicts.Rates] = []
    for size in itertools.product(rows or [8], columns or [2], seeds or [3]):
        gap = of_verdicts.GAPS[size[2]]
        table = table_of(
            f"{size[0]} rows x {size[1]} columns, {size[2]} seeds, {tables} tables; differences of "
            f"{gap:g} standard deviations",
            "noise", "false", "false elsewhere", "found", "false, paired", "found, paired",
        )  # fmt: skip
        here = list(of_verdicts.measure(*size, tables))
        measured += here
        for pooled, paired in zip(here[::2], here[1::2], strict=True):
            limit = pooled.scenario.max_false
            aim = pooled.scenario.min_found if size == (8, 2, 3) else None
            table.add_row(
                pooled.scenario.name,
                format_against(pooled.false, limit),
                format_against(pooled.false_elsewhere, limit),
                format_against(pooled.found, aim, more_is_better=True),
                f"{paired.false:.3g}",
                f"{paired.found:.3g}",
            )
        console.print(table)
    write_json(json_file, "verdicts", measured)


@app.command(name="until-decided")
def until_decided(
    tables: Annotated[int, typer.Option(min=25, help="Tables of each kind.")] = 200,
    errors: Annotated[bool, typer.Option(help="Measure error rates.")] = True,
    savings: Annotated[bool, typer.Option(help="Measure numbers of trainings.")] = True,
    json_file: Json = None,
) -> None:
    """Error rates and numbers of trainings of `lossbench run --until-decided`, by simulation.

    Tables of 8 rows x 2 columns, 3 seeds at first and 20 at most, one more seed at each look. The
    ratio is that of the trainings to those of the smallest fixed number of seeds with at least the
    same share of right verdicts. With 200 tables a share of 5 % has a standard error of 1.5 points.

    \b
    Examples:
      python -m benchmarks until-decided
      python -m benchmarks until-decided --no-savings --tables 2000
    """
    from benchmarks import sequential

    measured: list[sequential.ErrorRates | sequential.Savings] = []
    if errors:
        table = table_of(
            f"shares of {tables} tables with any false verdict; at most {sequential.MAX_ERROR:g}",
            "noise", "better or worse", "with differences elsewhere", "equivalent",
            "with larger ones elsewhere",
        )  # fmt: skip
        rates = list(sequential.measure_errors(tables))
        for row in rates:
            shares = row.false, row.false_elsewhere, row.equivalent, row.equivalent_elsewhere
            shown = [format_against(share, sequential.MAX_ERROR) for share in shares]
            table.add_row(row.noise.name, *shown)
        console.print(table)
        measured += rates
    if savings:
        margin = sequential.MARGIN
        table = table_of(
            f"trainings of {tables} tables; margin of {margin:g} standard deviations of a row",
            "true differences", "right", "looks", "trainings", "fixed n", "ratio", "target",
        )  # fmt: skip
        found = list(sequential.measure_savings(tables))
        for saved in found:
            table.add_row(
                saved.name,
                f"{saved.power:.3f}",
                f"{saved.looks:.1f}",
                f"{saved.trainings:.0f}",
                f"{saved.fixed_seeds or '> 30'}",
                "" if saved.share is None else format_against(saved.share, saved.max_share),
                format_bar(saved.max_share),
            )
        console.print(table)
        measured += found
    write_json(json_file, "until_decided", measured)


@app.command()
def check(
    checks: Annotated[
        int, typer.Option(min=4, help="Number of simulated checks per scenario.")
    ] = 300,
    json_file: Json = None,
) -> None:
    """Error rates of `lossbench check` in simulated checks.

    `false`: share of checks without any change that find a regression; marked if it exceeds the
    promised rate by more than two standard errors. `found`: share of checks that
    find the one cell that is truly worse, by three standard deviations.

    \b
    Examples:
      python -m benchmarks check
      python -m benchmarks check --checks 1000 --json rates.json
    """
    from benchmarks import check_rates as of_check

    with Progress(console=console, transient=True) as progress:
        total = len(of_check.SCENARIOS)
        measured = list(progress.track(of_check.measure(checks), total=total))
    table = table_of(f"{checks} checks each", "noise", "seeds", "cells", "false", "target", "found")
    for row in measured:
        table.add_row(
            row.scenario.name,
            str(row.scenario.seeds),
            f"{row.scenario.columns} x {row.scenario.rows}",
            format_against(round(row.false, 3), row.bar),
            format_bar(row.target),
            f"{row.found:.2g}",
        )
    console.print(table)
    write_json(json_file, "check", measured)


def _device(name: str) -> torch.device:
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise typer.BadParameter("torch finds no GPU", param_hint="--device")
    return torch.device(name)


if __name__ == "__main__":
    app()
