"""The picture of a comparison: a panel for each data set and regime, and the ranks over all of them."""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from pkdot.comparison.report.analysis import Analysis, BlockResult
from pkdot.comparison.report.diagram import draw_ranks, height_of
from pkdot.comparison.report.forest import DASHES, GREEN, MARKS, SMALL, draw_forest, marked_lines, short
from pkdot.comparison.report.scores import TEACHER

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

HEADING = "Difference to the undistilled student, in points: right of 0 is better"
WHAT_BARS_ARE = "Bars are 95 % intervals, not corrected for the number of methods; verdicts are corrected (Holm)."
WIDTH, ROW, FRAME, KEY = 5.0, 0.19, 0.95, 0.22
"""Inches: width of a panel, height of a line in it, of its title and axis, and of a line of the legend."""
UNDATED: dict[str, dict[str, None]] = {".png": {}, ".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
"""The formats of the picture, and what leaves the date out of each."""


def draw(analysis: Analysis, path: Path) -> Path:
    """Draw paired differences to the undistilled student in points, and the ranks over data sets.

    The same analysis gives the same files, byte for byte.

    Args:
        analysis: what to draw.
        path: of a PNG; a PDF and an SVG are written beside it.

    Returns:
        ``path``.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    canvas, settings = _canvas()
    path.parent.mkdir(parents=True, exist_ok=True)
    with settings:
        picture = _drawn(canvas, analysis)
        _settle(picture)
        for ending, undated in UNDATED.items():
            picture.savefig(path.with_suffix(ending), metadata=undated)
    return path


def _canvas() -> "tuple[type[Figure], AbstractContextManager[None]]":
    """What to draw on, and a context for it, independent of the user's settings.

    In the context names are no formulas, ids in the SVG do not change, and its text stays text.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        told = "the figure needs matplotlib: pip install 'pkdot[report]'"
        raise ModuleNotFoundError(told, name="matplotlib") from error
    return Figure, rc_context(
        {
            "text.parse_math": False,
            "text.usetex": False,
            "axes.formatter.use_mathtext": False,
            "svg.hashsalt": "pkdot",
            "svg.fonttype": "none",
        }
    )


def _drawn(canvas: "type[Figure]", analysis: Analysis) -> "Figure":
    columns = _columns(analysis.blocks)
    width = WIDTH * max(len(columns), 1.4 if analysis.ranks else 1)
    handles = _handles(analysis.blocks)
    side_by_side = 3 if width > WIDTH else 2
    height = max(map(_height, columns))
    parts = [KEY * (2.5 + math.ceil(len(handles) / side_by_side)), height]
    if analysis.ranks:
        parts.append(height_of(analysis.ranks))
    picture = canvas(figsize=(width, sum(parts)), dpi=150, layout="constrained")
    below = picture.subfigures(len(parts), 1, squeeze=False, height_ratios=parts)[:, 0]
    lines = KEY / parts[0]
    below[0].text(0.5, 1 - 0.7 * lines, HEADING, ha="center", va="center", fontsize=SMALL + 2)
    below[0].text(0.5, 1 - 1.6 * lines, WHAT_BARS_ARE, ha="center", va="center", fontsize=SMALL - 1.5)
    below[0].legend(handles=handles, loc="lower center", ncols=side_by_side, fontsize=SMALL, frameon=False)
    for room, blocks in zip(below[1].subfigures(1, len(columns), squeeze=False)[0], columns, strict=True):
        heights = [ROW * _lines(block) for block in blocks]
        if (rest := height - _height(blocks)) > ROW:
            heights.append(rest)
        panels = room.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
        for axes, block in zip_longest(panels, blocks):
            if block is None:
                axes.set_axis_off()
            else:
                draw_forest(axes, block)
    if analysis.ranks:
        draw_ranks(below[2].subplots(), analysis.ranks, short)
    return picture


def _settle(picture: "Figure") -> None:
    """Lay the picture out once, and round its places: the last digits of the layout's solver change between calls."""
    picture.draw_without_rendering()
    picture.set_layout_engine("none")
    waiting = [*picture.subfigs]
    for part in waiting:
        waiting += part.subfigs
        part.bbox_relative.set_points(part.bbox_relative.get_points().round(4))
    for axes in picture.axes:
        left, bottom, width, height = axes.get_position().bounds
        axes.set_position((round(left, 4), round(bottom, 4), round(width, 4), round(height, 4)))


def _columns(blocks: Sequence[BlockResult]) -> list[list[BlockResult]]:
    """Up to three columns; a panel goes to the one that ends first, so that no neighbour stretches it."""
    columns: list[list[BlockResult]] = [[] for _ in range(2 if len(blocks) == 4 else min(len(blocks), 3))]
    for block in blocks:
        min(columns, key=_height).append(block)
    return columns


def _height(blocks: Sequence[BlockResult]) -> float:
    return sum(FRAME + ROW * _lines(block) for block in blocks)


def _lines(block: BlockResult) -> int:
    return max(len(marked_lines(block)), 1)


def _handles(blocks: Sequence[BlockResult]) -> "list[Line2D]":
    """The legend, with the marks that are in the picture."""
    from matplotlib.lines import Line2D

    used = {kind for block in blocks for kind, _ in marked_lines(block)}
    handles = [Line2D([], [], color="black", linewidth=0.9, label="undistilled student")]
    if any(block.line(TEACHER) for block in blocks):
        teacher = "teacher (arrow: beyond the panel)"
        handles.append(Line2D([], [], color=GREEN, linewidth=1.3, linestyle=DASHES, label=teacher))
    return handles + [
        Line2D([], [], color=mark.colour, marker=mark.shape, linewidth=1.4, label=mark.meaning, **mark.look)
        for kind, mark in MARKS.items()
        if kind in used
    ]
