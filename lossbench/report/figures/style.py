"""Style of all figures: one colour per loss, one way to save."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from lossbench.planning.rows import Row
from lossbench.planning.trial import short_digest
from lossbench.report.figures.fonts import FAMILY, replace_undrawable
from lossbench.suite.schema import ONLY_COLUMN

Colour = tuple[float, float, float]

# Okabe & Ito, colour-blind safe; other losses get OTHER_HUES in turn
HUES = {
    "softmax": "#5A5A5A",
    "center": "#0072B2",
    "l_softmax": "#E69F00",
    "contrastive": "#CC79A7",
    "triplet": "#D55E00",
    "lgm": "#009E73",
}
OTHER_HUES = ("#56B4E9", "#882255", "#999933", "#332288", "#AA4499", "#B8860B")
INK = "#222222"
PNG_DPI = 150
FIGURE_WIDTH_IN = 9.0


@dataclass(frozen=True)
class Drawing:
    """A finished figure.

    Attributes:
        kind: `forest`, `overview`, `levels`, `curves`, `selection`, `ranks`, `per_class`,
            `calibration`, `embedding`, `likelihood`, `geometry`, `detection` or `cost`.
        name: File name without its extension.
        title: Heading.
        caption: Description of the figure, with the number of trials and the device.
        png: PNG file, at 150 dots per inch.
        svg: SVG file; scattered points are a bitmap inside.
    """

    kind: str
    name: str
    title: str
    caption: str
    png: bytes
    svg: bytes


@contextmanager
def figure_style() -> Iterator[None]:
    """Plain axes, readable in print; a user's `matplotlibrc` has no influence."""
    look: dict[Any, Any] = {
        "figure.facecolor": "white",
        "axes.facecolor": "white",
        "axes.axisbelow": True,
        "grid.color": ".8",
        "lines.solid_capstyle": "round",
        "patch.edgecolor": "w",
        "patch.force_edgecolor": True,
        "xtick.color": ".15",
        "ytick.color": ".15",
        "font.family": FAMILY,
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.labelsize": 9,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": "#888888",
        "axes.labelcolor": INK,
        "text.color": INK,
        "text.parse_math": False,  # labels come from a user's file
        "svg.hashsalt": "lossbench",
    }
    with mpl.rc_context():
        mpl.rcdefaults()  # otherwise a report would depend on the user's settings
        mpl.rcParams.update(look)
        yield


def new_figure(height_in: float, width_in: float = FIGURE_WIDTH_IN) -> Figure:
    """An empty figure outside pyplot's global state."""
    figure = Figure(figsize=(width_in, height_in), layout="constrained", dpi=PNG_DPI)
    FigureCanvasAgg(figure)
    return figure


def run_layout(figure: Figure) -> None:
    """Run the layout: afterwards limits and sizes are known."""
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.execute(figure)


def save_figure(figure: Figure, kind: str, name: str, title: str, caption: str) -> Drawing:
    """Save a figure in memory, as PNG and as SVG."""
    numbered = replace_undrawable(figure)
    run_layout(figure)
    figure.set_layout_engine(None)  # else each file would run the layout again
    files = {}
    for format in ("png", "svg"):
        buffer = io.BytesIO()
        metadata = {"Date": None} if format == "svg" else {}
        figure.savefig(buffer, format=format, dpi=PNG_DPI, facecolor="white", metadata=metadata)
        files[format] = buffer.getvalue()
    whole = " ".join(filter(None, (caption, numbered)))
    return Drawing(kind, name, title, whole, files["png"], files["svg"])


def file_part(text: str) -> str:
    """A label of a row as a part of a file name: unchanged if it is a word, else with a digest."""
    safe = re.sub(r"[^\w.+-]+", "_", text, flags=re.ASCII)
    return safe if safe == text else f"{safe.strip('_')}-{short_digest(text)[:6]}"


def figure_title(title: str, variant: str) -> str:
    """Title with the variant, unless it is the only one without a name."""
    return title if variant == ONLY_COLUMN else f"{title}, {variant}"


def loss_hues(losses: Iterable[str]) -> dict[str, Colour]:
    """Colour of each loss, by its name."""
    names = list(dict.fromkeys(losses))
    others = iter(OTHER_HUES * len(names))
    return {name: to_rgb(HUES.get(name) or next(others)) for name in names}


def entry_colours(rows: Iterable[Row]) -> dict[str, Colour]:
    """Entry -> its hue; the first entry of a loss has the loss's own hue."""
    listed = list(rows)
    first = {row.loss.name: row.entry for row in reversed(listed)}
    names = {
        row.entry: row.loss.name if first[row.loss.name] == row.entry else f"label {row.entry}"
        for row in listed
    }
    hues = loss_hues(names.values())
    return {entry: hues[name] for entry, name in names.items()}


def row_colours(rows: Iterable[Row]) -> dict[str, Colour]:
    """Row label -> colour: a hue per entry, in shades where it has several rows.

    The first entry of a loss has the loss's own hue.
    """
    listed = list(rows)
    colours: dict[str, Colour] = {}
    for entry, hue in entry_colours(listed).items():
        labels = [row.label for row in listed if row.entry == entry]
        for index, label in enumerate(labels):
            position = index / (len(labels) - 1) if len(labels) > 1 else 0.5
            colours[label] = shade(hue, 2 * position - 1)
    return colours


def text_colour_on(colour: Colour) -> str:
    """Black or white: the one with the higher contrast (WCAG 2) to a background."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "black" if (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) else "white"


def shade(colour: Colour, amount: float) -> Colour:
    """Mix with white (amount -1: lightest) or black (amount 1: darkest)."""
    target, share = (1.0, -0.5 * amount) if amount < 0 else (0.0, 0.5 * amount)
    r, g, b = (channel + (target - channel) * share for channel in colour)
    return r, g, b
