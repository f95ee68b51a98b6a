"""Text inside LaTeX, of the default encodings (UTF-8, OT1)."""

from __future__ import annotations

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
_LAST_LATIN = "\u017f"  # of Latin Extended-A
_PUNCTUATION = frozenset("—‘’“”…")


def latex_text(text: str) -> str:
    """Escape LaTeX's special characters; Greek letters and signs become formulas."""
    return "".join(_LATEX.get(character, character) for character in text)


def unsupported(text: str) -> str:
    """The characters of a text that pdflatex does not know, each once."""
    known = _LATEX.keys() | _PUNCTUATION
    return "".join(dict.fromkeys(c for c in text if c > _LAST_LATIN and c not in known))
