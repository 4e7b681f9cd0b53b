"""The picture of a comparison: a forest of paired differences for each data set and regime."""

import math
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from pkdot.comparison.report.analysis import Analysis, BlockResult, Line, analyse
from pkdot.comparison.report.diagram import draw_ranks, height_of
from pkdot.comparison.report.scores import ALL_LABELS, NONE, TEACHER, Score
from pkdot.comparison.report.tables import tone

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

WIDTH, ROW, FRAME, KEY = 5.0, 0.19, 0.95, 0.22
"""Of a panel, of a line in it, of what stands above and below its lines, and of a line of the legend (inches)."""
SMALL, NAME, TITLE = 8.0, 30, 44
"""Letters (points), and the most of them in a name and in a line of a title."""
GREY, LIGHT, GREEN = "#5b6470", "#eef1f4", "#009e73"
DASHES = (0, (4, 2))


@dataclass(frozen=True)
class Mark:
    """How a line is drawn, and what that means. Shapes and filling tell as much as colours."""

    meaning: str
    colour: str
    shape: str
    filled: bool = True


MARKS = {
    "control": Mark("control", "black", "D"),
    "helps": Mark("helps (Holm p < 0.05)", "#0072b2", "o"),
    "harms": Mark("harms (Holm p < 0.05)", "#d55e00", "v"),
    "no difference": Mark("no difference shown", GREY, "o", filled=False),
    "": Mark("too few splits", GREY, "x"),
}


def draw(scores: Iterable[Score], path: Path) -> Path:
    """Write one PNG: paired differences to the undistilled student in points, and the ranks over data sets.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        ValueError: there is nothing to report.
    """
    canvas, as_they_are = _canvas()
    with as_they_are:
        return _draw(canvas, analyse(scores), path)


def _draw(canvas: "type[Figure]", analysis: Analysis, path: Path) -> Path:
    columns = _columns(analysis.blocks)
    width = WIDTH * max(len(columns), 1.4 if analysis.ranks else 1)
    handles = _handles()
    side_by_side = 3 if width > WIDTH else 2
    height = max(map(_height, columns))
    parts = [KEY * math.ceil(len(handles) / side_by_side), height]
    if analysis.ranks:
        parts.append(height_of(analysis.ranks))
    picture = canvas(figsize=(width, sum(parts)), dpi=150, layout="constrained")
    below = picture.subfigures(len(parts), 1, squeeze=False, height_ratios=parts)[:, 0]
    below[0].legend(handles=handles, loc="center", ncols=side_by_side, fontsize=SMALL, frameon=False)
    for room, blocks in zip(below[1].subfigures(1, len(columns), squeeze=False)[0], columns, strict=True):
        heights = [ROW * _lines(block) for block in blocks]
        if (rest := height - _height(blocks)) > ROW:
            heights.append(rest)
        panels = room.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
        for axes, block in zip_longest(panels, blocks):
            if block is None:
                axes.set_axis_off()
            else:
                _forest(axes, block)
    if analysis.ranks:
        draw_ranks(below[2].subplots(), analysis.ranks, short)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(path)
    return path


def short(name: str) -> str:
    """A name that fits beside a panel, on one line."""
    name = " ".join(name.split())
    return name if len(name) <= NAME else f"{name[: NAME - 1]}…"


def _canvas() -> "tuple[type[Figure], AbstractContextManager[None]]":
    """What to draw on, and a context in which names are no formulas, whatever the user's own settings say."""
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        told = "the figure needs matplotlib: pip install 'pkdot[report]'"
        raise ModuleNotFoundError(told, name="matplotlib") from error
    return Figure, rc_context({"text.parse_math": False, "text.usetex": False, "axes.formatter.use_mathtext": False})


def _columns(blocks: Sequence[BlockResult]) -> list[list[BlockResult]]:
    """Up to three columns; a panel goes to the one that ends first, so that no neighbour stretches it."""
    columns: list[list[BlockResult]] = [[] for _ in range(2 if len(blocks) == 4 else min(len(blocks), 3))]
    for block in blocks:
        min(columns, key=_height).append(block)
    return columns


def _height(blocks: Sequence[BlockResult]) -> float:
    return sum(FRAME + ROW * _lines(block) for block in blocks)


def _shown(block: BlockResult) -> list[tuple[str, Line]]:
    """Lines from top to bottom, each with the name of its mark; teacher and none are reference lines instead."""
    controls = [("control", line) for line in block.controls if line.entry not in (TEACHER, NONE)]
    lines = [*controls, *((tone(line.verdict), line) for line in block.methods)]
    return [(kind, line) for kind, line in lines if line.to_none.runs]


def _lines(block: BlockResult) -> int:
    return max(len(_shown(block)), 1)


def _forest(axes: "Axes", block: BlockResult) -> None:
    shown = _shown(block)
    lead = _points_of(block.line(TEACHER))
    axes.set_xlim(_range([line for _, line in shown], lead))
    axes.set_ylim(len(shown) - 0.4, -0.6)
    for place, (kind, line) in enumerate(shown):
        if place % 2:
            axes.axhspan(place - 0.5, place + 0.5, color=LIGHT, linewidth=0, zorder=0)
        _interval(axes, place, line, MARKS[kind])
    controls = sum(kind == "control" for kind, _ in shown)
    if 0 < controls < len(shown):
        axes.axhline(controls - 0.5, color=GREY, linewidth=0.6)
    axes.axvline(0, color="black", linewidth=0.9, zorder=1)
    _teacher(axes, lead)
    led = "" if math.isnan(lead) else f" (teacher {lead:+.1f})"
    title = fill(f"{short(block.data)}, {short(block.regime)}{led}", TITLE)
    axes.set_title(title, fontsize=SMALL + 1, loc="left")
    axes.set_yticks(range(len(shown)), [short(line.entry) for _, line in shown], fontsize=SMALL)
    axes.tick_params(axis="x", labelsize=SMALL)
    axes.tick_params(axis="y", length=0, pad=7)
    axes.set_xlabel(f"{block.measure}: difference to none (points)", fontsize=SMALL)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _teacher(axes: "Axes", lead: float) -> None:
    """A line at the teacher's lead, or an arrow at the side on which it lies beyond the panel."""
    left, right = axes.get_xlim()
    if left <= lead <= right:
        axes.axvline(lead, color=GREEN, linewidth=1.3, linestyle=DASHES, zorder=1)
    elif not math.isnan(lead):
        end, arrow = (right, ">") if lead > right else (left, "<")
        axes.plot(end, -0.6, arrow, color=GREEN, markersize=6, clip_on=False)


def _interval(axes: "Axes", place: int, line: Line, mark: Mark) -> None:
    """A dot and its interval; arrows stand where they lie or go on beyond the panel."""
    left, right = axes.get_xlim()
    mean, low, high = (100 * value for value in (line.to_none.mean, line.to_none.low, line.to_none.high))
    if not left <= mean <= right:
        _beyond(axes, place, mean, mark)
        return
    if not math.isnan(low):
        axes.plot([max(low, left), min(high, right)], [place, place], color=mark.colour, linewidth=1.4, zorder=2)
        for end, outside, arrow in ((left, low < left, "<"), (right, high > right, ">")):
            if outside:
                axes.plot(end, place, arrow, color=mark.colour, markersize=4, clip_on=False, zorder=2)
    axes.plot(mean, place, mark.shape, color=mark.colour, **_look(mark), clip_on=False, zorder=3)


def _beyond(axes: "Axes", place: int, mean: float, mark: Mark) -> None:
    left, right = axes.get_xlim()
    end, arrow, side = (right, ">", -1) if mean > right else (left, "<", 1)
    axes.plot(end, place, arrow, color=mark.colour, markersize=5, clip_on=False, zorder=3)
    axes.annotate(
        f"{mean:+.1f}",
        (end, place),
        xytext=(6 * side, 0),
        textcoords="offset points",
        ha="left" if side > 0 else "right",
        va="center",
        fontsize=SMALL,
    )


def _look(mark: Mark) -> dict[str, Any]:
    return {"markersize": 5.0, "markeredgewidth": 1.2, "markerfacecolor": mark.colour if mark.filled else "white"}


def _points_of(line: Line | None) -> float:
    return math.nan if line is None else 100 * line.to_none.mean


def _range(lines: list[Line], lead: float) -> tuple[float, float]:
    """All methods and as much of their intervals as leaves them apart; teacher and ceiling where they squeeze nobody.

    Args:
        lines: of the panel.
        lead: the teacher's (points); NaN where there is none.
    """
    near = [line.to_none for line in lines if line.entry != ALL_LABELS]
    means = [0.0, *(100 * estimate.mean for estimate in near)]
    lows = [100 * estimate.low for estimate in near if not math.isnan(estimate.low)]
    highs = [100 * estimate.high for estimate in near if not math.isnan(estimate.high)]
    span = max(max(means) - min(means), 1.0)
    low = max(min([*means, *lows]), min(means) - 1.5 * span)
    high = min(max([*means, *highs]), max(means) + 1.5 * span)
    room = 1.5 * (high - low)
    far = [lead, *(_points_of(line) for line in lines if line.entry == ALL_LABELS)]
    ends = [low, high, *(mean for mean in far if low - room <= mean <= high + room)]
    pad = 0.05 * max(max(ends) - min(ends), 1.0)
    return min(ends) - pad, max(ends) + pad


def _handles() -> "list[Line2D]":
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=mark.colour, marker=mark.shape, linewidth=1.4, label=mark.meaning, **_look(mark))
        for mark in MARKS.values()
    ]
    teacher = "teacher (arrow: beyond the panel)"
    return [*handles, Line2D([], [], color=GREEN, linewidth=1.3, linestyle=DASHES, label=teacher)]
