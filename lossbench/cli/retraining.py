"""Confirmation before networks are trained again to be measured."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from lossbench.cli.console import err
from lossbench.errors import RequestError

if TYPE_CHECKING:
    from lossbench.planning.trial import Trial
    from lossbench.records import Results


def confirm_retraining(trials: Sequence[Trial], results: Results, *, yes: bool) -> None:
    """Ask before networks are trained again because their weights are not stored.

    Args:
        trials: Trained trials that lack measurements.
        results: Their results, by identity.
        yes: Whether the user has agreed already.

    Raises:
        RequestError: Nobody can answer, or the answer is no.
    """
    lacking = dict.fromkeys(name for t in trials for name in results[t.identity].unmeasured)
    evaluations = ", ".join(lacking)
    networks = (
        "1 trained network has" if len(trials) == 1 else f"{len(trials)} trained networks have"
    )
    reason = f"{networks} no stored weights, so to measure {evaluations}"
    if yes:
        err.print(Text(f"{reason}, they are trained again", "yellow"), soft_wrap=True)
    elif not sys.stdin.isatty():
        raise RequestError(
            f"{reason}, they would be trained again; repeat with --yes to do so, or remove "
            f"{evaluations} from `evaluate`"
        )
    elif not typer.confirm(f"{reason}, they have to be trained again. Continue?"):
        raise RequestError("nothing was started")
