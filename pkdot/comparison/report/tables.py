"""The rows that Markdown and HTML print alike."""

import math
from dataclasses import dataclass
from itertools import chain

from pkdot.comparison.report.analysis import Analysis, BlockResult, Line
from pkdot.comparison.report.inference import Estimate, Gap
from pkdot.comparison.report.scores import NONE, OT, TEACHER

NOTHING = "–"
"""Stands where there is no figure to print."""
STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))


@dataclass(frozen=True)
class Cell:
    """A text, and the verdict that colours it: "helps", "harms", "no difference" or none."""

    text: str
    tone: str = ""


@dataclass(frozen=True)
class Table:
    """A header and rows of as many cells, in named groups; a group without a name has no line of its own."""

    header: tuple[str, ...]
    groups: tuple[tuple[str, tuple[tuple[Cell, ...], ...]], ...]

    @property
    def worded(self) -> list[bool]:
        """Which columns hold words; the others hold figures."""
        return [name in ("entry", "method", "verdict") for name in self.header]

    @property
    def rows(self) -> list[tuple[Cell, ...]]:
        """Of all groups."""
        return list(chain.from_iterable(rows for _, rows in self.groups))


def block_table(block: BlockResult) -> Table:
    """Controls, then methods from best to worst, with their differences in points."""
    header = ["entry", "runs", f"{block.measure}, points", "gap closed", "difference to none", "Holm p"]
    header += ["difference to ot", "Holm p (ot)"] if block.has_ot else []
    header += ["difference to control", "Holm p (control)"] if block.has_control else []
    groups = [("controls", block.controls), ("methods", block.methods)]
    return Table(
        (*header, "verdict"),
        tuple((name, tuple(_row(line, block) for line in lines)) for name, lines in groups if lines),
    )


def summary_table(analysis: Analysis) -> Table:
    """Methods x blocks: differences to the undistilled student in points, with stars for their corrected p."""
    header = ("method", *(f"{block.data}, {block.regime}" for block in analysis.blocks))
    rows = [(Cell(method), *(_starred(block.line(method)) for block in analysis.blocks)) for method in analysis.methods]
    return Table(header, (("", tuple(rows)),))


def rank_table(analysis: Analysis) -> Table | None:
    """Mean ranks, best first; None where nothing was ranked."""
    if analysis.ranks is None:
        return None
    pairs = zip(analysis.ranks.entries, analysis.ranks.mean_ranks, strict=True)
    rows = tuple((Cell(entry), Cell(f"{mean_rank:.2f}")) for entry, mean_rank in pairs)
    return Table(("entry", "mean rank"), (("", rows),))


def tone(said: str) -> str:
    """The verdict without what is added to it."""
    return next((word for word in ("helps", "harms", "no difference") if said.startswith(word)), "")


def points(value: float, digits: int = 2) -> str:
    """A difference as points with its sign."""
    return NOTHING if math.isnan(value) else f"{round(100 * value, digits) + 0.0:+.{digits}f}"


def p_value(p: float) -> str:
    """To three places."""
    if math.isnan(p):
        return NOTHING
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _row(line: Line, block: BlockResult) -> tuple[Cell, ...]:
    reference = line.entry in (TEACHER, NONE)
    cells = [
        Cell(line.entry),
        Cell(str(line.level.runs)),
        Cell(_level(line.level)),
        Cell(NOTHING if reference else gap(line.gap)),
        Cell(NOTHING if line.entry == NONE else difference(line.to_none), tone(line.verdict)),
        Cell(p_value(line.p)),
    ]
    if block.has_ot:
        own = line.entry == OT or not line.verdict
        cells += [Cell(NOTHING if own else difference(line.to_ot)), Cell(p_value(line.p_ot))]
    if block.has_control:
        cells += [Cell(difference(line.to_control) if line.verdict else NOTHING), Cell(p_value(line.p_control))]
    return (*cells, Cell(line.verdict, tone(line.verdict)))


def _level(level: Estimate) -> str:
    if math.isnan(level.mean):
        return NOTHING
    half = "" if math.isnan(level.standard_error) else f" ± {100 * (level.high - level.mean):.2f}"
    return f"{100 * level.mean:.2f}{half}"


def difference(estimate: Estimate) -> str:
    """Points and their 95 % interval."""
    if math.isnan(estimate.low):
        return points(estimate.mean)
    return f"{points(estimate.mean)} [{points(estimate.low)}, {points(estimate.high)}]"


def gap(closed: Gap | None) -> str:
    """Per cent and their 95 % interval."""
    if closed is None:
        return NOTHING
    share = f"{round(100 * closed.share)} %"
    if closed.interval is None:
        return f"{share} [open]"
    return f"{share} [{100 * closed.interval.low:.0f}, {100 * closed.interval.high:.0f}]"


def _starred(line: Line | None) -> Cell:
    if line is None:
        return Cell(NOTHING)
    stars = next((stars for level, stars in STARS if line.p < level), "")
    return Cell(f"{points(line.to_none.mean)} {stars}".strip(), tone(line.verdict))
