"""Code marked in sentences, and names as they are, in every form of the report."""

from __future__ import annotations

import pytest

from lossbench.report.escaping import (
    html_sentence,
    markdown_sentence,
    markdown_text,
    plain_sentence,
)
from lossbench.report.html import page_environment


@pytest.mark.parametrize(
    ("sentence", "html", "markdown", "plain"),
    [
        ("see `selection`", "see <code>selection</code>", "see `selection`", "see selection"),
        ("`a<b` & c", "<code>a&lt;b</code> &amp; c", r"`a<b` \& c", "a<b & c"),
        ("a_b `c_d`", "a_b <code>c_d</code>", r"a\_b `c_d`", "a_b c_d"),
        ("one ` alone", "one ` alone", r"one \` alone", "one ` alone"),
        ("<script>", "&lt;script&gt;", r"\<script\>", "<script>"),
        ("", "", "", ""),
    ],
)
def test_code_in_a_sentence(sentence: str, html: str, markdown: str, plain: str) -> None:
    assert html_sentence(sentence) == html
    assert markdown_sentence(sentence) == markdown
    assert plain_sentence(sentence) == plain


def test_a_page_marks_code_and_escapes_the_rest() -> None:
    page = page_environment().from_string("{{ text|sentence }} {{ text|plain }}")
    text = "`<x>` of A&B"
    assert page.render(text=text) == "<code>&lt;x&gt;</code> of A&amp;B &lt;x&gt; of A&amp;B"


def test_a_name_keeps_its_backticks() -> None:
    assert markdown_text("a`b`&amp;") == r"a\`b\`\&amp;"
