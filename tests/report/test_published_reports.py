"""Every published table can be computed again from the archive next to it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lossbench.archive.reading import Archive

PUBLISHED = Path(__file__).resolve().parents[2] / "reports" / "published"
FOLDERS = sorted(path for path in PUBLISHED.iterdir() if path.is_dir())
TEXTS = ("report.md", "results.csv", "results.json", "verdicts.json")


def numbers_and_texts(value: Any) -> Any:
    """JSON content whose numbers are compared with a tolerance: libraries round differently."""
    if isinstance(value, float):
        return pytest.approx(value, rel=1e-9, abs=1e-12)
    if isinstance(value, dict):
        return {key: numbers_and_texts(item) for key, item in value.items()}
    return [numbers_and_texts(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_published_report_is_that_of_its_archive(
    folder: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    archive = f"{folder.name}.zip"
    shutil.copy(folder / archive, archive)
    code, _, err = run("report", "--from", archive, "--output", ".")
    assert code == 0, err
    for name in TEXTS:
        now, published = (path.read_text(encoding="utf-8") for path in (Path(name), folder / name))
        if name.endswith(".json"):
            assert json.loads(now) == numbers_and_texts(json.loads(published)), name
        else:
            assert now == published, name
    drawn, kept = ({p.name for p in (f / "figures").glob("*.png")} for f in (Path(), folder))
    assert drawn == kept
    assert {path.name for path in folder.iterdir()} == {archive, "figures", *TEXTS}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_published_archive_has_every_trial_and_no_weights(folder: Path) -> None:
    archive = Archive(folder / f"{folder.name}.zip")
    missing = [trial.name for trial in archive.plan.trials if trial.identity not in archive.results]
    assert missing == []
    assert not any(archive.has_weights(identity) for identity in archive.trials)


def test_the_readme_names_every_published_report() -> None:
    text = (PUBLISHED / "README.md").read_text(encoding="utf-8")
    assert FOLDERS
    for folder in FOLDERS:
        assert f"| [{folder.name}]({folder.name}/report.md) |" in text
