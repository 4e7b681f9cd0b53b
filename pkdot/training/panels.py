"""Matrices as pictures: panels side by side on one colour scale, with their bands named on both axes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Matrix = np.ndarray[Any, Any]
Pixels = np.ndarray[Any, np.dtype[np.uint8]]

PANEL, TOP = 288, 28
"""Side of a panel, and the space above it for its title (pixels)."""
LEFT, GAP, BELOW, RIGHT = 96, 18, 48, 132
"""Space left of the first panel, between two panels, below them, and right of the last one for the scale (pixels)."""
_BAR = 14
_COLD, _MIDDLE, _WARM = (np.array(colour, dtype=float) for colour in ((33, 60, 120), (245, 243, 238), (158, 35, 40)))
_INK, _LINE = (40, 40, 40), (70, 70, 70)


@dataclass(frozen=True)
class Band:
    """Neighbouring rows that share a name.

    >>> Band("low", rows=2)
    Band(name='low', rows=2)
    """

    name: str
    rows: int


def bands_of(names: Sequence[str]) -> list[Band]:
    """The bands of equal names that follow each other, in order.

    >>> bands_of(["low", "low", "high"])
    [Band(name='low', rows=2), Band(name='high', rows=1)]
    """
    return [Band(name, len(list(group))) for name, group in groupby(names)]


def heat(values: Matrix, low: float, high: float, width: int = PANEL, height: int = PANEL) -> Pixels:
    """A matrix as pixels: ``low`` is blue, the middle white, ``high`` red; values outside get the nearest colour.

    >>> heat(np.array([[0.0, 1.0]]), 0.0, 1.0, width=2, height=1).tolist()
    [[[33, 60, 120], [158, 35, 40]]]
    """
    share = np.clip((values - low) / max(high - low, 1e-12), 0.0, 1.0)[..., None]
    colours = np.where(
        share < 0.5, _COLD + (_MIDDLE - _COLD) * 2 * share, _MIDDLE + (_WARM - _MIDDLE) * (2 * share - 1)
    )
    image = Image.fromarray(colours.round().astype(np.uint8))
    return np.asarray(image.resize((width, height), Image.Resampling.NEAREST))


def draw(
    panels: Mapping[str, Matrix],
    bands: Sequence[Band],
    *,
    low: float,
    high: float,
    scale: str,
    caption: str,
) -> Pixels:
    """Square matrices side by side, each under its title, on one colour scale.

    Args:
        panels: title to matrix; all are as large as the bands together.
        bands: rows, and columns, that belong together: named on both axes, with thin lines between them.
        low, high: the ends of the scale.
        scale: what the colours mean.
        caption: a line below the panels.

    Returns:
        ``(height, width, 3)`` uint8.

    >>> panels = {"before": np.zeros((3, 3)), "after": np.eye(3)}
    >>> bands = [Band("rest", 2), Band("pain", 1)]
    >>> draw(panels, bands, low=-1, high=1, scale="similarity", caption="three samples").shape
    (364, 822, 3)
    """
    edges = np.cumsum([0, *(band.rows for band in bands)]) * PANEL / sum(band.rows for band in bands)
    width = LEFT + len(panels) * (PANEL + GAP) - GAP + RIGHT
    canvas = Image.new("RGB", (width, TOP + PANEL + BELOW), "white")
    pen, left = ImageDraw.Draw(canvas), LEFT
    for title, values in panels.items():
        pen.text((left, 6), title, fill=_INK, font=ImageFont.load_default(14))
        canvas.paste(Image.fromarray(heat(values, low, high)), (left, TOP))
        for edge in edges[1:-1].round().astype(int).tolist():
            pen.line((left + edge, TOP, left + edge, TOP + PANEL - 1), fill=_LINE)
            pen.line((left, TOP + edge, left + PANEL - 1, TOP + edge), fill=_LINE)
        for band, start, end in zip(bands, edges[:-1], edges[1:], strict=True):
            _name(pen, band.name, (left + (start + end) / 2, TOP + PANEL + 3), "ma", end - start)
            if left == LEFT and end - start >= 12:
                _name(pen, band.name, (LEFT - 6, TOP + (start + end) / 2), "rm", LEFT - 10)
        left += PANEL + GAP
    _draw_scale(canvas, pen, left - GAP + 20, low, high, scale)
    pen.text((LEFT, TOP + PANEL + 26), caption, fill=_INK, font=ImageFont.load_default(12))
    return np.asarray(canvas)


def _draw_scale(canvas: Image.Image, pen: ImageDraw.ImageDraw, left: int, low: float, high: float, title: str) -> None:
    bar = heat(np.linspace(high, low, PANEL)[:, None], low, high, width=_BAR)
    canvas.paste(Image.fromarray(bar), (left, TOP))
    font = ImageFont.load_default(12)
    for value, top in ((high, TOP), ((low + high) / 2, TOP + PANEL / 2), (low, TOP + PANEL - 1)):
        pen.line((left + _BAR, top, left + _BAR + 4, top), fill=_INK)
        pen.text((left + _BAR + 8, top), f"{value:.3g}", fill=_INK, font=font, anchor="lm")
    words = Image.new("RGB", (PANEL, 18), "white")
    ImageDraw.Draw(words).text((PANEL / 2, 9), title, fill=_INK, font=font, anchor="mm")
    canvas.paste(words.rotate(90, expand=True), (left + _BAR + 56, TOP))


def _name(pen: ImageDraw.ImageDraw, name: str, place: tuple[float, float], anchor: str, room: float) -> None:
    """Write a band's name, shortened until it fits; write nothing if not even three letters fit."""
    font = ImageFont.load_default(12)
    short = name
    while short and pen.textlength(short, font=font) > room:
        short = short.rstrip(".")[:-1] + "." if len(short) > 2 else ""
    if short:
        pen.text(place, short, fill=_INK, font=font, anchor=anchor)
