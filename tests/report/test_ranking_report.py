"""Files of a ranking."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import pytest

from lossbench.analysis.ranking import Ranking, rank_suites
from lossbench.report.ranking_report import write_ranking
from tests.synthetic_plans import MakeSuite


def test_files_agree_and_the_page_escapes(make_suite: MakeSuite, tmp_path: Path) -> None:
    losses = "[softmax, {lgm: {covariance: {grid: ['</script><b>', 'x']}}}]"
    errors = {"softmax": 3.0, "lgm(covariance=</script><b>)": 1.0, "lgm(covariance=x)": math.nan}
    found: Ranking = rank_suites([make_suite("a", losses, errors), make_suite("b", losses, errors)])
    page, *others = write_ranking(found, tmp_path / "out", "lossbench rank '<i>'")
    assert {p.name for p in (page, *others)} == {
        f"ranking.{e}" for e in ("html", "md", "csv", "json")
    }
    text = page.read_text(encoding="utf-8")
    assert text.count("</script>") == 1
    assert "<b>" not in text
    assert "<i>" not in text
    assert "too few columns" in text
    content = json.loads((tmp_path / "out" / "ranking.json").read_text(encoding="utf-8"))
    lines = list(
        csv.DictReader(io.StringIO((tmp_path / "out" / "ranking.csv").read_text(encoding="utf-8")))
    )
    for row in content["losses"]:
        own = [float(line["rank"]) for line in lines if line["loss"] == row["label"]]
        assert own == row["ranks"]
    assert content["losses"][0]["means"] == pytest.approx([1.05, 1.05])
    assert content["losses"][-1]["means"] == [None, None]
