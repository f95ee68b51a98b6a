"""The baseline file: reading, writing, invalid content."""

from __future__ import annotations

from pathlib import Path

import pytest

from lossbench.errors import RequestError
from lossbench.gate.baseline_file import baseline_text, read_baseline


def test_reading_inverts_writing_and_each_cell_has_a_line(written: Path) -> None:
    text = written.read_text(encoding="utf-8")
    baseline = read_baseline(written)
    assert baseline_text(baseline) == text
    assert sum('"values"' in line for line in text.splitlines()) == len(baseline.cells) == 8
    assert baseline.cells[0].by_seed == {0: 5.0, 1: 5.2, 2: 5.4}
    assert baseline.cells[0].params == {}
    assert baseline.measured == "1970-01-01"  # of the made-up trials


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"version": 1', '"version": 2', "version: should be 1, not 2"),
        ('"measured"', '"measurd"', "measurd: unknown key; did you mean 'measured'?"),
        ('"diverged": []', '"divergd": []', "cells[0].divergd: unknown key; did you mean"),
        ("[5.0, 5.2, 5.4]", "[5.0, 5.2]", "cells[0]: 2 values for 3 seeds"),
        ("[0, 1, 2]", "[0, 1, 1]", "cells[0]: duplicate seed"),
        ('"min_effect": 0.5', '"min_effect": 0', "metrics[0].min_effect: should be greater"),
        ('"metric": "error"', '"metric": "eror"', "unknown metric 'eror'; did you mean 'error'"),
        ('"variant": "A"', '"variant": "C"', "cells: unknown variant 'C'"),
        ('"suite": ', '"suite": "x", "suite": ', "broken JSON: duplicate key 'suite'"),
        ('"epochs": 8', '"epochs": 9', "conditions_digest: does not match the conditions"),
        ('"version": 1,', '"version": 1', "broken JSON: Expecting ',' delimiter: line 3"),
    ],
)
def test_an_invalid_file_is_reported_with_its_key(
    written: Path, old: str, new: str, expected: str
) -> None:
    text = written.read_text(encoding="utf-8")
    assert old in text
    written.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(RequestError) as caught:
        read_baseline(written)
    assert str(caught.value).startswith(f"{written}: ")
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [("smal.json", "; did you mean 'small.json'?"), ("nope.json", "")],
)
def test_a_missing_file_suggests_only_a_similar_name(
    tmp_path: Path, name: str, suggestion: str
) -> None:
    for other in ("small.json", "container_info.json"):
        (tmp_path / other).write_text("{}", encoding="utf-8")
    with pytest.raises(RequestError) as caught:
        read_baseline(tmp_path / name)
    assert str(caught.value) == (
        f"{tmp_path / name}: no such file{suggestion}; `--update` writes it"
    )
