"""Summary of a table for the tracking store, against numbers computed here."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace

import pytest

from lossbench.planning.selection import PlanWithResults
from lossbench.report.table_summary import summarize
from tests.report.synthetic_report import result_of
