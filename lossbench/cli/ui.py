"""`lossbench ui`: MLflow's dashboard."""

from __future__ import annotations

from typing import Annotated

import typer

from lossbench.cli.options import TrackingOption


def ui(
    tracking_uri: TrackingOption = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 5000,
) -> None:
    """Open MLflow's dashboard on 127.0.0.1 until Ctrl-C.

    \b
    Example:
      lossbench ui --port 5001
    """
    from lossbench.tracking.ui import serve

    raise typer.Exit(serve(tracking_uri, port))
