"""Labels of losses: what may be a label, and that rows keep different names and losses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]

HEAD = """\
suite: small
dataset: digits
model: {name: digits_cnn, feature_dim: 2}
recipe: {epochs: 1, batch_size: 64, optimizer: {name: sgd, lr: 0.03}}
seeds: [0]
losses:
"""
KEY = "losses.lgm.label: "
SEARCH = "{search: {low: 0.01, high: 1}}"


def planned(run: Run, losses: str, more: str = "", *options: str) -> tuple[int, str, str]:
    Path("s.yaml").write_text(f"{HEAD}{losses}{more}", encoding="utf-8")
    return run("plan", "s.yaml", *options)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ('""', "should not be empty"),
        ('" "', "should not be empty"),
        ('"ours "', "'ours ' should not begin or end with a space"),
        ("x" * 61, "should be at most 60 characters, not 61"),
        ("a/b", "'a/b' should be without '/'"),
        (r'"a\tb"', r"'a\tb' has characters that cannot be printed"),
        (r'"a\u202eb"', r"'a\u202eb' has characters that"),
    ],
)
def test_a_text_that_cannot_be_a_label_is_refused(label: str, message: str, run: Run) -> None:
    code, out, err = planned(run, f"  - softmax\n  - lgm: {{label: {label}}}\n")
    assert (code, out) == (2, "")
    assert f"s.yaml:8: {KEY}{message}" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("label", ["[a]", "{a: 1}", "true"])
def test_a_label_is_a_text(label: str, run: Run) -> None:
    code, _, err = planned(run, f"  - softmax\n  - lgm: {{label: {label}}}\n")
    assert (code, err.count("\n")) == (2, 1)
    assert "s.yaml:8: losses.label: should be a valid string" in err


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ("  - lgm: {label: softmax}\n", "8: losses.lgm.label: 'softmax' is already the name of"),
        ("  - center: {label: a}\n  - lgm: {label: a}\n", "9: losses.lgm.label: 'a' is already"),
        (
            "  - lgm: {label: lgm(alpha=1)}\n  - lgm: {alpha: {grid: [1, 2]}}\n",
            "8: losses.lgm.label: 'lgm(alpha=1)' is already the name of another row",
        ),
        (
            "  - lgm: {alpha: {grid: [1, 2]}}\n  - lgm: {label: lgm(alpha=1)}\n",
            "9: losses.lgm.label: 'lgm(alpha=1)' is already the name of another row",
        ),
        (
            "  - center: {weight: {grid: [1, 2]}, label: a}\n  - lgm: {label: a}\n",
            "9: losses.lgm.label: 'a' is already the name of center's row",
        ),
        (
            "  - lgm: {label: a, alpha: 0.3}\n  - lgm: {label: b, alpha: 0.3}\n",
            "losses: lgm is given twice with the same parameters",
        ),
        (
            "  - lgm: {label: a, alpha: {grid: [0.1, 0.3]}}\n  - lgm: {alpha: 0.3}\n",
            "losses: lgm is given twice with the same parameters",
        ),
    ],
)
def test_two_rows_with_one_name_or_one_loss_are_refused(
    losses: str, message: str, run: Run
) -> None:
    code, out, err = planned(run, f"  - softmax\n{losses}")
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        (f"  - lgm: {{alpha: {SEARCH}}}\n  - lgm: {{label: b, alpha: 0.3}}\n", "as 'lgm'"),
        (
            f"  - lgm: {{label: a, alpha: {SEARCH}}}\n"
            "  - lgm: {label: b, alpha: {search: {low: 1, high: 2}}}\n",
            "as 'a'",
        ),
        (
            f"  - lgm: {{label: a, alpha: {SEARCH}}}\n"
            "  - lgm: {label: b, alpha: 0.5, lambda: {search: [0.1, 0.2]}}\n",
            "as 'a'",
        ),
    ],
)
def test_searches_of_two_labels_have_no_common_point(losses: str, message: str, run: Run) -> None:
    code, _, err = planned(run, losses, "selection: {samples: 2}\n")
    assert code == 2
    assert f"8: {KEY}'b' may propose the same parameters {message}" in err


def test_searches_of_two_labels_with_different_values_are_planned(run: Run) -> None:
    losses = (
        f"  - lgm: {{label: low, alpha: {SEARCH}}}\n"
        "  - lgm: {label: high, alpha: {search: {low: 1.01, high: 2}}}\n"
        f"  - lgm: {{covariance: diagonal, alpha: {SEARCH}}}\n"
    )
    code, out, err = planned(run, losses, "selection: {samples: 2}\n", "--trials")
    assert (code, err) == (0, "")
    for row in ("low(alpha=", "high(alpha=", "lgm(alpha="):
        assert out.count(row) == 2


def test_a_searched_row_may_not_get_the_name_of_a_label(run: Run) -> None:
    losses = f"  - center: {{label: lgm(alpha=1)}}\n  - lgm: {{alpha: {SEARCH}}}\n"
    code, _, err = planned(run, losses, "selection: {samples: 2}\n")
    assert code == 2
    assert "7: losses.center.label: 'lgm(alpha=1)' may also become the name of a row that" in err


def test_reference_and_only_use_the_label(run: Run) -> None:
    losses = "  - softmax\n  - lgm: {label: ours}\n"
    code, out, err = planned(run, losses, "reference: ours\n", "--trials", "--only", "ours")
    assert (code, err) == (0, "")
    assert "ours" in out
    assert "softmax" not in out
    code, _, err = planned(run, losses, "reference: lgm\n")
    assert (code, "reference: 'lgm' is no row" in err) == (2, True)


def test_only_takes_a_label_with_characters_of_globs_as_it_is(run: Run) -> None:
    losses = "  - softmax\n  - lgm: {label: 'L-GM [ours]*'}\n"
    code, out, _ = planned(run, losses, "", "--trials", "--only", "L-GM [ours]*")
    assert (code, "softmax" in out) == (0, False)


def test_set_gives_a_label(run: Run) -> None:
    losses = "  - softmax\n  - lgm: {alpha: {grid: [0.1, 0.3]}}\n"
    code, out, _ = planned(run, losses, "", "--trials", "--set", "losses.lgm.label=ours")
    assert code == 0
    assert "ours(alpha=0.1)" in out
    assert "lgm(" not in out
    code, _, err = planned(run, losses, "", "--set", "losses.lgm.label=a/b")
    assert code == 2
    assert "--set losses.lgm.label=a/b: losses.lgm.label: 'a/b' should be without" in err


def test_compare_takes_the_label_or_leaves_it_out(run: Run) -> None:
    losses = "  - softmax\n  - lgm: {label: ours, alpha: {grid: [0.1, 0.3]}}\n"
    for given in ("{alpha: 0.3}", "{alpha: 0.3, label: ours}"):
        code, _, err = planned(run, losses, f"selection: {{compare: [lgm: {given}]}}\n")
        assert (code, err) == (0, "")
    wrong = "selection: {compare: [lgm: {alpha: 0.3, label: our}]}\n"
    code, _, err = planned(run, losses, wrong)
    assert code == 2
    assert "selection.compare.lgm.label: 'our' is no label of the suite; did you mean" in err
