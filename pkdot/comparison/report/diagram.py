"""The critical-difference diagram of Demsar (2006)."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from pkdot.comparison.report.formats import p_value
from pkdot.comparison.report.ranks import Ranks
from pkdot.comparison.report.scores import NONE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STEP, BAR, TOP = 0.2, 0.1, 1.0
"""Distance between names, between bars, and above the axis (inches)."""
SMALL = 8.0


def height_of(ranks: Ranks) -> float:
    """The height of the diagram (inches)."""
    return TOP + BAR * (len(ranks.groups) + 2) + STEP * ((len(ranks.entries) + 1) // 2 + 0.5)


def draw_ranks(axes: "Axes", ranks: Ranks, short: Callable[[str], str]) -> None:
    """Draw mean ranks on an axis, best on the left; bars join entries that are not shown to differ.

    Args:
        axes: to draw on, ``height_of(ranks)`` inches high; y is in inches below the axis.
        ranks: to draw.
        short: shortens a name.
    """
    count = len(ranks.entries)
    left, right = 1 - 0.45 * (count - 1), count + 0.45 * (count - 1)
    axes.set_xlim(left, right)
    axes.set_ylim(height_of(ranks) - TOP, -TOP)
    axes.set_axis_off()
    _axis(axes, count)
    _critical_difference(axes, ranks)
    depth = BAR
    for first, last in ranks.groups:
        ends = ranks.mean_ranks[first] - 0.01 * count, ranks.mean_ranks[last] + 0.01 * count
        axes.plot(ends, [depth, depth], color="#5b6470", linewidth=3, solid_capstyle="butt")
        depth += BAR
    half = (count + 1) // 2
    for place, (entry, mean_rank) in enumerate(zip(ranks.entries, ranks.mean_ranks, strict=True)):
        best = place < half
        row = place if best else count - 1 - place
        _name(axes, mean_rank, depth + STEP * (row + 0.6), 1.0 if best else float(count), short(entry), entry == NONE)


def _axis(axes: "Axes", count: int) -> None:
    axes.plot([1, count], [0, 0], color="black", linewidth=1)
    step = 1 if count <= 15 else 2
    for tick in range(1, count + 1, step):
        axes.plot([tick, tick], [0, -0.06], color="black", linewidth=1)
        axes.text(tick, -0.1, str(tick), ha="center", va="bottom", fontsize=SMALL)


def _critical_difference(axes: "Axes", ranks: Ranks) -> None:
    p = p_value(ranks.p)
    title = f"Mean ranks over {len(ranks.blocks)} data sets x regimes (1 = best); p of Friedman's test {p}"
    told = (
        f"critical difference {ranks.critical_difference:.2f}: a thick bar joins entries that are not shown to differ"
    )
    axes.set_title(title, fontsize=SMALL + 1, loc="left")
    end = 1 + min(ranks.critical_difference, len(ranks.entries) - 1)
    axes.plot([1, end], [-0.5, -0.5], color="black", linewidth=1.5, marker="|", markersize=6)
    axes.text(1, -0.58, told, ha="left", va="bottom", fontsize=SMALL)


def _name(axes: "Axes", mean_rank: float, depth: float, side: float, name: str, control: bool) -> None:
    best = side == 1.0
    axes.plot([mean_rank, mean_rank, side], [0, depth, depth], color="black", linewidth=0.7, alpha=0.7)
    text = f"{name}  {mean_rank:.2f}" if best else f"{mean_rank:.2f}  {name}"
    style = "italic" if control else "normal"
    axes.annotate(
        text,
        (side, depth),
        xytext=(-4 if best else 4, 0),
        textcoords="offset points",
        ha="right" if best else "left",
        va="center",
        fontsize=SMALL,
        style=style,
    )
