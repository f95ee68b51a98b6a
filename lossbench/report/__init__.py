"""The report: tables with mean ± std, figures, one self-contained page.

Imports no torch, no ray and no mlflow: a trial's evaluation stores arrays, the report draws
them. `lossbench.report.build.build_report` writes everything; it is not imported here because
the drawing libraries take a second, which tables alone need not wait for.
"""

from __future__ import annotations

from lossbench.report.formats import FORMATS, render
from lossbench.report.terminal import terminal_table

__all__ = ["FORMATS", "render", "terminal_table"]
