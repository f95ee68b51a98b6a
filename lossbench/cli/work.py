"""`lossbench work`: train and measure a share of a suite without Ray and MLflow."""

from __future__ import annotations

import enum
import math
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from lossbench.cli.common import load_plan
from lossbench.cli.console import err
from lossbench.cli.options import (
    DEFAULT_DATA_ROOT,
    CheckpointOption,
    DataRootOption,
    OnlyOption,
    PluginOption,
    SeedsOption,
    SetOption,
    SuiteArgument,
    expand,
)
from lossbench.cli.retraining import confirm_retraining
from lossbench.errors import RequestError

if TYPE_CHECKING:
    from lossbench.runner.sharded_work import WorkOutcome


class Device(enum.StrEnum):
    """Devices on which trials can be trained."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


def work(
    suite: SuiteArgument,
    output: Annotated[
        Path, typer.Option("--output", metavar="DIR", callback=expand, help="Folder for archives.")
    ],
    shard: Annotated[
        str,
        typer.Option(metavar="NUMBER/COUNT", help="Share of the trials: 3/8 is the third eighth."),
    ] = "1/1",
    set_: SetOption = [],  # noqa: B006
    only: OnlyOption = None,
    seeds: SeedsOption = None,
    data_root: DataRootOption = DEFAULT_DATA_ROOT,
    plugin: PluginOption = [],  # noqa: B006
    minutes: Annotated[
        float | None,
        typer.Option(min=0, max=1e6, help="Stop after this time, at the end of an epoch."),
    ] = None,
    device: Annotated[
        Device, typer.Option(help="Device to train on; auto: a GPU if there is one.")
    ] = Device.auto,
    checkpoint_every: CheckpointOption = 10.0,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes",
            "-y",
            help="Do not ask before networks without stored weights are trained again.",
        ),
    ] = False,
    until_decided: Annotated[bool, typer.Option("--until-decided", hidden=True)] = False,
) -> None:
    """Train and measure a share of a suite's trials here, one after the other.

    Needs neither Ray nor MLflow, for job arrays and machines without a network. Each finished trial
    is an archive in the output folder: see 'lossbench report --from' and 'lossbench import'. Run
    the same command again to continue.

    \b
    Examples:
      lossbench work suites/digits.yaml --output results
      lossbench work suites/mnist.yaml --data-root data --shard 3/8 --output results --minutes 230
      lossbench report --from results
    """
    started = time.monotonic()
    warnings.simplefilter("ignore")  # libraries' warnings
    try:
        from lossbench.planning.processor import precision_warning
        from lossbench.runner.sharded_work import ShardedWork
        from lossbench.runner.shards import read_shard

        if until_decided:
            raise RequestError(
                "--until-decided: the next seeds depend on the results of all shares; use "
                "'lossbench run', or give shares the seeds to train with --seeds"
            )
        chosen = read_shard(shard)
        place = _device(device)
        plan = load_plan(suite, set_, only, seeds, data_root, plugin)
        about_processor = precision_warning(plan, lambda: place)
        for line in filter(None, (*plan.warnings, about_processor)):
            err.print(Text(f"warning: {line}", "yellow"), soft_wrap=True)
        _require_folder(output)
        outcome = ShardedWork(
            plan,
            chosen,
            output,
            data_root=data_root,
            device=place,
            deadline=math.inf if minutes is None else started + 60 * minutes,
            checkpoint_sec=checkpoint_every,
            log=lambda line: err.print(Text(line), soft_wrap=True),
            confirm_retraining=lambda trials, results: confirm_retraining(trials, results, yes=yes),
        ).run()
    except KeyboardInterrupt:
        err.print("stopped; run the same command to continue")
        raise
    for line in _summary(outcome, chosen.count, output):
        err.print(line, highlight=False, soft_wrap=True)
    for name, message in outcome.failed.items():
        err.print(Text(f"failed: {name}: {message}", "red"), soft_wrap=True)
    if outcome.failed:
        raise typer.Exit(1)


def _summary(outcome: WorkOutcome, shards: int, output: Path) -> Iterator[str]:
    """Lines about what is done, what is left, and how to go on."""
    finished, of_this_share = outcome.trials - outcome.left, " of this share" if shards > 1 else ""
    yield (
        f"{finished} of {outcome.trials} trials{of_this_share} are finished, {outcome.finished} of "
        "them now"
    )
    if outcome.locked:
        yield f"another process works on {outcome.locked}"
    if outcome.left > outcome.locked:
        yield "run the same command to continue"
    elif outcome.others:
        plural = "s" * (outcome.others > 1)
        yield f"other shares have {outcome.others} trial{plural} left"
        if outcome.selects:
            yield "more trials follow from their results: run the same command again then"
    if outcome.conflict:
        yield f"lossbench report --from {output} is not possible: {outcome.conflict}"


def _device(wanted: Device) -> str:
    import torch

    available = torch.cuda.is_available()
    if wanted is Device.cuda and not available:
        raise RequestError("--device cuda: PyTorch finds no GPU here")
    if wanted is Device.auto:
        return "cuda" if available else "cpu"
    return wanted.value


def _require_folder(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"--output {output}: {error.strerror}") from None
