"""Text of figures that the installed fonts can draw.

matplotlib draws text from left to right, each character with the first font of a list that has it.
If no installed font has a character, or if its script needs shaping or runs from right to left,
the figure shows a number, `[1]`, which its caption explains.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator

FAMILY = "DejaVu Sans"
"""Comes with matplotlib."""
_PREFERRED = (
    "Noto Sans CJK", "Noto Sans", "Source Han Sans", "WenQuanYi", "Droid Sans Fallback",
    "Hiragino Sans", "PingFang", "Microsoft YaHei", "SimHei", "Yu Gothic", "Malgun Gothic",
    "NanumGothic", "Arial Unicode",
)  # fmt: skip
_UNFIT = ("Last Resort", "Emoji", "DejaVu", "STIX", "cm")  # boxes, bitmaps, nothing new
_SHAPED = ((0x0900, 0x0DFF), (0x0F00, 0x109F), (0x1780, 0x18AF), (0x1900, 0x1CFF))
"""Blocks of Indic and related scripts, whose letters join and change their order."""
_NEVER_ALONE = {"Cc", "Cf", "Co", "Cn", "Cs", "Me"}
_VARIATION_SELECTORS = range(0xFE00, 0xFE10)


def replace_undrawable(figure: Figure) -> str:
    """Change a figure's texts so that each can be drawn.

    Returns:
        Sentence for the caption with the meaning of the numbers; empty without any.
    """
    numbers: dict[str, int] = {}
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_text(_drawable(text.get_text(), numbers))
        text.set_fontfamily(_families(text.get_text()))
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if not isinstance(axis.get_major_locator(), FixedLocator):
                continue  # numbers
            # each drawing sets the labels anew, by the formatter, which several axes may share
            labels = axis.get_major_formatter().format_ticks([*axis.get_majorticklocs()])
            drawable = [_drawable(label, numbers) for label in labels]
            if drawable != labels:
                axis.set_ticklabels(drawable)
            axis.set_tick_params(labelfontfamily=_families("".join(drawable)))
    if not numbers:
        return ""
    listed = ", ".join(f"[{number}] {name}" for name, number in numbers.items())
    return f"Names that the figure's fonts cannot draw are numbered: {listed}."


def can_draw(text: str) -> bool:
    return all(character.isspace() or _can_draw(character) for character in text)


def _drawable(text: str, numbers: dict[str, int]) -> str:
    """A text in which every run of characters that cannot be drawn is a number."""
    missing = "".join({re.escape(c) for c in text if not c.isspace() and not _can_draw(c)})
    if not missing:
        return text

    def numbered(run: re.Match[str]) -> str:
        return f"[{numbers.setdefault(run.group(), len(numbers) + 1)}]"

    return re.sub(f"[{missing}]+", numbered, text)


def _can_draw(character: str) -> bool:
    code = ord(character)
    if unicodedata.bidirectional(character) in ("R", "AL", "AN"):
        return False
    if unicodedata.category(character) in _NEVER_ALONE or code in _VARIATION_SELECTORS:
        return False
    if any(first <= code <= last for first, last in _SHAPED):
        return False
    return code in own_characters() or other_font(code) is not None


def _families(text: str) -> list[str]:
    """Fonts for a text: our own, and fonts with the characters that it lacks."""
    foreign = (ord(c) for c in text if ord(c) not in own_characters() and not c.isspace())
    lacking = map(other_font, foreign)
    return [FAMILY, *dict.fromkeys(name for name in lacking if name)]


@cache
def own_characters() -> frozenset[int]:
    """Code points that our own font has in both upright and bold."""
    files = (font_manager.findfont(f"{FAMILY}:{weight}") for weight in ("regular", "bold"))
    return frozenset.intersection(*map(font_characters, files))


searched: set[int] = set()
"""Characters for which another font was searched, since `forget_searched`."""


def forget_searched() -> None:
    searched.clear()
    other_font.cache_clear()


@cache
def other_font(code: int) -> str | None:
    """Name of an installed font that has a character; None where there is none."""
    searched.add(code)
    for font in other_fonts():
        if code in font_characters(font.fname):
            return str(font.name)
    return None


@cache
def other_fonts() -> tuple[font_manager.FontEntry, ...]:
    """Upright fonts of normal weight, the widest known first."""
    fonts = (
        font
        for font in font_manager.fontManager.ttflist
        if not font.name.startswith(_UNFIT)
        and "Emoji" not in font.name
        and font.style == "normal"
        and str(font.weight) in ("400", "normal", "regular", "book")
    )
    return tuple(sorted(fonts, key=lambda font: (not font.name.startswith(_PREFERRED), font.name)))


@cache
def font_characters(path: str) -> frozenset[int]:
    """Code points of a font; none where it cannot be read or scaled."""
    try:
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()
