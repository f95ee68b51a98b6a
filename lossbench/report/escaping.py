"""Text inside Markdown, LaTeX, HTML and the terminal.

Names from the suite (rows, variants, titles) are shown as they are. Sentences may mark code by
backticks, as in `selection`.
"""

from __future__ import annotations

import re

from markupsafe import Markup, escape

_CODE = re.compile(r"`([^`\n]+)`")
_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "varepsilon", "ζ": "zeta",
    "η": "eta", "θ": "theta", "ι": "iota", "κ": "kappa", "λ": "lambda", "μ": "mu", "ν": "nu",
    "ξ": "xi", "π": "pi", "ρ": "rho", "σ": "sigma", "τ": "tau", "υ": "upsilon", "φ": "varphi",
    "χ": "chi", "ψ": "psi", "ω": "omega", "Γ": "Gamma", "Δ": "Delta", "Θ": "Theta",
    "Λ": "Lambda", "Ξ": "Xi", "Π": "Pi", "Σ": "Sigma", "Φ": "Phi", "Ψ": "Psi", "Ω": "Omega",
}  # fmt: skip
_MATHS = {"±": "pm", "×": "times", "≤": "leq", "≥": "geq", "→": "to", "∞": "infty", "µ": "mu"}
_SYMBOLS = _GREEK | _MATHS
_FORMULA_COMMANDS = frozenset(_SYMBOLS.values()) | {
    "epsilon", "phi", "ell", "approx", "neq", "le", "ge", "sim", "cdot", "ast", "star", "dagger",
    "ddagger", "circ", "prime", "uparrow", "downarrow", "rightarrow", "leftarrow", "frac", "sqrt",
    "log", "ln", "exp", "min", "max", "sum", "mathrm", "mathbf", "mathcal", "mathit", "mathsf",
    "hat", "bar", "tilde", "vec", "ldots", "quad",
}  # fmt: skip
"""Commands that a formula in a label may have."""
_LATEX = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "–": "--",
    "−": "$-$",
    **{character: f"$\\{name}$" for character, name in _SYMBOLS.items()},
}
_LAST_LATIN = "\u017f"  # last of Latin Extended-A
_PUNCTUATION = frozenset("—‘’“”…")


def markdown_text(text: str) -> str:
    """Escape the characters that Markdown, or HTML inside it, would interpret."""
    return re.sub(r"([\\`*_|<>\[\]&])", r"\\\1", text)


def markdown_sentence(text: str) -> str:
    """Escape a sentence except the code in it."""
    code = _CODE.split(text)  # text and code in turn
    return "".join(f"`{p}`" if i % 2 else markdown_text(p) for i, p in enumerate(code))


def html_sentence(text: str) -> Markup:
    """Escape a sentence; the code in it becomes <code>."""
    code = _CODE.split(text)
    parts = (
        Markup("<code>{}</code>").format(p) if i % 2 else escape(p) for i, p in enumerate(code)
    )
    return Markup("").join(parts)


def plain_sentence(text: str) -> str:
    """A sentence without its backticks."""
    return _CODE.sub(r"\1", text)


def latex_text(text: str) -> str:
    """Escape LaTeX's special characters; Greek letters and signs become formulas."""
    return "".join(_LATEX.get(character, character) for character in text)


def latex_label(text: str) -> str:
    r"""Escape a label of the user, except formulas between `$` such as `$\lambda$-L-GM`.

    Formulas consist of letters, numbers, signs and well-known commands. If `$` are not paired, or
    something else is between them, they are signs of a currency.
    """
    parts = text.split("$")
    if len(parts) % 2 == 0 or not all(map(_is_formula, parts[1::2])):
        return latex_text(text)
    return "".join(
        f"${_with_commands(part)}$" if i % 2 else latex_text(part) for i, part in enumerate(parts)
    )


def _is_formula(text: str) -> bool:
    """Whether a text is safe in LaTeX's math mode: braces match, and every command is known."""
    depth = 0
    for brace in re.findall(r"[{}]", re.sub(r"\\[{}]", "", text)):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            return False
    plain = re.sub(r"\\([A-Za-z]+|[,;!{}])", "", text)
    return (
        bool(text.strip())
        and depth == 0
        and _FORMULA_COMMANDS.issuperset(re.findall(r"\\([A-Za-z]+)", text))
        and all(c.isalnum() or c in " {}_^+-*/=<>().,:;!'|[]" or c in _SYMBOLS for c in plain)
        and re.search(r"([_^]\s*([_^]|$))|^\s*\}|\{\s*$", plain) is None
    )


def _with_commands(formula: str) -> str:
    """A formula with commands instead of Greek letters and signs."""
    return "".join(f"\\{_SYMBOLS[c]} " if c in _SYMBOLS else c for c in formula)


def unsupported(text: str) -> str:
    """The characters of a text that pdflatex does not know, each once."""
    known = _LATEX.keys() | _PUNCTUATION
    return "".join(dict.fromkeys(c for c in text if c > _LAST_LATIN and c not in known))
