"""Tables as LaTeX."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from lossbench.losses import LOSSES
from lossbench.planning.plan import Plan
from lossbench.planning.rows import Row, untuned_row
from lossbench.planning.selection import PlanWithResults
from lossbench.records import Metric
from lossbench.report import render
from lossbench.report.escaping import latex_text, unsupported
from lossbench.report.latex_names import latex_row_name
from lossbench.suite.schema import Component
from tests.report.latex_check import require_sound
from tests.report.synthetic_report import result_of

SPECIAL = r"\{}$&#_%~^<|>[x]*α"
"""Every character that LaTeX would interpret."""


def with_notation(plan: Plan) -> Plan:
    return replace(plan, notation={r.loss.name: LOSSES[r.loss.name].notation for r in plan.rows})


def with_metrics(plan: Plan, count: int) -> tuple[Plan, dict]:
    """A plan with so many metrics; lower rows are better in all of them."""
    names = ["error", "top5_error", *(f"m{i}" for i in range(2, count))][:count]
    metrics = tuple(
        Metric(name=name, label=f"metric {name} with a long name", unit="% of images")
        for name in names
    )
    levels = {row.label: 9 - 2.0 * i for i, row in enumerate(plan.rows)}
    results = {
        t.identity: result_of(
            t, 1.0, metrics=dict.fromkeys(names, levels[t.row] + 0.1 * (t.seed % 3))
        )
        for t in plan.trials
    }
    return replace(plan, metrics=metrics), results


def test_latex_marks_the_best_and_escapes(make_plan: Callable[..., Plan], fill: Callable) -> None:
    plan = make_plan("losses: [softmax, l_softmax]\n")
    results = fill(plan, {"default/softmax": [2, 2, 2], "default/l_softmax": [1, 1, 1]})
    text = render(PlanWithResults(plan, results), "latex")
    assert require_sound(text) == ["tab:synthetic-error"]
    assert r"l\_softmax & \textbf{1.00 $\pm$ 0.00} \\" in text
    assert r"softmax & 2.00 $\pm$ 0.00 \\" in text
    assert r"\toprule" in text
    assert r"\% of test images" in text
    assert "Bold: best mean of the column." in text


def test_rows_have_the_names_and_symbols_of_papers(make_plan: Callable[..., Plan]) -> None:
    losses = (
        "losses: [softmax, {lgm: {alpha: {grid: [0.3, 1.0e-5]}, lambda: 0.1}}, "
        "{triplet: {weight: {grid: [0.1, 3.0e+20]}}}, {center: {label: ours}}]\n"
    )
    text = render(PlanWithResults(with_notation(make_plan(losses)), {}), "latex")
    require_sound(text)
    names = [line.partition(" & ")[0] for line in text.splitlines() if line.endswith(r"\\")]
    assert names == [
        "loss",
        "Softmax",
        r"L-GM ($\alpha = 0.3$)",
        r"L-GM ($\alpha = 10^{-5}$)",
        "Triplet loss (weight = $0.1$)",
        r"Triplet loss (weight = $3 \times 10^{20}$)",
        "ours",
    ]


def test_tuned_recipe_keys_have_their_short_names() -> None:
    loss = Component(name="lgm", params={"alpha": 0.3})
    tuned = {"recipe.optimizer.lr": 0.001}
    row = Row("lgm(alpha=0.3,lr=0.001)", loss, {"alpha": 0.3, **tuned}, None, None, tuned)
    notation = {"lgm": LOSSES["lgm"].notation}
    assert latex_row_name(row, notation) == r"L-GM ($\alpha = 0.3$, lr = $0.001$)"
    own = latex_row_name(untuned_row(row, loss), notation)
    assert own == r"L-GM ($\alpha = 0.3$, untuned)"
    assert latex_row_name(replace(row, label="lgm"), notation) == "L-GM"


def test_every_loss_has_a_name_for_tables_and_symbols_of_its_parameters() -> None:
    for name in LOSSES.builtin_names:
        entry = LOSSES[name]
        assert entry.notation.title, name
        assert set(entry.notation.symbols) <= set(entry.parameter_names), name


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("ours", "ours"),
        (r"$\alpha$-ours", r"$\alpha$-ours"),
        (r"50 % of $L_{\mathrm{GM}}$ & more", r"50 \% of $L_{\mathrm{GM}}$ \& more"),
        ("costs $5", r"costs \$5"),
        (r"$\input{x}$", r"\$\textbackslash{}input\{x\}\$"),
        ("$a}{b$", r"\$a\}\{b\$"),
        ("$a%b$", r"\$a\%b\$"),
        ("$x^$", r"\$x\textasciicircum{}\$"),
        ("$ $", r"\$ \$"),
        ("$α_1$", r"$\alpha _1$"),
        ("[x]", "{[}x]"),
        ("*", "{*}"),
    ],
)
def test_a_label_is_printed_as_it_is_or_as_a_formula(
    label: str, shown: str, make_plan: Callable[..., Plan]
) -> None:
    plan = make_plan(f"losses: [softmax, {{lgm: {{label: '{label}'}}}}]\n")
    text = render(PlanWithResults(plan, {}), "latex")
    require_sound(text)
    assert f"\n{shown} & " in text


def test_everything_of_the_user_is_escaped(make_plan: Callable[..., Plan]) -> None:
    plan = make_plan(
        f"variants: {{a_b: {{}}, c: {{}}}}\nlosses: [softmax, {{lgm: {{label: '{SPECIAL}'}}}}]\n"
        "reference: softmax\n"
    )
    plan, results = with_metrics(plan, 2)
    labels = [Metric(**{**m.model_dump(), "label": f"{SPECIAL} {m.name}"}) for m in plan.metrics]
    plan = replace(plan, metrics=tuple(labels), changes=(f"title={SPECIAL}",))
    found = PlanWithResults(plan, results)
    assert len(require_sound(render(found, "latex", f"lossbench run {SPECIAL}\nx"))) == 3


def test_verdicts_are_marked_and_explained(make_plan: Callable[..., Plan], fill: Callable) -> None:
    plan = make_plan(
        "seeds: [0, 1, 2, 3, 4, 5]\nreference: softmax\nmin_effect: {error: 0.5}\n"
        "losses: [softmax, center, l_softmax, lgm, triplet]\n"
    )
    base = [5.0, 5.1, 4.9, 5.2, 4.8, 5.0]
    shifts = {"softmax": 0, "center": -2, "l_softmax": 2, "lgm": 0.01, "triplet": -0.45}
    results = fill(
        plan,
        {
            f"default/{row}": [
                b + shift + 0.05 * ((i * (place + 2)) % 5) for i, b in enumerate(base)
            ]
            for place, (row, shift) in enumerate(shifts.items())
        },
    )
    text = render(PlanWithResults(with_notation(plan), results), "latex")
    require_sound(text)
    lines = {line.partition(" & ")[0]: line for line in text.splitlines() if " & " in line}
    assert r"\rlap{$^{+}$}" in lines["Center loss"]
    assert r"\rlap{$^{-}$}" in lines["L-Softmax"]
    assert r"\rlap{$^{\approx}$}" in lines["L-GM"]
    assert "rlap" not in lines["Softmax"]
    assert (
        r"$^{+}$/$^{-}$: better/worse than Softmax, $p \leq 0.05$ in a $t$ test of the differences "
        "at the same seed, corrected for 4 comparisons (Holm)." in text
    )
    assert r"within $\pm$ 0.50 percentage points." in text
    verdicts = {
        line.split("|")[1].strip(): line.split("|")[2].strip()
        for line in render(PlanWithResults(plan, results), "markdown").splitlines()
        if re.search("better|worse|equivalent|undecided", line) and line.startswith("|")
    }
    assert verdicts["center"] == "**better**"
    assert verdicts["l\\_softmax"] == "**worse**"


def test_without_a_decided_row_nothing_is_marked(make_plan: Callable[..., Plan]) -> None:
    plan = make_plan("seeds: [0, 1]\nreference: softmax\nlosses: [softmax, center]\n")
    results = {t.identity: result_of(t, 1 + (7 * t.seed + len(t.row)) % 5) for t in plan.trials}
    text = render(PlanWithResults(with_notation(plan), results), "latex")
    assert r"No row differs from Softmax with $p \leq 0.05$" in text
    assert "rlap" not in text


def test_several_metrics_are_in_one_table(make_plan: Callable[..., Plan]) -> None:
    body = "variants: {A: {}, B_1: {}}\nreference: softmax\nlosses: [softmax, lgm]\n"
    plan, results = with_metrics(make_plan(body), 3)
    text = render(PlanWithResults(plan, results), "latex")
    assert require_sound(text)[3:] == ["tab:synthetic"]
    whole = text[text.index(r"\label{tab:synthetic}") :]
    assert r" & \multicolumn{3}{c}{A} & \multicolumn{3}{c}{B\_1} \\" in whole
    assert r"\cmidrule(lr){2-4} \cmidrule(lr){5-7}" in whole
    assert r"\begin{tabular}{lrrrrrr}" in whole
    assert whole.count(r"\textbf") == 6


@pytest.mark.parametrize(
    ("variants", "metrics", "keys", "widths"),
    [
        ("A: {}, B: {}", 4, ["tab:synthetic"], [8]),
        ("A: {}, B: {}", 5, ["tab:synthetic:A", "tab:synthetic:B"], [5, 5]),
        ("A: {}", 9, ["tab:synthetic:A", "tab:synthetic:A-2"], [4, 5]),
        ("default: {}", 9, ["tab:synthetic", "tab:synthetic-2"], [4, 5]),
        ("default: {}", 1, [], []),
    ],
)
def test_wide_tables_are_split(
    variants: str,
    metrics: int,
    keys: list[str],
    widths: list[int],
    make_plan: Callable[..., Plan],
) -> None:
    plan, results = with_metrics(
        make_plan(f"variants: {{{variants}}}\nlosses: [softmax, lgm]\n"), metrics
    )
    text = render(PlanWithResults(plan, results), "latex")
    assert require_sound(text)[metrics:] == keys
    specs = re.findall(r"\\begin\{tabular\}\{l(r*)\}", text)
    assert [len(spec) for spec in specs[metrics:]] == widths


def test_a_comment_names_the_origin(make_plan: Callable[..., Plan]) -> None:
    plan = make_plan("seeds: [0]\nlosses: [softmax]\n")
    environment = {"lossbench": "1.2", "code": "abc"}
    results = {t.identity: result_of(t, 1.0, environment=environment) for t in plan.trials}
    text = render(PlanWithResults(plan, results), "latex", "lossbench report suite.yaml")
    for line in (
        "suite: synthetic",
        "data: digits, digest 0123456789abcdef",
        "code: lossbench 1.2, code digest abc (1 of 1 trials)",
        "command: lossbench report suite.yaml",
        "last result: 1970-01-01 00:00 UTC",
    ):
        assert f"% {line}\n" in text


def test_latex_escapes_every_special_character() -> None:
    expected = r"\textbackslash{}\{\}\$\&\#\_\%\textasciitilde{}\textasciicircum{}"
    assert latex_text("\\{}$&#_%~^") == expected
    assert latex_text("<a|b>") == r"\textless{}a\textbar{}b\textgreater{}"


def test_latex_has_greek_letters_and_names_what_pdflatex_lacks(
    make_plan: Callable[..., Plan], fill: Callable
) -> None:
    assert latex_text("ε = 0.3, λ ≥ Ω") == r"$\varepsilon$ = 0.3, $\lambda$ $\geq$ $\Omega$"
    assert unsupported("ε = 0.3 ± 1, größe, Łódź – ‘a’ → −1") == ""
    assert unsupported("猫 and 犬, 猫; кот") == "猫犬кот"
    names = "variants: {猫_1: {}, plain: {}}\n"
    plan = make_plan(f"{names}losses: [softmax, l_softmax]\n")
    text = render(PlanWithResults(plan, {}), "latex")
    assert "font that has 猫\n\\begin{table}" in text
    assert r"loss & 猫\_1 & plain \\" in text
    assert "lualatex" not in render(PlanWithResults(make_plan("losses: [softmax]\n"), {}), "latex")
