"""`lossbench check --format markdown`: what a pull request shows."""

from __future__ import annotations

from lossbench.cli.check_markdown import markdown_check
from lossbench.gate.regression import check_cells
from tests.gate.synthetic_baseline import SPREAD, make_baseline


def test_labels_are_escaped_and_stay_on_their_line() -> None:
    name = "a|b*<c>\n_d_"
    before, after = (
        make_baseline({name: [5.0, 5.2, 5.4], **SPREAD}),
        make_baseline({name: [9.0, 9.1, 9.3], **SPREAD}),
    )
    lines = markdown_check(check_cells(before, after), before, after).splitlines()
    table = [line for line in lines if line.startswith("| ")]
    assert len(table) == 3  # cells that are identical are left out
    assert table[2].startswith(r"| A/a\|b\*\<c\> \_d\_ | error | ")
    assert table[2].endswith(" | **regression** |")
    [finding] = [line for line in lines if line.startswith("- ")]
    assert finding.startswith(r"- **regression**: A/a\|b\*\<c\> \_d\_ error: worse by ")


def test_nothing_changed() -> None:
    baseline = make_baseline(SPREAD)
    text = markdown_check(check_cells(baseline, baseline), baseline, baseline)
    assert text.startswith("### lossbench check made\\_up: no regression (")
    assert len(text.splitlines()) == 1
