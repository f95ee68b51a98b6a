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
    **{character: f"$\\{name}$" for character, name in (_GREEK | _MATHS).items()},
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


def unsupported(text: str) -> str:
    """The characters of a text that pdflatex does not know, each once."""
    known = _LATEX.keys() | _PUNCTUATION
    return "".join(dict.fromkeys(c for c in text if c > _LAST_LATIN and c not in known))
