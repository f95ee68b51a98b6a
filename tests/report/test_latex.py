"""Tables as LaTeX."""

from __future__ import annotations

from collections.abc import Callable

from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.report import render
from lossbench.report.escaping import latex_text, unsupported


def test_latex_marks_the_best_and_escapes(make_plan: Callable[..., Plan], fill: Callable) -> None:
    plan = make_plan("losses: [softmax, l_softmax]\n")
    results = fill(plan, {"default/softmax": [2, 2, 2], "default/l_softmax": [1, 1, 1]})
    text = render(PlanWithResults(plan, results), "latex")
    assert r"l\_softmax & \textbf{1.00 $\pm$ 0.00} \\" in text
    assert r"softmax & 2.00 $\pm$ 0.00 \\" in text
    assert r"\toprule" in text
    assert r"\% of test images" in text


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
