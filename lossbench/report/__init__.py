"""Output for people: tables with mean ± std, figures, one self-contained page.

Imports no torch, no ray and no mlflow: the evaluation of a trial stores arrays, which the report
draws. `lossbench.report.build.build_report` writes a whole report; it is not imported here, because
the drawing libraries take a second to import and tables do not need them.
"""

from __future__ import annotations

from lossbench.report.formats import FORMATS, render
from lossbench.report.terminal import terminal_table

__all__ = ["FORMATS", "render", "terminal_table"]
