"""A wrong request gives exit code 2 and one message; nothing is started or written.

Each line of the tables in this folder is one case.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lossbench.cli.main import main
from tests.malformed.baselines import BASELINES
from tests.malformed.by_hand import BY_HAND
from tests.malformed.classes import CLASSES
from tests.malformed.corpus import SUITE, Case
from tests.malformed.data_conditions import DATA_CONDITIONS
from tests.malformed.folders import FOLDERS
from tests.malformed.suites import SUITES
from tests.malformed.tables import TABLES
from tests.malformed.tracking_uris import TRACKING

CASES: list[Case] = [
    *SUITES,
    *DATA_CONDITIONS,
    *FOLDERS,
    *CLASSES,
    *BY_HAND,
    *TABLES,
    *TRACKING,
    *BASELINES,
]


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every path under a folder, with the content of files."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def test_case_names_are_distinct() -> None:
    names = [case.name for case in CASES]
    assert sorted(set(names)) == sorted(names)
    assert len(names) >= 60


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_a_malformed_request_gives_one_message_and_exit_code_2(
    case: Case,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("lossbench.runner.run.run_plan", _never)
    (tmp_path / "bad.yaml").write_text(SUITE, encoding="utf-8")
    arguments = case.make(tmp_path)
    before = tree(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lossbench", *arguments])

    with pytest.raises(SystemExit) as caught:
        main()

    printed = capsys.readouterr()
    message = " ".join(printed.err.split())
    assert printed.out == ""
    assert caught.value.code == 2, message
    assert "Traceback" not in printed.err
    assert printed.err.startswith(("error: ", "Usage: "))
    assert printed.err.lower().count("error: ") == 1
    for expected in case.expected:
        assert expected in message
    assert len(printed.err) < 3000
    assert tree(tmp_path) == before


def _never(*_: object, **__: object) -> None:
    raise AssertionError("a malformed request was started")
