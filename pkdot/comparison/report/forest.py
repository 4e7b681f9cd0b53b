"""One panel of the picture: the differences of all entries on one data set in one regime."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING, Any

from pkdot.comparison.report.analysis import BlockResult, Line
from pkdot.comparison.report.scores import ALL_LABELS, NONE, TEACHER

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SMALL = 8.0
"""Size of letters (points)."""
NAME, TITLE = 30, 30
"""The most letters of a name, and of a line of a title: the teacher's lead stands on its right."""
GREY, LIGHT, GREEN = "#5b6470", "#eef1f4", "#007a5a"
DASHES = (0, (4, 2))


@dataclass(frozen=True)
class Mark:
    """How an entry is drawn, and what that means. Shapes and filling say as much as colours."""

    meaning: str
    colour: str
    shape: str
    filled: bool = True

    @property
    def look(self) -> dict[str, Any]:
        """Settings of matplotlib for the mark."""
        return {"markersize": 5.0, "markeredgewidth": 1.2, "markerfacecolor": self.colour if self.filled else "white"}


MARKS = {
    "control": Mark("control", "black", "D"),
    "helps": Mark("helps (Holm p < 0.05)", "#0072b2", "o"),
    "harms": Mark("harms (Holm p < 0.05)", "#d55e00", "v"),
    "no difference": Mark("no difference shown", GREY, "o", filled=False),
    "": Mark("too few splits", GREY, "x"),
}


def marked_lines(block: BlockResult) -> list[tuple[str, Line]]:
    """The entries of a panel from top to bottom, each with the name of its mark; teacher and none are lines instead."""
    controls = [("control", line) for line in block.controls if line.entry not in (TEACHER, NONE)]
    lines = [*controls, *((line.tone, line) for line in block.methods)]
    return [(kind, line) for kind, line in lines if line.to_none.runs]


def short(name: str) -> str:
    """A name on one line, cut to the room beside a panel.

    >>> short("a method with a name that is far too long")
    'a method with a name that is …'
    """
    name = " ".join(name.split())
    return name if len(name) <= NAME else f"{name[: NAME - 1]}…"


def draw_forest(axes: "Axes", block: BlockResult) -> None:
    """Draw a panel: a mark and a 95 % interval for each entry, in points above or below the undistilled student."""
    shown = marked_lines(block)
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
    title = fill(f"{short(block.data)}, {short(block.regime)}", TITLE)
    axes.set_title(title, fontsize=SMALL + 1, loc="left")
    axes.set_yticks(range(len(shown)), [short(line.entry) for _, line in shown], fontsize=SMALL)
    axes.tick_params(axis="x", labelsize=SMALL)
    axes.tick_params(axis="y", length=0, pad=7)
    axes.set_xlabel(f"{block.measure}, points", fontsize=SMALL)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _teacher(axes: "Axes", lead: float) -> None:
    """A line at the teacher's lead, or an arrow at the side on which it lies beyond the panel."""
    if math.isnan(lead):
        return
    axes.set_title(f"teacher {lead:+.1f}", fontsize=SMALL, loc="right", color=GREEN)
    left, right = axes.get_xlim()
    if left <= lead <= right:
        axes.axvline(lead, color=GREEN, linewidth=1.3, linestyle=DASHES, zorder=1)
    else:
        end, arrow = (right, ">") if lead > right else (left, "<")
        axes.plot(end, -0.6, arrow, color=GREEN, markersize=6, clip_on=False)


def _interval(axes: "Axes", place: int, line: Line, mark: Mark) -> None:
    """A mark and its interval; an arrow stands where one of them ends beyond the panel."""
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
    axes.plot(mean, place, mark.shape, color=mark.colour, **mark.look, clip_on=False, zorder=3)


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


def _points_of(line: Line | None) -> float:
    return math.nan if line is None else 100 * line.to_none.mean


def _range(lines: Sequence[Line], lead: float) -> tuple[float, float]:
    """The ends of the axis: all methods, and as much of their intervals as keeps the methods apart.

    The teacher and the entry with all labels are included only where they do not squeeze the others together.

    Args:
        lines: the entries of the panel.
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
