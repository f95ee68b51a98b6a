"""Structure of LaTeX tables: braces, environments, and the number of columns of each line."""

from __future__ import annotations

import re


def require_sound(text: str) -> list[str]:
    r"""Check tables of `latex_tables` as a compiler would; return their `\label` keys."""
    body = "".join(line for line in text.splitlines(True) if not line.startswith("%"))
    assert not re.search(r"(?<!\\)%", body), "a comment hides the rest of a line"
    assert body.isascii() or "fontspec" in text or not re.search("[\u0370-\uffff]", body)
    _require_braces(body)
    _require_environments(body)
    assert re.sub(r"\\\$", "", body).count("$") % 2 == 0
    for tabular in re.findall(r"\\begin\{tabular\}\{(l.*?)\}\n(.*?)\n\\end\{tabular\}", body, re.S):
        columns, content = tabular
        assert re.fullmatch("lr*", columns)
        for line in content.splitlines():
            if not line.startswith((r"\toprule", r"\midrule", r"\bottomrule", r"\cmidrule")):
                assert line.endswith(r" \\")
                assert not line.startswith(("[", "*"))
                assert _width(line.removesuffix(r" \\")) == len(columns), line
    keys = re.findall(r"\\label\{(.*?)\}", body)
    assert len(keys) == len(set(keys)) == body.count(r"\begin{table}")
    assert all(re.fullmatch(r"tab:[A-Za-z0-9._+:-]+", key) for key in keys)
    return keys


def _require_braces(body: str) -> None:
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", body.replace(r"\\", "")):
        depth += 1 if brace == "{" else -1
        assert depth >= 0
    assert depth == 0


def _require_environments(body: str) -> None:
    opened: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(.*?)\}", body):
        if kind == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert opened == []


def _width(line: str) -> int:
    """Number of columns of a line: cells are separated by `&` outside of braces."""
    plain, depth, cells = line.replace(r"\\", "").replace(r"\&", ""), 0, [""]
    for character in re.sub(r"\\[{}]", "", plain):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "&":
            assert depth == 0
            cells.append("")
        else:
            cells[-1] += character
    spans = (re.match(r"\s*\\multicolumn\{(\d+)\}", cell) for cell in cells)
    return sum(int(span[1]) if span else 1 for span in spans)
