"""Names in any script in figures: no empty boxes, and nothing read as markup."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.figure import Figure

from lossbench.report.figures import fonts
from lossbench.report.figures.style import Drawing, figure_style, new_figure, save_figure

NAMES = {
    "Chinese": "猫",
    "Japanese": "ねこ",
    "Korean": "고양이",
    "Arabic": "قطة",
    "Hebrew": "חתול",
    "Devanagari": "बिल्ली",
    "emoji": "🚀",
    "joined emoji": "👩‍🚀",
    "control": "a\x07b",
}
PLAIN = ("größe", "Ελληνικά", "кот", "$x^2$", "a_b", r"\alpha", "50 % <b>&amp;", "{x}", "#1 ~ |")


def clear() -> None:
    for cached in (
        fonts.own_characters,
        fonts.other_font,
        fonts.other_fonts,
        fonts.font_characters,
    ):
        cached.cache_clear()


@pytest.fixture
def only_own_fonts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a machine with nothing but matplotlib's fonts."""
    ours = [f for f in font_manager.fontManager.ttflist if "matplotlib" in f.fname]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", ours)
    clear()
    yield
    clear()


def drawn(*names: str) -> tuple[Figure, Drawing]:
    """A figure with names at every place where reports have them; warnings are errors."""
    with warnings.catch_warnings(), figure_style():
        warnings.simplefilter("error")
        figure = new_figure(3)
        axes = figure.subplots()
        for i, name in enumerate(names):
            axes.plot([0, 1], [i, i], label=name)
            axes.annotate(f"{name}, diverged", (0.5, i))
        axes.set_yticks(range(len(names)), list(names))
        axes.set_title(" ".join(names))
        axes.set_xlabel(names[0])
        axes.legend()
        return figure, save_figure(figure, "cost", "cost", "Cost", "Bars: medians.")


def texts(figure: Figure) -> list[str]:
    [axes] = figure.axes
    legend = axes.get_legend()
    assert legend is not None
    found = [*axes.texts, axes.xaxis.label, *axes.get_yticklabels(), *legend.get_texts()]
    return [axes.get_title(loc="left"), *(text.get_text() for text in found)]


@pytest.mark.parametrize("script", NAMES)
@pytest.mark.usefixtures("only_own_fonts")
def test_a_name_that_cannot_be_drawn_is_a_number_that_the_caption_explains(script: str) -> None:
    name = NAMES[script]
    figure, drawing = drawn(name, "softmax")
    assert not any(name in text for text in texts(figure))
    assert "[1]" in figure.axes[0].get_yticklabels()[0].get_text()
    missing = {"control": "\x07"}.get(script, name)
    assert drawing.caption == (
        f"Bars: medians. Names that the figure's fonts cannot draw are numbered: [1] {missing}."
    )


@pytest.mark.parametrize("name", PLAIN)
def test_other_names_are_drawn_as_they_are(name: str) -> None:
    figure, drawing = drawn(name)
    assert texts(figure).count(name) == 4
    assert drawing.caption == "Bars: medians."


@pytest.mark.usefixtures("only_own_fonts")
def test_equal_names_have_one_number() -> None:
    figure, drawing = drawn("猫 α", "狗", "猫 β")
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == ["[1] α", "[2]", "[1] β"]
    assert drawing.caption.endswith(": [1] 猫, [2] 狗.")


@pytest.mark.usefixtures("only_own_fonts")
def test_axes_that_share_their_labels_keep_them() -> None:
    with figure_style():
        figure = new_figure(3)
        left, _ = figure.subplots(1, 2, sharey=True)
        left.set_yticks([0, 1], ["softmax", "猫"])
        drawing = save_figure(figure, "cost", "cost", "Cost", "")
    assert [label.get_text() for label in left.get_yticklabels()] == ["softmax", "[1]"]
    assert drawing.caption.endswith(": [1] 猫.")


def font_with(character: str, path: Path) -> None:
    """Write a font that has one character, a square."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for point in ((0, 700), (700, 700), (700, 0)):
        pen.lineTo(point)
    pen.closePath()
    builder = FontBuilder(1000)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(character): "square"})
    builder.setupGlyf({".notdef": pen.glyph(), "square": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (800, 0), "square": (800, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "One Square", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800)
    builder.setupPost()
    builder.save(path)


@pytest.mark.usefixtures("only_own_fonts")
def test_an_installed_font_that_has_the_characters_is_used(tmp_path: Path) -> None:
    font_with("猫", tmp_path / "square.ttf")
    font_manager.fontManager.addfont(tmp_path / "square.ttf")
    clear()
    figure, drawing = drawn("猫 α", "狗")
    [first, second] = figure.axes[0].get_yticklabels()
    assert (first.get_text(), second.get_text()) == ("猫 α", "[1]")
    assert first.get_fontfamily() == [fonts.FAMILY, "One Square"]
    assert drawing.caption.endswith(": [1] 狗.")
