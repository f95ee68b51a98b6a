"""`lossbench rank`."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import Store
from tests.cli.test_report import contents

Write = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]


def test_rankings_of_other_suites_have_their_own_folder(
    run: Run, write_suite: Write, store: Store, tmp_path: Path
) -> None:
    suite = write_suite(("[0.0, 0.3]", "[0.3]"))
    store(suite, "seeds=[0, 1, 2]")
    other = tmp_path / "other.yaml"
    other.write_text(
        suite.read_text(encoding="utf-8").replace("suite: small", "suite: other"), encoding="utf-8"
    )
    store(other)
    assert run("rank", suite)[0] == 0
    before = contents("reports/ranking/small")
    code, out, _ = run("rank", suite, other, "--metric", "error")
    assert code == 0
    assert "1 more seed is stored: --seeds 0,1,2 shows it" in " ".join(out.split())
    code, out, _ = run("rank", suite, "--set", "title=Other", "--seeds", "2")
    assert code == 0
    assert "small.yaml, changed: seeds 2" in " ".join(out.split())
    assert {path.name for path in Path("reports/ranking").iterdir()} == {
        "small",
        "small+other@metric=error",
        "small@seeds=2",
    }
    ranking = Path("reports/ranking/small@seeds=2")
    assert all(
        line["changes"] == "seeds 2"
        for line in csv.DictReader(
            io.StringIO((ranking / "ranking.csv").read_text(encoding="utf-8"))
        )
    )
    assert "small.yaml, changed: seeds 2" in (ranking / "ranking.html").read_text(encoding="utf-8")
    assert contents("reports/ranking/small") == before

    second = tmp_path / "copy" / "small.yaml"
    second.parent.mkdir()
    second.write_text(suite.read_text(encoding="utf-8").replace("[0.3]", "[0.5]"), encoding="utf-8")
    store(second)
    code, _, err = run("rank", second)
    assert code == 2
    assert str(suite) in " ".join(err.split())
    assert str(second) in " ".join(err.split())
    assert contents("reports/ranking/small") == before
